"""WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028): the paper's residual networks, and its DCGAN-shaped critic.

To that critic belongs DCGAN's generator. The residual pair is the authors' CIFAR-10 network at 32 px and has more or
fewer blocks at other powers of two from 8. Conditional pairs are AC-GANs as in the paper, except that the generator
reads the label beside z, where the paper's has a gain and a shift per class in batch normalisation. z is N(0, I).
Images are NHWC in [-1, 1].
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks import dcgan
from jaxgan.networks.dcgan import PlainConv, PlainDense, normalise
from jaxgan.networks.gan import DOut, block_output, recorder
from jaxgan.networks.layers import block_resolutions, convolution_3x3, num_channels
from jaxgan.networks.normalization import BatchNorm
from jaxgan.networks.plain import PlainGenerator
from jaxgan.ops.box import box_downsample, box_downsample_conv, nearest_upsample, nearest_upsample_conv
from jaxgan.ops.conv import conv

# Uniform, by the mean of inputs and outputs: the first for the 3x3 convolutions of blocks, the second for all else.
HE = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice, beside a shortcut: a 1x1 convolution where the size changes, else nothing.

    Attributes:
        features, hidden: maps after the second and after the first convolution.
        resample: "up" before the first convolution, "down" after the second, or "none".
        norm: "batch", "layer" or "none".
        preactivation: False for a block that reads images, which has no first norm and ReLU.
    """

    features: int
    hidden: int
    resample: str = "none"
    norm: str = "none"
    preactivation: bool = True
    bn_epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(normalise, norm=self.norm, train=train, epsilon=self.bn_epsilon)
        first = nearest_upsample_conv if self.resample == "up" else convolution_3x3
        second = box_downsample_conv if self.resample == "down" else convolution_3x3
        y = nn.relu(norm(x, name="norm0")) if self.preactivation else x
        y = PlainConv(self.hidden, 3, first, HE, use_bias=True, name="conv0")(y)
        y = nn.relu(norm(y, name="norm1"))
        y = PlainConv(self.features, 3, second, HE, use_bias=True, name="conv1")(y)
        if self.resample == "none":
            return x + y
        # The shortcut's 1x1 convolution commutes with its resampling; it runs at the lower resolution.
        shortcut = PlainConv(self.features, 1, conv, GLOROT, use_bias=True, name="shortcut")
        return y + (nearest_upsample(shortcut(x)) if self.resample == "up" else shortcut(box_downsample(x)))


class ResnetGenerator(PlainGenerator):
    """Dense layer to 4x4, residual blocks that double the resolution, batch norm, ReLU, 3x3 convolution, tanh.

    Attributes are those of PlainGenerator, with the paper's widths at 32 px, and `bn_epsilon`, added to batch
    normalisation's variances.
    """

    z_dim: int = 128
    channel_max: int = 128
    bn_epsilon: float = 1e-5

    @nn.compact
    def synthesize(self, ws: jax.Array, noise: Any = "const", *, train: bool = False) -> jax.Array:
        """ws [B, 1, w_dim] -> images [B, resolution, resolution, channels] in [-1, 1], float32; `noise` is ignored."""
        width = num_channels(4, self.channel_base, self.channel_max)
        x = PlainDense(4 * 4 * width, GLOROT, use_bias=True, name="fc")(ws[:, 0])
        x = x.reshape(-1, 4, 4, width).astype(self.dtype)
        for resolution in block_resolutions(self.resolution)[1:]:
            width = num_channels(resolution, self.channel_base, self.channel_max)
            block = ResidualBlock(width, width, "up", "batch", bn_epsilon=self.bn_epsilon, name=f"b{resolution}")
            x = block_output(block(x, train=train))
        x = nn.relu(BatchNorm(epsilon=self.bn_epsilon, name="norm")(x, train=train))
        x = PlainConv(self.channels, 3, convolution_3x3, GLOROT, use_bias=True, name="to_rgb")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Critic(dcgan.Discriminator):
    """DCGAN's discriminator with `norm` "none", as in the paper's CIFAR-10 network, or "layer", as at 64 px.

    Batch norm would make a score depend on other images, and the gradient penalty is on each image's own.
    """

    norm: str = "none"


class ResnetCritic(nn.Module):
    """Residual blocks that halve the resolution down to 8x8, two that keep it, ReLU, mean over pixels, dense layer.

    Attributes are the generator's, and `norm` of all blocks but the first: "none" as in the paper's CIFAR-10 network,
    or "layer". Images of 8 px are halved once too, to 4x4.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    channel_base: int = 4096
    channel_max: int = 128
    norm: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        taps: dict[str, jax.Array] | None = None,
        group_size: int | None = None,
        train: bool = False,
    ) -> DOut:
        """images [B, H, W, channels] in [-1, 1] -> DOut; no image sees another, whatever `group_size` is.

        Features are b{resolution} (outputs of the blocks that halve it), then b8_0 and b8_1 (of those that keep 8x8).
        Classes are guessed, not given: `labels` are ignored, and class_logits [B, num_classes] are None without
        classes. `taps` are added to the features of the same name.
        """
        features, tap = recorder(taps)
        x = images.astype(self.dtype)
        for resolution in [r for r in reversed(block_resolutions(self.resolution)) if r > 8 or r == self.resolution]:
            first = resolution == self.resolution
            block = ResidualBlock(
                features=num_channels(resolution // 2, self.channel_base, self.channel_max),
                hidden=num_channels(resolution, self.channel_base, self.channel_max),
                resample="down",
                norm="none" if first else self.norm,
                preactivation=not first,
                name=f"b{resolution}",
            )
            x = tap(f"b{resolution}", block(x, train=train))
        _, _, size, width = x.shape
        for name in (f"b{size}_0", f"b{size}_1"):
            x = tap(name, ResidualBlock(width, width, norm=self.norm, name=name)(x, train=train))
        x = jnp.mean(nn.relu(x).astype(jnp.float32), axis=(1, 2))
        out = PlainDense(1 + self.num_classes, GLOROT, use_bias=True, name="out")(x)
        return DOut(out[:, 0], features, out[:, 1:] if self.num_classes else None)
