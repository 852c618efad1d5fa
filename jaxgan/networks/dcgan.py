"""DCGAN (Radford et al. 2015, arXiv 1511.06434) for any power of two from 8: generator and discriminator.

As in the authors' code: 5x5 kernels, N(0, 0.02) weights, no biases beside batch normalisation's, whose first layer has
moments for each of its 4 * 4 * C units. Two things are this library's: z is N(0, I), where the paper draws from
U(-1, 1), and labels make the pair an AC-GAN (Odena et al. 2016, arXiv 1610.09585). Images are NHWC in [-1, 1].
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import DOut, block_output, recorder
from jaxgan.networks.layers import block_resolutions, num_channels
from jaxgan.networks.normalization import BatchNorm, LayerNorm
from jaxgan.networks.plain import PlainGenerator
from jaxgan.ops.activation import bias_act, leaky_relu
from jaxgan.ops.conv import conv

STDDEV = 0.02  # of the fresh weights and of batch normalisation's gains


def halving(x: jax.Array, w: jax.Array) -> jax.Array:
    """Strided convolution [N, 2H, 2W, I] x [k, k, I, O] -> [N, H, W, O], k of 2 or more."""
    side = ((w.shape[0] - 1) // 2, (w.shape[0] - 2) // 2)
    return conv(x, w, stride=2, padding=(side, side))


def doubling(x: jax.Array, w: jax.Array) -> jax.Array:
    """Transposed convolution [N, H, W, I] x [k, k, I, O] -> [N, 2H, 2W, O], k of 2 or more.

    The adjoint of `halving` with the kernel flipped and its channels swapped.
    """
    side = (w.shape[0] // 2, (w.shape[0] + 1) // 2)
    return conv(x, w, lhs_dilation=2, padding=(side, side))


class PlainDense(nn.Module):
    """[N, I] -> [N, features]; the weight is stored as it is used."""

    features: int
    weight_init: Callable[..., jax.Array] = nn.initializers.normal(STDDEV)
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", self.weight_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        return bias_act(x @ weight.astype(x.dtype), bias, "linear")


class PlainConv(nn.Module):
    """Convolution whose weight is stored as it is used; runs in the dtype of its input.

    `convolution` does the work, resampling included: (x [N, H, W, I], w [k, k, I, O]) -> y.
    """

    features: int
    kernel: int
    convolution: Callable[[jax.Array, jax.Array], jax.Array]
    weight_init: Callable[..., jax.Array] = nn.initializers.normal(STDDEV)
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", self.weight_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        return bias_act(self.convolution(x, weight.astype(x.dtype)), bias, "linear")


def normalise(x: jax.Array, norm: str, *, name: str, train: bool, **batch: Any) -> jax.Array:
    """Normalises with a submodule `name` of the compact method that calls this.

    `norm` is "batch" (`batch` are the attributes of its BatchNorm), "layer" or "none".
    """
    if norm == "batch":
        return BatchNorm(name=name, **batch)(x, train=train)
    return LayerNorm(name=name)(x) if norm == "layer" else x


class Generator(PlainGenerator):
    """Dense layer to 4x4, then transposed convolutions that double the resolution; ReLU, and tanh at the end.

    Attributes are those of PlainGenerator, with the paper's widths at 64 px, and:
        kernel: side of the convolution kernels, 2 or more (the paper has 5; common ports have 4).
        bn_epsilon: added to batch normalisation's variances (the authors' code has 1e-8; common ports have 1e-5).
        unit_norm: the first layer is normalised unit by unit, with moments for each of its 4 * 4 * C (the authors'
            code); otherwise map by map (common ports).
    """

    kernel: int = 5
    bn_epsilon: float = 1e-8
    unit_norm: bool = True

    @nn.compact
    def synthesize(self, ws: jax.Array, noise: Any = "const", *, train: bool = False) -> jax.Array:
        """ws [B, 1, w_dim] -> images [B, resolution, resolution, channels] in [-1, 1], float32; `noise` is ignored."""
        batch_norm = functools.partial(BatchNorm, epsilon=self.bn_epsilon, gain_stddev=STDDEV)
        width = num_channels(4, self.channel_base, self.channel_max)
        x = PlainDense(4 * 4 * width, name="fc")(ws[:, 0])
        x = x if self.unit_norm else x.reshape(-1, 4, 4, width)
        x = nn.relu(batch_norm(name="norm4")(x, train=train)).reshape(-1, 4, 4, width).astype(self.dtype)
        for resolution in block_resolutions(self.resolution)[1:-1]:
            width = num_channels(resolution, self.channel_base, self.channel_max)
            x = PlainConv(width, self.kernel, doubling, name=f"conv{resolution}")(x)
            x = block_output(nn.relu(batch_norm(name=f"norm{resolution}")(x, train=train)))
        x = PlainConv(self.channels, self.kernel, doubling, name=f"conv{self.resolution}")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """Strided convolutions down to 4x4 with leaky ReLU, normalised from the second on, then one dense layer.

    Attributes are the generator's, and `norm`: "batch" as in the paper, or what the critics of WGAN-GP have, "layer" or
    "none". Without batch normalisation, which would take biases away again, every layer has one.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    channel_base: int = 4096
    channel_max: int = 1024
    kernel: int = 5
    norm: str = "batch"
    bn_epsilon: float = 1e-8
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
        """images [B, H, W, channels] in [-1, 1] -> DOut with features b{resolution} (layer outputs).

        Classes are guessed, not given: `labels` are ignored, and class_logits [B, num_classes] are None without
        classes. `taps` are added to the features of the same name. `group_size` is ignored: only batch normalisation
        in training mixes images, and it takes the whole batch.
        """
        features, tap = recorder(taps)
        use_bias = self.norm != "batch"
        batch = {"epsilon": self.bn_epsilon, "gain_stddev": STDDEV}
        x = images.astype(self.dtype)
        for resolution in reversed(block_resolutions(self.resolution)[1:]):
            width = num_channels(resolution // 2, self.channel_base, self.channel_max)
            x = PlainConv(width, self.kernel, halving, use_bias=use_bias, name=f"conv{resolution}")(x)
            if resolution < self.resolution:
                x = normalise(x, self.norm, name=f"norm{resolution}", train=train, **batch)
            x = tap(f"b{resolution}", leaky_relu(x))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        out = PlainDense(1 + self.num_classes, use_bias=use_bias, name="out")(x)
        return DOut(out[:, 0], features, out[:, 1:] if self.num_classes else None)
