"""Coarse maps at each pixel of a canvas, and quadratic functions of them, with little work and memory of its size.

Along an axis each pixel is a weighted sum of a few nodes, in one of two forms that agree:

- ``products``: a product with the matrix of weights, as in `jaxgan.ops.resize`: the oracle of the tests;
- ``terms``: a sum of one product for each node, which a compiler fuses with what uses the pixels, so that they never
  pass through memory; its transpose is that of the other form.

Which is fastest depends on the backend; `default_form` holds the choice.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgan import compiler
from jaxgan.ops.resize import matrix

FORMS = ("products", "terms")
_MOST_TERMS = 32  # with more, the arithmetic takes longer than the memory that it saves


def default_form(nodes: int, backend: str | None = None) -> str:
    """The fastest form for so many nodes, on a backend (default: the one that is compiled for).

    Measured on CPU; on TPU by what the compiler says that a generator moves (docs/results/spatial.md). On GPU not
    measured.
    """
    return "products" if (backend or compiler.backend()) == "cpu" or nodes > _MOST_TERMS else "terms"


class Enlargement(NamedTuple):
    """The part of a canvas that is made of a map.

    Attributes:
        size: (height, width) of the canvas, in pixels.
        window: (top, left, height, width) of the part of it that is made.
        filter: "torch_bilinear" or "nearest", of `jaxgan.ops.resize.matrix`.
    """

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    filter: str

    def of(self, x: jax.Array, form: str | None = None) -> jax.Array:
        """[N, h, w, C] -> [N, height, width, C]: `jaxgan.ops.resize.resize` to the size, cut."""
        return self._pixels(x, 1, form)

    def quadratic(self, x: jax.Array, function: Callable[[jax.Array], jax.Array], form: str | None = None) -> jax.Array:
        """`function(of(x))`, [N, height, width, D], for a function [..., C] -> [..., D] of second degree.

        Between four cells of a bilinear map it is of second degree along each axis, and so made of its values at the
        cells and half way between them: where those are fewer than the pixels, it is worked out there alone.
        """
        if min(size / n for size, n in zip(self.size, x.shape[1:3])) < 2:
            return function(self.of(x, form))
        if self.filter == "nearest":
            return self._pixels(function(x), 1, form)
        for axis in (1, 2):
            cells = x.shape[axis]
            x = _product(x, axis, matrix(cells, 2 * cells - 1, "corners"))
        return self._pixels(function(x), 2, form)

    def _pixels(self, nodes: jax.Array, degree: int, form: str | None) -> jax.Array:
        top, left, height, width = self.window
        for axis, size, first, count in ((1, self.size[0], top, height), (2, self.size[1], left, width)):
            n = nodes.shape[axis]
            if (n, 0, size) != (size, first, count):
                line = _Line((n - 1) // degree + 1, size, self.filter, degree, first, count)
                terms = (form or default_form(n)) == "terms"
                nodes = _terms_p.bind(nodes, axis=axis, line=line) if terms else _product(nodes, axis, _weights(line))
        return nodes


class _Line(NamedTuple):
    """Pixels first, ..., first + count - 1 of an axis, and their nodes, `degree` of them from a cell to the next."""

    cells: int
    size: int
    filter: str
    degree: int
    first: int
    count: int


@functools.cache
def _weights(line: _Line) -> np.ndarray:
    """The matrix [count, degree * (cells - 1) + 1] from nodes to pixels, float64."""
    weights = matrix(line.cells, line.size, line.filter)[line.first : line.first + line.count]
    if line.degree == 1:
        return weights
    result = np.zeros((line.count, 2 * line.cells - 1))
    for pixel, row in enumerate(weights):
        low = int(np.flatnonzero(row)[0])
        t = 1 - row[low]
        # The parabola through the values at t = 0, 1/2 and 1; at a cell (t = 0), the last one, there is no more.
        parabola = (1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)
        result[pixel, 2 * low : 2 * low + 3] = parabola[: 2 * line.cells - 1 - 2 * low]
    return result


def _product(x: jax.Array, axis: int, weights: np.ndarray) -> jax.Array:
    """A matrix times the axis 1 or 2 of x, in full float32 precision."""
    names = ("oh,nhwc->nowc", "pw,nhwc->nhpc")[axis - 1]
    return jnp.einsum(names, jnp.asarray(weights, x.dtype), x, precision=jax.lax.Precision.HIGHEST)


def _terms(nodes, *, axis, line):
    shape = [1] * nodes.ndim
    shape[axis] = line.count
    columns = jnp.asarray(_weights(line).T, nodes.dtype)
    return sum(
        column.reshape(shape) * jax.lax.slice_in_dim(nodes, k, k + 1, axis=axis) for k, column in enumerate(columns)
    )


def _terms_transpose(g, nodes, *, axis, line):
    return [_product(g, axis, _weights(line).T)]


def _terms_batch(operands, axes, **params):
    x = jnp.moveaxis(operands[0], axes[0], 0)
    out = _terms_p.bind(x.reshape(-1, *x.shape[2:]), **params)
    return out.reshape(*x.shape[:2], *out.shape[1:]), 0


_terms_p = Primitive("jaxgan_terms")
_terms_p.def_impl(jax.jit(_terms, static_argnames=("axis", "line")))
_terms_p.def_abstract_eval(
    lambda x, *, axis, line: jax.core.ShapedArray((*x.shape[:axis], line.count, *x.shape[axis + 1 :]), x.dtype)
)
mlir.register_lowering(_terms_p, mlir.lower_fun(_terms, multiple_results=False))
ad.deflinear2(_terms_p, _terms_transpose)
batching.primitive_batchers[_terms_p] = _terms_batch
