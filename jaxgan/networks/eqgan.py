"""EqGAN-SA (Wang et al., arXiv 2112.00718): StyleGAN2 whose layers are told by heatmaps where to act.

Constants and layout are those of the released code. A spatial encoding layer stands before every modulated convolution
and changes its input by what heatmaps say; they are sampled as `jaxgan.networks.heatmaps` does. The discriminator is
StyleGAN2's.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks import heatmaps as placements
from jaxgan.networks import stylegan2
from jaxgan.networks.layers import Conv, ConvWeights, block_resolutions, convolution_3x3
from jaxgan.networks.noise import Noise
from jaxgan.ops.activation import leaky_relu
from jaxgan.ops.conv import conv
from jaxgan.ops.resize import resize

SELS = ("norm", "full", "concat")
_RESIDUAL = 0.1


class HeatmapFeatures(nn.Module):
    """Heatmaps [B, H, W, K] of three levels -> `features` of each, by two 3x3 convolutions at full size in `dtype`."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        features = []
        for level, heat in enumerate(maps):
            hidden = Conv(self.features // 2, 3, "lrelu", name=f"level{level}_conv0")(heat.astype(self.dtype))
            features.append(Conv(self.features, 3, "lrelu", gain=0.5**0.5, name=f"level{level}_conv1")(hidden))
        return tuple(features)


class SpatialEncoding(nn.Module):
    """Changes x [B, h, w, C] by features of heatmaps [B, h, w, m].

    Attributes:
        kind: "norm" as released: normalised, scaled and shifted by one map each, and what a convolution makes of that
            is added; "full" has a scale and a shift for each channel (BerfScene's layer); "concat" a convolution of
            both beside each other (ours, to compare with).
        hidden: feature maps between heatmaps and scale and shift.
    """

    kind: str
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, features: jax.Array) -> jax.Array:
        channels, features = x.shape[-1], features.astype(x.dtype)
        if self.kind == "concat":
            both = Conv(channels, 3, "lrelu", name="shared")(jnp.concatenate([x, features], axis=-1))
            return x + _RESIDUAL * Conv(channels, 3, name="output")(both)
        normal = instance_norm(x)
        if self.kind == "full":
            shared = nn.relu(Conv(self.hidden, 1, convolution=conv, name="shared")(features))
            both = Conv(2 * channels, 1, convolution=conv, name="modulation")(shared)
            scale, shift = jnp.split(both, 2, axis=-1)
            return normal * (1 + scale) + shift + _RESIDUAL * x
        shared = Conv(self.hidden, 3, "lrelu", name="shared")(features)
        # One convolution for both maps: what it reads is far more than what it gives.
        kernels = [ConvWeights(1, 3, name=name)(self.hidden) for name in ("sigma", "mu")]
        weight, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*kernels))
        both = convolution_3x3(shared, weight.astype(x.dtype)) + bias.astype(x.dtype)
        scale, shift = jnp.split(both, 2, axis=-1)
        changed = leaky_relu(normal * (1 + scale) + shift)
        return x + _RESIDUAL * Conv(channels, 3, name="output")(changed)


class SynthesisBlock(stylegan2.SynthesisBlock):
    """StyleGAN2's block, guided by features {height: [B, h, w, m]}: one for each size that its layers take."""

    sel: str = "norm"
    sel_hidden: int = 64

    def guided(self, name: str, x: jax.Array, guide: Any) -> jax.Array:
        return SpatialEncoding(self.sel, self.sel_hidden, name=f"{name}_sel")(x, guide[x.shape[1]])


class Synthesis(stylegan2.Synthesis):
    """StyleGAN2's synthesis of guided blocks."""

    sel: str = "norm"
    sel_hidden: int = 64

    def block(self, *args: Any, **kwargs: Any) -> SynthesisBlock:
        return SynthesisBlock(*args, sel=self.sel, sel_hidden=self.sel_hidden, **kwargs)


