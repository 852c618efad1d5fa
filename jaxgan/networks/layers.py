"""Layers with an equalised learning rate: raw weights are stored, their gain is applied at run time.

Parameters carry the official names (weight, bias), so that an import is a renaming and a transposition.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.ops.activation import bias_act
from jaxgan.ops.conv import conv


def block_resolutions(resolution: int) -> list[int]:
    """[4, 8, ..., resolution]."""
    return [2**i for i in range(2, int(math.log2(resolution)) + 1)]


def num_channels(resolution: int, channel_base: int, channel_max: int) -> int:
    """Feature maps at a resolution: channel_base / resolution, at most channel_max."""
    return min(channel_base // resolution, channel_max)


def convolution_3x3(x: jax.Array, w: jax.Array) -> jax.Array:
    """A plain 3x3 convolution that keeps the size."""
    return conv(x, w, padding=1)


class Dense(nn.Module):
    """[N, I] -> [N, features] with bias and activation.

    Weights ~ N(0, 1) / lr_multiplier are stored and used times lr_multiplier * weight_gain / sqrt(I).
    """

    features: int
    activation: str = "linear"
    lr_multiplier: float = 1.0
    weight_gain: float = 1.0
    bias_init: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param(
            "weight", nn.initializers.normal(1.0 / self.lr_multiplier), (x.shape[-1], self.features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,), jnp.float32)
        gain = self.lr_multiplier * self.weight_gain / x.shape[-1] ** 0.5
        return bias_act(x @ (weight * gain).astype(x.dtype), bias * self.lr_multiplier, self.activation)


class ConvWeights(nn.Module):
    """Scaled weight [k, k, channels, features] and bias [features] of a `Conv`, for one who convolves otherwise."""

    features: int
    kernel: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        shape = (self.kernel, self.kernel, channels, self.features)
        weight = self.param("weight", nn.initializers.normal(1.0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return weight / (self.kernel**2 * channels) ** 0.5, bias


class Conv(nn.Module):
    """Equalised convolution with bias and activation; runs in the dtype of its input.

    `convolution` does the work, resampling included: (x [N, H, W, I], w [k, k, I, O]) -> y. The clamp is `conv_clamp`
    times the layer's gain, without the activation's sqrt(2), as in the official code. `gain` scales what comes out,
    `weight_gain` the weights alone, not the bias. With `unit_bias` the bias [k, k, features] differs between
    pixels, for a layer whose output is one kernel large.
    """

    features: int
    kernel: int
    activation: str = "linear"
    use_bias: bool = True
    gain: float = 1.0
    weight_gain: float = 1.0
    conv_clamp: float | None = None
    unit_bias: bool = False
    convolution: Callable[[jax.Array, jax.Array], jax.Array] = convolution_3x3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", nn.initializers.normal(1.0), shape, jnp.float32)
        per = (self.kernel, self.kernel, self.features) if self.unit_bias else (self.features,)
        bias = self.param("bias", nn.initializers.zeros, per, jnp.float32) if self.use_bias else None
        weight = weight * self.weight_gain / (self.kernel**2 * x.shape[-1]) ** 0.5
        y = self.convolution(x, weight.astype(x.dtype))
        clamp = None if self.conv_clamp is None else self.conv_clamp * self.gain
        return bias_act(y, bias, self.activation, gain=self.gain, clamp=clamp)
