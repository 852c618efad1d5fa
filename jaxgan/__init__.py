"""jaxgan: train GANs and work in their latent spaces, in JAX."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "load"]

if TYPE_CHECKING:
    from jaxgan.experiment import Model, load


def __getattr__(name: str) -> Any:
    """`jaxgan.load` and `jaxgan.Model`, imported when they are first asked for."""
    if name in __all__:
        from jaxgan import experiment

        return getattr(experiment, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
