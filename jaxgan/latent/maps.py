"""Latent spaces with spatial extent, on any StyleGAN2: maps of w, of z, or of styles.

The family of Sypetkowski 2023 (arXiv 2303.14552), of which the abstract alone is known: its members are our
formulation. Cell j of r covers the band of the image from j / r to (j + 1) / r, whatever the sizes of the layers are. A
map of one cell is W or W+.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.latent.space import Space, Statistics
from jaxgan.networks import stylegan2
from jaxgan.networks.gan import call, draw_z, z_shape
from jaxgan.ops.resize import resize

Size = tuple[int, int]
_FILTER = "torch_bilinear"


def without_place(ws: jax.Array) -> jax.Array:
    """Maps [B, num_ws, h, w, w_dim] -> the mean of each, [B, num_ws, w_dim]; vectors as they are."""
    return ws if ws.ndim == 3 else ws.mean((2, 3))


def resized(ws: jax.Array, size: Size) -> jax.Array:
    """Vectors or maps of ws -> maps [B, num_ws, *size, w_dim]; maps are interpolated, or averaged where they shrink."""
    if ws.ndim == 3:
        return jnp.broadcast_to(ws[:, :, None, None], (*ws.shape[:2], *size, ws.shape[2]))
    coarser = size[0] < ws.shape[2] or size[1] < ws.shape[3]
    return resize(ws, size, "box" if coarser else _FILTER)


@dataclasses.dataclass(frozen=True)
class Maps(Space):
    """A space whose codes are maps of a size (height, width) in cells."""

    size: Size

    def map(self, ws: jax.Array) -> jax.Array:
        """ws as maps of this size."""
        return resized(jnp.asarray(ws), self.size)


class SZ(Maps):
    """A map of z, which the mapping network maps position by position."""

    name = "sz"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.size, self.generator.z_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return call(self.generator, variables, code, labels, method="map")

    def from_ws(self, ws: jax.Array) -> jax.Array:
        raise UserError("a latent of another space has no z; continue from it in --space=sw or sw+")

    def mean(self, statistics: Statistics) -> jax.Array:
        return jnp.broadcast_to(statistics.z_central, self.shape)

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        if z_shape(self.generator) == self.shape:
            return draw_z(self.generator, key, count)  # as a generator of maps was trained on
        z = jax.random.normal(key, (count, 1, 1, self.generator.z_dim))
        return jnp.broadcast_to(z, (count, *self.shape))


class SW(Maps):
    """One map of w for all layers."""

    name = "sw"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.size, self.generator.w_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return jnp.broadcast_to(code[:, None], (len(code), self.generator.num_ws, *code.shape[1:]))

    def from_ws(self, ws: jax.Array) -> jax.Array:
        return self.map(ws).mean(1)

    def mean(self, statistics: Statistics) -> jax.Array:
        return jnp.broadcast_to(statistics.w_mean.mean(0), self.shape)


class SWPlus(Maps):
    """A map of w for each layer."""

    name = "sw+"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.generator.num_ws, *self.size, self.generator.w_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return code

    def from_ws(self, ws: jax.Array) -> jax.Array:
        return self.map(ws)

    def mean(self, statistics: Statistics) -> jax.Array:
        return jnp.broadcast_to(statistics.w_mean[:, None, None], self.shape)


@dataclasses.dataclass(frozen=True)
class Rows(Space):
    """A map for each layer, each of a size of its own; codes are flat, [B, D], one map after the other.

    Attributes:
        sizes: of the maps; (1, 1) is a vector, as in W+.
    """

    sizes: tuple[Size, ...]
    name = "rows"

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Of each map."""
        return tuple((*size, self.generator.w_dim) for size in self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(map(math.prod, self.shapes)),)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> tuple[jax.Array, ...]:
        rows, first = [], 0
        for shape in self.shapes:
            row = code[:, first : first + math.prod(shape)].reshape(-1, *shape)
            rows.append(row[:, 0, 0] if shape[:2] == (1, 1) else row)
            first += math.prod(shape)
        return tuple(rows)

    def stacked(self, ws: tuple[jax.Array, ...]) -> jax.Array | None:
        """Maps [B, num_ws, h, w, w_dim] of the same image, vectors repeated; None where maps differ in size."""
        sizes = {size for size in self.sizes if size != (1, 1)} or {(1, 1)}
        if len(sizes) > 1:
            return None
        (size,) = sizes
        return jnp.stack([resized(row[:, None], size)[:, 0] if row.ndim == 2 else row for row in ws], axis=1)

    def from_ws(self, ws: jax.Array) -> jax.Array:
        ws = jnp.asarray(ws)
        rows = (
            without_place(ws[:, i : i + 1]) if size == (1, 1) else resized(ws[:, i : i + 1], size)
            for i, size in enumerate(self.sizes)
        )
        return jnp.concatenate([row.reshape(len(ws), -1) for row in rows], axis=1)

    def mean(self, statistics: Statistics) -> jax.Array:
        return self.from_ws(statistics.w_mean[None])[0]


