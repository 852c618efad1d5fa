"""Keeping XLA:CPU from fusing what runs slowly when fused.

XLA:CPU would fuse a chain of elementwise operations into the strided reads of a transposition, or a filter into those
of its consumer, which costs several times the two apart; it drops optimisation barriers, but fuses nothing across a
conditional.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def unfused(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`function(x)` behind a conditional that is always taken."""
    bits = lax.bitcast_convert_type(x.reshape(-1)[0], jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
    out = jax.eval_shape(function, x)
    return lax.cond(bits | 1 != 0, function, lambda x: jnp.zeros(out.shape, out.dtype), x)


def transpose(x: jax.Array, permutation: tuple[int, ...]) -> jax.Array:
    """`x.transpose(permutation)`, on CPU not fused with what makes x."""
    return _transpose_p.bind(x, permutation=tuple(permutation))


def _transpose(x, *, permutation):
    return lax.transpose(x, permutation)


def _cpu_transpose(x, *, permutation):
    return unfused(lambda x: lax.transpose(x, permutation), x)


def _transpose_transpose(g, x, *, permutation):
    inverse = sorted(range(len(permutation)), key=permutation.__getitem__)
    return [transpose(g, tuple(inverse))]


def _transpose_batch(operands, axes, *, permutation):
    x = jnp.moveaxis(operands[0], axes[0], 0)
    return transpose(x, (0, *(p + 1 for p in permutation))), 0


_transpose_p = Primitive("jaxgan_transpose")
_transpose_p.def_impl(jax.jit(_transpose, static_argnames="permutation"))
_transpose_p.def_abstract_eval(
    lambda x, *, permutation: jax.core.ShapedArray(tuple(x.shape[p] for p in permutation), x.dtype)
)
mlir.register_lowering(_transpose_p, mlir.lower_fun(_transpose, multiple_results=False))
mlir.register_lowering(_transpose_p, mlir.lower_fun(_cpu_transpose, multiple_results=False), platform="cpu")
ad.deflinear2(_transpose_p, _transpose_transpose)
batching.primitive_batchers[_transpose_p] = _transpose_batch
