"""StyleGAN (Karras et al. 2019, arXiv 1812.04948): the networks of one level, grown as Progressive GAN's are.

What `jaxgan.networks.pggan` says of levels, alpha, names, weights and imports holds here too. Constants and orders are
those of the official code; it fuses resampling and convolution from 128 px up, which gives the same values.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import DOut, block_output, one_hot, recorder
from jaxgan.networks.layers import Conv, Dense, block_resolutions, num_channels
from jaxgan.networks.noise import Noise, noise_map
from jaxgan.networks.pggan import Epilogue, to_features, to_image
from jaxgan.ops.activation import SQRT2, leaky_relu, normalize_2nd_moment
from jaxgan.ops.box import blur, box_downsample_conv, nearest_upsample_conv


def blurred_upsample_conv(x: jax.Array, w: jax.Array) -> jax.Array:
    """The generator's: nearest-neighbour upsampling, 3x3 convolution, blur."""
    return blur(nearest_upsample_conv(x, w))


def blurred_downsample_conv(x: jax.Array, w: jax.Array) -> jax.Array:
    """The discriminator's: blur, 3x3 convolution, averaging."""
    return box_downsample_conv(blur(x), w)


def instance_norm(x: jax.Array) -> jax.Array:
    """x [B, H, W, C] with mean 0 and variance 1 within each map, in float32; epsilon 1e-8."""
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True) + 1e-8)


class Mapping(nn.Module):
    """z [B, z_dim], label codes [B, K] or None -> w [B, w_dim]; embedded labels are normalised together with z."""

    w_dim: int
    num_layers: int

    @nn.compact
    def __call__(self, z: jax.Array, codes: jax.Array | None) -> jax.Array:
        x = z.astype(jnp.float32)
        if codes is not None:
            embedding = self.param("embed", nn.initializers.normal(1.0), (codes.shape[-1], z.shape[-1]), jnp.float32)
            x = jnp.concatenate((x, codes @ embedding), axis=-1)
        x = normalize_2nd_moment(x)
        for i in range(self.num_layers):
            x = leaky_relu(Dense(self.w_dim, lr_multiplier=0.01, weight_gain=SQRT2, name=f"fc{i}")(x))
        return x


class LayerEpilogue(nn.Module):
    """The end of layer number `layer`: noise, bias, leaky ReLU, instance norm, scale and shift by the style (AdaIN)."""

    layer: int

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: Noise) -> jax.Array:
        channels = x.shape[-1]
        strength = self.param("noise_strength", nn.initializers.zeros, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        drawn = noise_map(self, noise, self.layer, x.shape)
        if drawn is not None:
            x = x + (drawn * strength).astype(x.dtype)
        y = instance_norm(leaky_relu(x + bias.astype(x.dtype)))
        scale, shift = jnp.split(Dense(2 * channels, name="affine")(w)[:, None, None], 2, axis=-1)
        return (y * (scale + 1) + shift).astype(x.dtype)


class SynthesisBlock(nn.Module):
    """Two styled layers at a resolution, the first of them number `layer`; 4 px starts from a learned constant."""

    features: int
    layer: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array | None, ws: jax.Array, noise: Noise) -> jax.Array:
        convolution_3x3 = functools.partial(Conv, self.features, 3, use_bias=False, weight_gain=SQRT2)
        if x is None:
            const = self.param("const", nn.initializers.ones, (4, 4, self.features), jnp.float32)
            x = jnp.broadcast_to(const, (ws.shape[0], *const.shape)).astype(self.dtype)
        else:
            x = convolution_3x3(convolution=blurred_upsample_conv, name="conv0")(x)
        x = LayerEpilogue(self.layer, name="epilogue0")(x, ws[:, self.layer], noise)
        x = convolution_3x3(name="conv1")(x)
        return LayerEpilogue(self.layer + 1, name="epilogue1")(x, ws[:, self.layer + 1], noise)