class SS(Rows):
    """A map of styles for each layer, after its affine layer: codes are flat, as those of `Rows`.

    Nothing is known of their distribution, so the prior and the terms that are made of it do not apply.
    """

    name = "ss"
    styled = True

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((*size, shape[2]) for size, shape in zip(self.sizes, self.generator.style_shapes))

    def stacked(self, ws: tuple[jax.Array, ...]) -> jax.Array | None:
        """None: styles are not ws."""
        return None

    def from_styles(self, styles: tuple[jax.Array, ...]) -> jax.Array:
        """The codes of styles [B, C] or [B, h, w, C], one for each layer."""
        rows = (
            resize(s, size, _FILTER)
            if s.ndim == 4
            else jnp.broadcast_to(s[:, None, None], (len(s), *size, s.shape[-1]))
            for s, size in zip(styles, self.sizes)
        )
        return jnp.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)

    def from_ws(self, ws: jax.Array) -> jax.Array:
        raise UserError("styles are made of ws by a generator's variables; see `begin`")

    def begin(self, variables: Any, ws: jax.Array) -> jax.Array:
        """The codes whose images are those of ws."""
        return self.from_styles(stylegan2.styles(self.generator, variables, ws))

    def mean(self, statistics: Statistics) -> jax.Array:
        raise UserError("the mean of styles is made of the mean w by a generator's variables; start from w or w+")

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        z = jax.random.normal(key, (count, self.generator.z_dim))
        return self.begin(variables, call(self.generator, variables, z, labels, method="map"))


def size_of(text: str, generator: nn.Module, flag: str = "--space=...:") -> Size:
    """(height, width) of "8", in the image's proportions, or of "4x6"; `flag` is what it was given with.

    Raises:
        UserError: it is none.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and (width.isdecimal() or (not width and "x" not in text))) or not int(height):
        raise UserError(f"{flag}{text} is no size of a map; give 8, or 4x6 for height and width")
    rows = int(height)
    columns = int(width) if width else max(round(rows * generator.image_shape[1] / generator.image_shape[0]), 1)
    if not 0 < columns <= generator.image_shape[1] or rows > generator.image_shape[0]:
        raise UserError(f"{flag}{text}: a map of {rows}x{columns} cells is finer than the image; give fewer")
    return rows, columns


def _least(size: Size, limit: Size) -> Size:
    return tuple(map(min, size, limit))


def _swplus(text: str, generator: nn.Module) -> Space:
    """SW+, or with ":FIRST-LAST" maps in these layers only."""
    grid, _, layers = text.partition(":")
    size = size_of(grid, generator)
    if not layers:
        return SWPlus(generator, size)
    first, _, last = layers.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < generator.num_ws):
        raise UserError(f"--space=sw+:{text}: give layers of 0 to {generator.num_ws - 1}, such as sw+:{grid}:0-3")
    chosen = range(int(first), int(last) + 1)
    return Rows(generator, tuple(size if i in chosen else (1, 1) for i in range(generator.num_ws)))


KINDS: dict[str, tuple[str, Callable[[str, nn.Module], Space]]] = {
    "sz": ("sz:8, a map of z", lambda text, g: SZ(g, size_of(text, g))),
    "sw": ("sw:8, a map of w", lambda text, g: SW(g, size_of(text, g))),
    "sw+": ("sw+:8 or sw+:8:0-5, a map of w for each layer, or for some", _swplus),
    "pyramid": (
        "pyramid:32, maps as fine as each layer, but no finer than that",
        lambda text, g: Rows(g, tuple(_least(size, size_of(text, g)) for size in g.row_shapes)),
    ),
    "ss": (
        "ss:8, maps of styles",
        lambda text, g: SS(g, tuple(_least(shape[:2], size_of(text, g)) for shape in g.style_shapes)),
    ),
}


def make(name: str, generator: nn.Module) -> Space:
    """The space of "KIND:SIZE".

    Raises:
        UserError: an unknown kind or size, or a generator that takes no maps.
    """
    kind, _, text = name.partition(":")
    if kind not in KINDS:
        known = "; ".join(said for said, _ in KINDS.values())
        raise UserError(f"space {name!r} is not known; spaces of maps are {known}")
    if not hasattr(generator, "row_shapes"):
        raise UserError(f"--space={name}: only StyleGAN2 and what is made of it take maps; use z, w or w+ here")
    return KINDS[kind][1](text, generator)


def is_spatial(space: Space) -> bool:
    """Whether it is one of maps."""
    return isinstance(space, Maps | Rows)


def distinct(space: Space, ws: jax.Array) -> jax.Array:
    """ws [B, num_ws, ...] without what `space.to_ws` repeats for all layers."""
    return ws[:, :1] if isinstance(space, SW | SZ) else ws


def rows(space: Space, ws: Any) -> jax.Array:
    """Every w that ws consist of, each once: [B, Q, w_dim]."""
    if isinstance(ws, tuple):
        return jnp.concatenate([row.reshape(len(row), -1, row.shape[-1]) for row in ws], axis=1)
    return distinct(space, ws).reshape(len(ws), -1, ws.shape[-1])
