"""Progressive GAN (Karras et al. 2018, arXiv 1710.10196): the networks of one level.

A network that grows is one module per level. `resolution` is the level's; while `fading`, the image is mixed from the
new resolution's layers (share alpha) and the old ones (1 - alpha), afterwards the new toRGB or fromRGB stands alone.
Blocks are named by their resolution at the top of the tree (b4, b8, ..., torgb8, fromrgb8): a level holds the tree of
the level below, but for a toRGB or fromRGB that is no longer used.

Weights are stored ~ N(0, 1) and used times gain / sqrt(fan-in), with the gain sqrt(2) in front of a leaky ReLU, which
brings none of its own; biases are not scaled. Constants and orders are those of the official code. It is channels
first, so an import reorders the features of the two dense layers beside the 4x4 maps, and its kernels of fused
transposed convolutions are ours flipped. `leaky_slope`, `unit_bias` and `output` are what ports of it do otherwise.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import DOut, block_output, recorder
from jaxgan.networks.layers import Conv, Dense, block_resolutions, convolution_3x3, num_channels
from jaxgan.networks.plain import PlainGenerator
from jaxgan.ops.activation import SQRT2, leaky_relu, normalize_2nd_moment
from jaxgan.ops.box import box_downsample, box_downsample_conv, nearest_upsample, nearest_upsample_conv
from jaxgan.ops.conv import conv
from jaxgan.ops.statistics import minibatch_stddev

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


# What growing networks share. These are called inside the compact method of a module with the attributes of a level.


def fade(module: nn.Module, new: jax.Array, old: jax.Array, alpha: jax.Array | None) -> jax.Array:
    """alpha * new + (1 - alpha) * old; without an alpha the one in the module's buffers, at first 1."""
    stored = module.variable("buffers", "alpha", jnp.ones, ())
    alpha = stored.value if alpha is None else alpha
    return (alpha * new + (1 - alpha) * old).astype(new.dtype)