class Generator(nn.Module):
    """StyleGAN's generator at one level.

    Attributes:
        resolution: of this level; a power of two from 4.
        fading: whether this resolution is still fading in (8 or more). The module then keeps alpha, a scalar at the
            top of its buffers, initialised at 1 and set by the training step.
        channels: of the image: 1, 3 or 4.
        num_classes: 0 for an unconditional generator.
        mapping_layers: of the mapping network, each `w_dim` wide.
        channel_base, channel_max: feature maps at resolution r are min(channel_base / r, channel_max); the official
            fmap_base is half of channel_base.
        dtype: compute dtype of the synthesis network; the mapping and every normalisation run in float32.
    """

    resolution: int
    fading: bool = False
    channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    num_classes: int = 0
    mapping_layers: int = 8
    channel_base: int = 16384
    channel_max: int = 512
    dtype: Any = jnp.float32

    @property
    def num_ws(self) -> int:
        """Rows of ws: one per layer, 2 * log2(resolution) - 2."""
        return 2 * int(math.log2(self.resolution)) - 2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the output."""
        return (self.resolution, self.resolution, self.channels)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the noise map of each layer, in order."""
        return tuple((r, r) for r in block_resolutions(self.resolution) for _ in range(2))

    def setup(self) -> None:
        self.mapping = Mapping(self.w_dim, self.mapping_layers)

    def map(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """z [B, z_dim] ~ N(0, I), labels [B] or [B, num_classes] -> ws [B, num_ws, w_dim], not truncated."""
        w = self.mapping(z, one_hot(labels, self.num_classes, z.shape[0]))
        return jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, w.shape[1]))

    @nn.compact
    def synthesize(
        self, ws: jax.Array, noise: Noise = "const", *, alpha: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """ws [B, num_ws, w_dim] -> images [B, H, W, channels] in about [-1, 1] (unclipped), float32.

        `noise` is "const" (the stored maps), "none", a key (fresh maps, as in training) or a tuple of maps
        [B, H, W, 1] with the sizes of `noise_shapes`. `alpha` in [0, 1] is the share of the new resolution while
        fading; None takes the stored one, so a network saved inside a fade renders as it was trained. A stable module
        ignores it.
        """
        x = below = None
        for i, resolution in enumerate(block_resolutions(self.resolution)):
            features = num_channels(resolution, self.channel_base, self.channel_max)
            block = SynthesisBlock(features, 2 * i, self.dtype, name=f"b{resolution}")
            x, below = block_output(block(x, ws, noise)), x
        return to_image(self, x, below, alpha)

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        noise: Noise = "const",
        *,
        alpha: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, alpha=alpha, train=train)


class Discriminator(nn.Module):
    """StyleGAN's discriminator at one level: Progressive GAN's with a blur before each averaging convolution.

    A conditional one has a score for every class and picks that of the label (Mescheder et al. 2018). Attributes are
    the generator's; `mbstd_group` is the size of the minibatch-deviation groups, contiguous rows.
    """

    resolution: int
    fading: bool = False
    channels: int = 3
    num_classes: int = 0
    channel_base: int = 16384
    channel_max: int = 512
    mbstd_group: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        alpha: jax.Array | None = None,
        taps: dict[str, jax.Array] | None = None,
        group_size: int | None = None,
        train: bool = False,
    ) -> DOut:
        """images [B, H, W, channels] in [-1, 1] -> DOut with features b{resolution} (block outputs) and fc.

        `alpha` is as in `Generator.synthesize`. `taps` are added to the features of the same name (zeros, to take
        derivatives by); `group_size=1` makes every image independent of the others.
        """
        codes = one_hot(labels, self.num_classes, images.shape[0])
        features, tap = recorder(taps)
        x = to_features(self, images, alpha, tap, blurred_downsample_conv)
        width, hidden = (num_channels(r, self.channel_base, self.channel_max) for r in (4, 2))
        group = self.mbstd_group if group_size is None else group_size
        scores = Epilogue(width, hidden, max(self.num_classes, 1), group, name="b4")(x, tap)
        return DOut(scores[:, 0] if codes is None else jnp.sum(scores * codes, axis=-1), features)
