"""Bias, activation, gain and clamp in one place, in the order of the official StyleGAN2 layers."""

import math

import jax
import jax.numpy as jnp

SQRT2 = math.sqrt(2.0)


def leaky_relu(x: jax.Array, slope: float = 0.2) -> jax.Array:
    """`slope` below zero, no gain."""
    return jnp.where(x >= 0, x, slope * x)


def bias_act(
    x: jax.Array, bias: jax.Array | None, activation: str, *, gain: float = 1.0, clamp: float | None = None
) -> jax.Array:
    """(x + bias) -> activation -> * gain -> clamp to +-`clamp`.

    `activation` is "lrelu", which brings its own gain sqrt(2), or "linear". `bias` [C] is added on the last axis
    ([..., C] on the last ones).
    """
    if bias is not None:
        x = x + bias.astype(x.dtype)
    if activation == "lrelu":
        x, gain = leaky_relu(x), gain * SQRT2
    elif activation != "linear":
        raise ValueError(f"bias_act: activation {activation!r} is not 'lrelu' or 'linear'")
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def normalize_2nd_moment(x: jax.Array) -> jax.Array:
    """x [..., C] divided by its root mean square over the features; epsilon 1e-8 inside the root."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-8)
