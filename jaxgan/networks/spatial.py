"""StyleGAN2 trained on latents with spatial extent: images of any size from one network.

Our formulation of the training of Sypetkowski 2023 (arXiv 2303.14552; the abstract alone is known). z is a map, one
cell a cell of the base grid, drawn as `jaxgan.networks.prior` says and mapped position by position. For homogeneous
images the base grid is one learned vector, and more of the canvas is made than is shown: no pixel that is shown has
been reached by the zeros at the border, so that nothing tells a layer where it is, and a canvas may have any size.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks import stylegan2
from jaxgan.networks.layers import block_resolutions
from jaxgan.networks.prior import Prior, draw, window
from jaxgan.networks.stylegan2 import View

BASES = ("tiled", "constant")


def margins(resolution: int) -> tuple[int, tuple[int, ...]]:
    """(cells around the base grid, pixels that stay around the image after each block).

    A block's two convolutions, the filter included, carry what is at the border 3 of its own pixels inwards, the
    first block's one 1: what stays after a block is what the next one needs.
    """
    kept = [0]
    for _ in block_resolutions(resolution)[1:]:
        kept.append(-(-(kept[-1] + 3) // 2))
    return kept[-1] + 1, tuple(reversed(kept))


class SynthesisBlock(stylegan2.SynthesisBlock):
    """StyleGAN2's block; the first one begins from one vector everywhere, where `tiled`."""

    tiled: bool = True
    margin: int = 0

    def base(self, count: int) -> jax.Array:
        if not self.tiled:
            return super().base(count)
        const = self.param("const", nn.initializers.normal(1.0), (1, 1, self.features), jnp.float32)
        size = tuple(n + 2 * self.margin for n in self.base_shape)
        return jnp.broadcast_to(const, (count, *size, self.features))


class Synthesis(stylegan2.Synthesis):
    """StyleGAN2's synthesis on a canvas that is larger than the image by `margins`, and cut after each block."""

    tiled: bool = True

    def block(self, *args: Any, **kwargs: Any) -> SynthesisBlock:
        return SynthesisBlock(*args, tiled=self.tiled, margin=self._margin(), **kwargs)

    def _margin(self) -> int:
        return margins(self.resolution)[0] if self.tiled else 0

    def view(self, number: int) -> View | None:
        if not self.tiled:
            return None
        return shown(self.base_shape, self.resolution, number)

    def shown(self, number: int, x: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        if not self.tiled:
            return x, image
        kept = margins(self.resolution)[1][number]
        top, left = ((have - n * 2**number) // 2 - kept for have, n in zip(x.shape[1:3], self.base_shape))
        height, width = (n * 2**number + 2 * kept for n in self.base_shape)
        return tuple(a[:, top : top + height, left : left + width] for a in (x, image))


def shown(base_shape: tuple[int, int], resolution: int, number: int) -> View:
    """What a block is given shows of the canvas, margins included, in the pixels of what it is given."""
    margin, kept = margins(resolution)
    scale = 2 ** max(number - 1, 0)
    around = margin if number == 0 else kept[number - 1]  # the first block is given all of the base grid
    first = margin * scale - around
    height, width = (n * scale + 2 * around for n in base_shape)
    return View(tuple((n + 2 * margin) * scale for n in base_shape), (first, first, height, width))


class Generator(stylegan2.Generator):
    """StyleGAN2's generator on maps of z.

    Attributes, beside StyleGAN2's:
        base: "tiled" for homogeneous images: one vector everywhere, margins that are cut, any size; "constant" is
            StyleGAN2's constant, with its zeros at the border: for images that have an up and a down.
        global_share, scales: of `jaxgan.networks.prior.Prior`.
    """

    base: str = "tiled"
    global_share: float = 0.3
    scales: tuple[tuple[float, float], ...] = ((1.0, 0.35), (2.0, 0.35))

    @property
    def prior(self) -> Prior:
        """The distribution of z."""
        return Prior(self.global_share, self.scales)

    @property
    def margin(self) -> int:
        """Cells of the maps on each side that lie outside the image."""
        return margins(self.resolution)[0] if self.base == "tiled" else 0

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the maps, in cells."""
        return tuple(n + 2 * self.margin for n in self.base_shape)

    @property
    def image_box(self) -> tuple[float, float, float, float]:
        """(top, left, bottom, right) of the image as shares of the maps, whose margins lie around it."""
        top, left = (self.margin / n for n in self.grid)
        return top, left, 1 - top, 1 - left

    @property
    def row_shapes(self) -> tuple[tuple[int, int], ...]:
        return tuple(tuple(n * 2 ** (row // 2) for n in self.grid) for row in range(self.num_ws))

    @property
    def style_shapes(self) -> tuple[tuple[int, int, int], ...]:
        scale = [whole / shown for whole, shown in zip(self.grid, self.base_shape)]
        return tuple((round(h * scale[0]), round(w * scale[1]), c) for h, w, c in super().style_shapes)

    @property
    def z_shape(self) -> tuple[int, int, int]:
        """Of one image's z; `map` also takes [B, z_dim], a map that is the same everywhere."""
        return (*self.grid, self.z_dim)

    def draw_z(self, keys: jax.Array) -> jax.Array:
        """A map of z for each key of [B], [B, *z_shape]."""
        return jax.vmap(lambda key: draw(self.prior, key, self.grid, self.z_dim))(keys)

    def window_z(self, keys: jax.Array, places: jax.Array) -> jax.Array:
        """The same of the endless maps of keys, from the base cells `places` [B, 2] (row, column) on."""
        margin = self.margin

        def one(key: jax.Array, place: jax.Array) -> jax.Array:
            return window(self.prior, key, (place[0] - margin, place[1] - margin), self.grid, self.z_dim)

        return jax.vmap(one)(keys, places)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        if self.base != "tiled":
            return super().noise_shapes
        shapes = []
        for number in range(len(block_resolutions(self.resolution))):
            _, _, height, width = shown(self.base_shape, self.resolution, number).window
            shapes += [(height, width)] if number == 0 else [(2 * height, 2 * width)] * 2
        return tuple(shapes)

    def make_synthesis(self, *args: Any) -> Synthesis:
        return Synthesis(*args, tiled=self.base == "tiled")
