"""Resampling by two with the box filter: pixels repeated or averaged, alone and fused with a 3x3 convolution.

As in Progressive GAN (Karras et al. 2018, arXiv 1710.10196) and StyleGAN (arXiv 1812.04948). Images are NHWC.

A fused convolution runs at stride two with the kernel convolved with [1, 1] along both axes. It gives what the two
operations give one after the other, borders included, for less than half of the products.
"""

import jax
import jax.numpy as jnp

from jaxgan.ops.conv import conv


def nearest_upsample(x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, 2H, 2W, C]: every pixel becomes four."""
    n, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, width, 2, channels))
    return x.reshape(n, 2 * height, 2 * width, channels)


def box_downsample(x: jax.Array) -> jax.Array:
    """[N, 2H, 2W, C] -> [N, H, W, C]: means of 2x2 pixels."""
    n, height, width, channels = x.shape
    return jnp.mean(x.reshape(n, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def nearest_upsample_conv(x: jax.Array, w: jax.Array) -> jax.Array:
    """`nearest_upsample`, then a 3x3 convolution that keeps the size: [N, H, W, I] x [3, 3, I, O] -> [N, 2H, 2W, O]."""
    return conv(x, _widened(w), lhs_dilation=2, padding=2)


def box_downsample_conv(x: jax.Array, w: jax.Array) -> jax.Array:
    """A 3x3 convolution that keeps the size, then `box_downsample`: [N, 2H, 2W, I] x [3, 3, I, O] -> [N, H, W, O]."""
    return conv(x, 0.25 * _widened(w), stride=2, padding=1)


def _widened(w: jax.Array) -> jax.Array:
    """[3, 3, I, O] -> [4, 4, I, O], convolved with [1, 1] along both axes."""
    w = jnp.pad(w, ((1, 1), (1, 1), (0, 0), (0, 0)))
    w = w[1:] + w[:-1]
    return w[:, 1:] + w[:, :-1]


def blur(x: jax.Array) -> jax.Array:
    """[N, H, W, C] filtered with [1, 2, 1] / 4 along both axes; zeros beyond the border, the size is kept."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = 0.25 * x[:, :-2] + 0.5 * x[:, 1:-1] + 0.25 * x[:, 2:]
    return 0.25 * x[:, :, :-2] + 0.5 * x[:, :, 1:-1] + 0.25 * x[:, :, 2:]
