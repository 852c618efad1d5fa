"""Coarse maps at each pixel of a canvas, and quadratic functions of them, with little work and memory of its size.

Along an axis each pixel is a weighted sum of a few nodes, in one of two forms that agree:

- ``products``: a product with the matrix of weights, as in `jaxgan.ops.resize`: the oracle of the tests;
- ``terms``: a sum of one product for each node, which a TPU's compiler fuses with what uses the pixels, so that they
  never pass through memory; its transpose is that of the other form.

Which is fastest depends on the backend; `default_form` holds the choice.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgan import compiler
from jaxgan.ops.resize import along, matrix

FORMS = ("products", "terms")
_AXES = (-3, -2)
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
        size: (height, width) of the canvas, in pixels; it may be smaller than the map too.
        window: (top, left, height, width) of the part of it that is made.
        filter: "torch_bilinear" or "nearest", of `jaxgan.ops.resize.matrix`.
    """

    size: tuple[int, int]
    window: tuple[int, int, int, int]
    filter: str

    def of(self, x: jax.Array, form: str | None = None) -> jax.Array:
        """[N, h, w, C] -> [N, height, width, C]: `jaxgan.ops.resize.resize` to the size, cut."""
        lines = self._lines(x)
        return _pixels(_cut(x, lines), lines, 1, form)

    def quadratic(self, x: jax.Array, function: Callable[[jax.Array], jax.Array], form: str | None = None) -> jax.Array:
        """`function(of(x))`, [N, height, width, D], for a function [..., C] -> [..., D] of second degree.

        Between four cells of a bilinear map it is of second degree along each axis, and so made of its values at the
        cells and half way between them. Where those are half of the pixels or fewer, it is worked out there alone;
        its rounding is then that of the values at the cells around a pixel, where it may be near 0 itself.
        """
        lines = self._lines(x)
        degree = 1 if self.filter == "nearest" else 2
        places = math.prod(degree * (line.cells_used - 1) + 1 for line in lines)
        if 2 * places > math.prod(line.count for line in lines):
            return function(self.of(x, form))
        x = _cut(x, lines)
        if degree == 2:
            for axis, line in zip(_AXES, lines):
                x = along(x, axis, matrix(line.cells_used, 2 * line.cells_used - 1, "corners"))
        return _pixels(function(x), lines, degree, form)

    def _lines(self, x: jax.Array) -> tuple["_Line", "_Line"]:
        top, left, height, width = self.window
        spans = ((top, height), (left, width))
        return tuple(_Line(x.shape[a], n, self.filter, *span) for a, n, span in zip(_AXES, self.size, spans))


class _Line(NamedTuple):
    """An axis of a canvas of `size` pixels, of so many cells; of it the pixels first, ..., first + count - 1."""

    cells: int
    size: int
    filter: str
    first: int
    count: int

    @property
    def used(self) -> tuple[int, int]:
        """The cells that the pixels are made of, up to the second."""
        touched = np.flatnonzero(_linear(self).any(0))
        return int(touched[0]), int(touched[-1]) + 1

    @property
    def cells_used(self) -> int:
        """How many those are."""
        return self.used[1] - self.used[0]


@functools.cache
def _linear(line: _Line) -> np.ndarray:
    return matrix(line.cells, line.size, line.filter)[line.first : line.first + line.count]


@functools.cache
def _weights(line: _Line, degree: int) -> np.ndarray:
    """The matrix [count, degree * (cells_used - 1) + 1], float64: pixels of `degree` nodes from a cell to the next."""
    weights = _linear(line)[:, slice(*line.used)]
    if degree == 1:
        return weights
    result = np.zeros((line.count, 2 * line.cells_used - 1))
    for pixel, row in enumerate(weights):
        low = int(np.flatnonzero(row)[0])
        t = 1 - row[low]
        # The parabola through the values at t = 0, 1/2 and 1; at a cell (t = 0), the last one, there is no more.
        parabola = (1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)
        result[pixel, 2 * low : 2 * low + 3] = parabola[: 2 * line.cells_used - 1 - 2 * low]
    return result


def _cut(x: jax.Array, lines: tuple[_Line, _Line]) -> jax.Array:
    (top, bottom), (left, right) = (line.used for line in lines)
    return x[..., top:bottom, left:right, :]


def _pixels(nodes: jax.Array, lines: tuple[_Line, _Line], degree: int, form: str | None) -> jax.Array:
    for axis, line in zip(_AXES, lines):
        if line.cells == line.size and degree == 1:
            continue  # a node is a pixel, and those that are not wanted have been cut
        if (form or default_form(nodes.shape[axis])) == "terms":
            nodes = _terms_p.bind(nodes, axis=axis, line=line, degree=degree)
        else:
            nodes = along(nodes, axis, _weights(line, degree))
    return nodes


def _terms(nodes, *, axis, line, degree):
    shape = [1] * nodes.ndim
    shape[axis] = line.count
    columns = _weights(line, degree).T.astype(nodes.dtype)
    return sum(
        column.reshape(shape) * jax.lax.slice_in_dim(nodes, k, k + 1, axis=axis) for k, column in enumerate(columns)
    )


def _terms_transpose(g, nodes, *, axis, line, degree):
    return [along(g, axis, _weights(line, degree).T)]


def _terms_shape(nodes, *, axis, line, degree):
    shape = list(nodes.shape)
    shape[axis] = line.count
    return jax.core.ShapedArray(shape, nodes.dtype)


_terms_p = Primitive("jaxgan_terms")
_terms_p.def_impl(jax.jit(_terms, static_argnames=("axis", "line", "degree")))
_terms_p.def_abstract_eval(_terms_shape)
mlir.register_lowering(_terms_p, mlir.lower_fun(_terms, multiple_results=False))
ad.deflinear2(_terms_p, _terms_transpose)
batching.primitive_batchers[_terms_p] = lambda operands, axes, **params: (
    _terms_p.bind(jnp.moveaxis(operands[0], axes[0], 0), **params),
    0,
)
