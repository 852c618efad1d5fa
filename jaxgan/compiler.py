"""`jax.jit` with the compiler's options that make this library's programs fast on the backend at hand."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# XLA:CPU sends convolutions and matrix products to its YNN kernels by default. Its older ones, which an empty list
# brings back, run a StyleGAN2 step up to 1.4 times faster, and the weight gradient of a large feature map five times
# (docs/performance.md).
_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def options() -> dict[str, str]:
    """Compiler options for the default backend; none where the installed JAX does not know them."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(_CPU)


class jit:
    """`jax.jit(function, **arguments)` with `options()`, which are asked for at the first call, not at import.

    As with jax.jit given options, the result must not be called inside another jitted function.
    """

    def __init__(self, function: Callable[..., Any], **arguments: Any):
        functools.update_wrapper(self, function)
        self._make = functools.cache(lambda: jax.jit(function, compiler_options=options(), **arguments))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._make()(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As `jax.jit(...).lower`."""
        return self._make().lower(*args, **kwargs)