class Generator(stylegan2.Generator):
    """StyleGAN2's generator, led by heatmaps; at least 32 px.

    Attributes, beside StyleGAN2's:
        sel, sel_hidden: which spatial encoding layer, and its width; see there.
        heatmap_features: features of each level's heatmaps.
        shared_width: whether a key draws one width of the coarsest heatmaps for a whole batch, as the released code
            does; otherwise each image has its own.
    """

    sel: str = "norm"
    sel_hidden: int = 64
    heatmap_features: int = 32
    shared_width: bool = True

    def setup(self) -> None:
        super().setup()
        # In the dtype of the layers of the images' own size, which take them as they are.
        self.heatmaps = HeatmapFeatures(self.heatmap_features, self.dtype if self.low_precision_levels else jnp.float32)

    def make_synthesis(self, *args: Any) -> Synthesis:
        return Synthesis(*args, sel=self.sel, sel_hidden=self.sel_hidden)

    def synthesize(
        self,
        ws: jax.Array,
        noise: Noise = "const",
        *,
        heatmaps: Any = None,
        styled: bool = False,
        carried: tuple[jax.Array | None, jax.Array | None] = (None, None),
        blocks: tuple[int, int | None] = (0, None),
        train: bool = False,
    ) -> Any:
        """ws -> images [B, H, W, channels] in about [-1, 1] (unclipped), float32.

        Args:
            ws, noise, styled: as in StyleGAN2.
            heatmaps: a `jaxgan.networks.heatmaps.Placement`, maps [B, H, W, K] of the three levels, or a key that
                draws a placement an image. None draws with the noise's key if that is one, and puts the centres in the
                middle otherwise.
            carried, blocks: to run some of the blocks only, as in `stylegan2.Synthesis`: what a level of heatmaps does
                not reach need not be made anew when it changes.
        """
        height, width, _ = self.image_shape
        maps = placements.of(
            heatmaps,
            noise,
            len(ws[0]) if isinstance(ws, tuple) else len(ws),
            (height, width),
            shared_width=self.shared_width,
        )
        guides = self._guides(self.heatmaps(maps))
        return self.synthesis(ws, noise, guides, styled=styled, carried=carried, blocks=blocks)

    extras_dim = placements.NUMBERS

    def extras(self, numbers: jax.Array) -> dict[str, placements.Placement]:
        """Placements [B, extras_dim] as keyword arguments of `synthesize`; see `jaxgan.networks.gan`."""
        return {"heatmaps": placements.unpack(numbers)}

    def heat(self, numbers: jax.Array) -> tuple[jax.Array, ...]:
        """The heatmaps [B, H, W, K] of placements, of all three levels."""
        return placements.render(placements.unpack(numbers), self.image_shape[:2])

    def draw_extras(self, keys: jax.Array) -> jax.Array:
        """A placement for each key of [B], as training draws them."""
        return placements.pack(placements.draw_each(keys))

    def batch_extras(self, key: jax.Array, count: int) -> jax.Array:
        """Placements of a batch, with `shared_width` one width of the coarsest heatmaps for all."""
        return placements.pack(placements.draw(key, count, shared_width=self.shared_width))

    def rest_extras(self, count: int) -> jax.Array:
        """The placement that `synthesize` takes where nothing says another."""
        return placements.pack(placements.middle(count))

    def clip_extras(self, numbers: jax.Array) -> jax.Array:
        """The nearest placements of those that training draws."""
        return placements.pack(placements.within(placements.unpack(numbers)))

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        noise: Noise = "const",
        *,
        heatmaps: Any = None,
        train: bool = False,
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, heatmaps=heatmaps, train=train)

    def _guides(self, features: tuple[jax.Array, ...]) -> dict[int, dict[int, jax.Array]]:
        """Features for the blocks: each of the three smallest has a level of its own, the others have all.

        They are resized once for each size at which layers stand, which is half the block's own for the one that
        enlarges, in the dtype that the layers compute in.
        """
        given = (*features, jnp.concatenate(features, axis=-1))
        guides, made = {}, {}
        low = stylegan2.low_precision_from(self.resolution, self.low_precision_levels)
        for number, resolution in enumerate(block_resolutions(self.resolution)):
            which, dtype = min(number, len(features)), self.dtype if resolution >= low else jnp.float32
            guides[resolution] = {}
            for r in (resolution,) if resolution == 4 else (resolution // 2, resolution):
                size = (self.base_shape[0] * r // 4, self.base_shape[1] * r // 4)
                key = (which, size, dtype)
                if key not in made:
                    made[key] = resize(given[which].astype(dtype), size, "corners")
                guides[resolution][size[0]] = made[key]
        return guides


def instance_norm(x: jax.Array) -> jax.Array:
    """x [B, h, w, C] with mean 0 and variance 1 for each image and channel; epsilon 1e-5, in float32.

    The variance is the mean square less the squared mean, as in Flax's norms: both in one pass over x.
    """
    y = x.astype(jnp.float32)
    mean, mean_square = y.mean((1, 2), keepdims=True), jnp.square(y).mean((1, 2), keepdims=True)
    variance = jnp.maximum(mean_square - jnp.square(mean), 0.0)
    return ((y - mean) * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)
