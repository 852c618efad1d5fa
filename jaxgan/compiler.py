"""What programs are compiled for, and `jax.jit` with the compiler's options that make them fast there."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax

# XLA:CPU sends convolutions and matrix products to its YNN kernels by default. Its older ones, which an empty list
# brings back, run a StyleGAN2 step up to 1.4 times faster, and the weight gradient of a large feature map five times
# (docs/performance.md).
_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}


_target: ContextVar[str | None] = ContextVar("backend that is compiled for", default=None)


def backend() -> str:
    """The backend that programs are made for: JAX's default one, or the one that `compiling_for` says."""
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """Programs traced inside take the forms and options of another backend ("cpu", "gpu", "tpu"), whose devices may
    be absent. In this thread only."""
    token = _target.set(name)
    try:
        yield
    finally:
        _target.reset(token)


def options() -> dict[str, str]:
    """Compiler options for `backend()`; none where the installed JAX does not know them."""
    return dict(_cpu_options()) if backend() == "cpu" else {}


@functools.cache
def _cpu_options() -> dict[str, str]:
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _CPU


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
