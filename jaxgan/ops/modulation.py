"""Modulated convolution: activations are scaled around one shared convolution; no per-sample kernels are built."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def demodulation(w: jax.Array, styles: jax.Array) -> jax.Array:
    """1 / norm of the modulated kernel per sample and output channel: [3, 3, I, O] and [N, I] -> [N, O], float32."""
    squares = jnp.sum(jnp.square(w.astype(jnp.float32)), axis=(0, 1))
    return jax.lax.rsqrt(jnp.square(styles.astype(jnp.float32)) @ squares + 1e-8)


def modulated_conv(
    x: jax.Array, w: jax.Array, styles: jax.Array, convolution: Convolution, *, demodulate: bool = True
) -> jax.Array:
    """StyleGAN2's modulated convolution in its training form.

    Args:
        x: images [N, H, W, I] in the compute dtype.
        w: kernel [k, k, I, O], raw (no equalising gain: demodulation cancels it), float32.
        styles: [N, I], float32.
        convolution: `(x, w) -> y`, linear in both; resampling belongs here.
        demodulate: divide by the norm of the modulated kernel, as every layer but ToRGB does.
    """
    if demodulate and x.dtype != jnp.float32:
        # Both rescalings are cancelled by demodulation; they keep half-precision products in range.
        w = w / (jnp.max(jnp.abs(w), axis=(0, 1, 2)) * (w.shape[0] * w.shape[1] * w.shape[2]) ** 0.5)
        styles = styles / jnp.max(jnp.abs(styles), axis=-1, keepdims=True)
    y = convolution(x * styles[:, None, None, :].astype(x.dtype), w.astype(x.dtype))
    if demodulate:
        y = y * demodulation(w, styles)[:, None, None, :].astype(y.dtype)
    return y
