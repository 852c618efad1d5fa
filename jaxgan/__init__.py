"""jaxgan: train GANs and work in their latent spaces, in JAX."""

from typing import TYPE_CHECKING, Any

from jaxgan.version import __version__

__all__ = ["Model", "__version__", "load"]

if TYPE_CHECKING:
    from jaxgan.experiment import Model, load


def __getattr__(name: str) -> Any:
    """`jaxgan.load` and `jaxgan.Model`, imported when they are first asked for."""
    if name in ("Model", "load"):
        from jaxgan import experiment

        return getattr(experiment, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