def to_image(module: nn.Module, x: jax.Array, below: jax.Array | None, alpha: jax.Array | None) -> jax.Array:
    """Features at the level's resolution, and at the one below for a fade -> images [B, H, W, channels], float32."""

    def to_rgb(resolution, x):
        return Conv(module.channels, 1, convolution=conv, name=f"torgb{resolution}")(x).astype(jnp.float32)

    images = to_rgb(module.resolution, x)
    if not module.fading:
        return images
    return fade(module, images, nearest_upsample(to_rgb(module.resolution // 2, below)), alpha)


def to_features(
    module: nn.Module,
    images: jax.Array,
    alpha: jax.Array | None,
    tap: Callable[[str, jax.Array], jax.Array],
    downsample_conv: Convolution | None,
    slope: float = 0.2,
) -> jax.Array:
    """Images -> features at 4 px through fromRGB and `DiscriminatorBlock`s, each block's output recorded by `tap`.

    While fading, what is recorded (and goes on) is the mixture. `slope` is that of the leaky ReLUs.
    """

    def width(resolution):
        return num_channels(resolution, module.channel_base, module.channel_max)

    def from_rgb(resolution, images):
        layer = Conv(width(resolution), 1, weight_gain=SQRT2, convolution=conv, name=f"fromrgb{resolution}")
        return leaky_relu(layer(images.astype(module.dtype)), slope)

    x = from_rgb(module.resolution, images)
    for resolution in reversed(block_resolutions(module.resolution)[1:]):
        below = resolution // 2
        x = DiscriminatorBlock(width(resolution), width(below), downsample_conv, slope, name=f"b{resolution}")(x)
        if module.fading and resolution == module.resolution:
            x = fade(module, x, from_rgb(below, box_downsample(images)), alpha)
        x = tap(f"b{resolution}", x)
    return x


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions with leaky ReLU that halve the resolution.

    The second is `downsample_conv`, which halves it before bias and activation; None averages after them.
    """

    features: int
    features_out: int
    downsample_conv: Convolution | None
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = leaky_relu(Conv(self.features, 3, weight_gain=SQRT2, name="conv0")(x), self.slope)
        second = self.downsample_conv or convolution_3x3
        x = leaky_relu(Conv(self.features_out, 3, weight_gain=SQRT2, convolution=second, name="conv1")(x), self.slope)
        return x if self.downsample_conv else box_downsample(x)


class Epilogue(nn.Module):
    """Minibatch deviation, 3x3 convolution and two dense layers at 4 px, in float32."""

    features: int
    hidden: int
    outputs: int
    group_size: int
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: jax.Array, tap: Callable[[str, jax.Array], jax.Array]) -> jax.Array:
        x = minibatch_stddev(x.astype(jnp.float32), self.group_size)
        x = leaky_relu(Conv(self.features, 3, weight_gain=SQRT2, name="conv")(x), self.slope)
        x = Dense(self.hidden, weight_gain=SQRT2, name="fc")(x.reshape(x.shape[0], -1))
        x = tap("fc", leaky_relu(x, self.slope))
        return Dense(self.outputs, name="out")(x)


# Progressive GAN itself.


def pixel_norm(x: jax.Array) -> jax.Array:
    """x [..., C] divided by its root mean square over the channels, computed in float32; epsilon 1e-8."""
    return normalize_2nd_moment(x.astype(jnp.float32)).astype(x.dtype)


def full_convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """Each output of a kernel [k, k, I, O] on a single pixel [N, 1, 1, I]: [N, k, k, O]."""
    return jnp.einsum("ni,klio->nklo", x[:, 0, 0], w)


class SynthesisBlock(nn.Module):
    """Two convolutions, each with leaky ReLU and pixel norm; the first leads to the block's resolution."""

    features: int
    kernel: int
    convolution: Convolution
    slope: float = 0.2
    unit_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first = Conv(
            self.features,
            self.kernel,
            weight_gain=SQRT2,
            convolution=self.convolution,
            unit_bias=self.unit_bias,
            name="conv0",
        )
        x = pixel_norm(leaky_relu(first(x), self.slope))
        return pixel_norm(leaky_relu(Conv(self.features, 3, weight_gain=SQRT2, name="conv1")(x), self.slope))


class Generator(PlainGenerator):
    """Progressive GAN's generator at one level.

    There is no W space and no noise: `ws` is one row, the latent with the one-hot label code behind it.

    Attributes are those of PlainGenerator, with the paper's widths, and:
        resolution: of this level; a power of two from 4.
        fading: whether this resolution is still fading in (8 or more). The module then keeps alpha, a scalar at the
            top of its buffers, initialised at 1 and set by the training step.
        channel_base: the paper's fmap_base is half of it.
        normalize_labels: normalise latent and label code together (TensorFlow code); otherwise the latent alone
            (Theano code).
        leaky_slope: of the leaky ReLUs.
        unit_bias: the dense layer has a bias for each of its 4 * 4 * C units, not one for each map.
        output: "linear", or "tanh" on the image, after the mixing of a fade.
    """

    fading: bool = False
    z_dim: int = 512
    channel_base: int = 16384
    channel_max: int = 512
    normalize_labels: bool = True
    leaky_slope: float = 0.2
    unit_bias: bool = False
    output: str = "linear"

    truncatable = False  # a latent drawn towards the mean, which is 0, has its old length again after normalisation

    @nn.compact
    def synthesize(
        self, ws: jax.Array, noise: Any = "const", *, alpha: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """ws [B, 1, w_dim] -> images [B, H, W, channels] in about [-1, 1] (unclipped), float32.

        `noise` is ignored. `alpha` in [0, 1] is the share of the new resolution while fading; None takes the stored
        one, so a network saved inside a fade renders as it was trained. A stable module ignores it.
        """
        latent = ws[:, 0]
        if self.normalize_labels:
            latent = pixel_norm(latent)
        else:
            latent = jnp.concatenate((pixel_norm(latent[:, : self.z_dim]), latent[:, self.z_dim :]), axis=-1)
        x, below = latent.astype(self.dtype)[:, None, None], None
        for resolution in block_resolutions(self.resolution):
            # The first convolution of b4 is the dense layer of the official code: its gain sqrt(2) / 4 is this fan-in.
            kernel, convolution = (4, full_convolution) if resolution == 4 else (3, nearest_upsample_conv)
            features = num_channels(resolution, self.channel_base, self.channel_max)
            unit_bias = self.unit_bias and resolution == 4
            block = SynthesisBlock(features, kernel, convolution, self.leaky_slope, unit_bias, name=f"b{resolution}")
            x, below = block_output(block(x)), x
        images = to_image(self, x, below, alpha)
        return jnp.tanh(images) if self.output == "tanh" else images

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        noise: Any = "const",
        *,
        alpha: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, alpha=alpha, train=train)


class Discriminator(nn.Module):
    """Progressive GAN's discriminator at one level; with classes an AC-GAN, whose head also says which one it sees.

    Attributes, besides the generator's:
        mbstd_group: size of the minibatch-deviation groups, contiguous rows.
        fused_scale: halve the resolution before bias and activation (TensorFlow code); otherwise after them (Theano
            code).
        leaky_slope: of the leaky ReLUs.
    """

    resolution: int
    fading: bool = False
    channels: int = 3
    num_classes: int = 0
    channel_base: int = 16384
    channel_max: int = 512
    mbstd_group: int = 4
    fused_scale: bool = True
    leaky_slope: float = 0.2
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

        `labels` are not read: the class is an output, `class_logits` [B, num_classes]. `alpha` is as in
        `Generator.synthesize`. `taps` are added to the features of the same name (zeros, to take derivatives by);
        `group_size=1` makes every image independent of the others.
        """
        features, tap = recorder(taps)
        x = to_features(self, images, alpha, tap, box_downsample_conv if self.fused_scale else None, self.leaky_slope)
        width, hidden = (num_channels(r, self.channel_base, self.channel_max) for r in (4, 2))
        group = self.mbstd_group if group_size is None else group_size
        out = Epilogue(width, hidden, 1 + self.num_classes, group, self.leaky_slope, name="b4")(x, tap)
        return DOut(out[:, 0], features, out[:, 1:] if self.num_classes else None)
