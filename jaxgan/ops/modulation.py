"""Modulated convolution: activations are scaled around one shared convolution; no per-sample kernels are built.

Styles are alike in a whole image, as in StyleGAN2, or differ from pixel to pixel (our formulation of the spatial
latents of Sypetkowski 2023, arXiv 2303.14552, of which the abstract alone is known).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan.ops.conv import conv
from jaxgan.ops.enlarge import Enlargement

Convolution = Callable[[jax.Array, jax.Array], jax.Array]
DEMODULATIONS = ("centre", "window")


def _squares(x: jax.Array) -> jax.Array:
    """In float32 at least: those of half precision would leave its range."""
    return jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


def _is_half(x: jax.Array) -> bool:
    return x.dtype.itemsize < 4


def demodulation(w: jax.Array, styles: jax.Array) -> jax.Array:
    """1 / norm of the modulated kernel per sample and output channel: [3, 3, I, O] and [N, I] -> [N, O], float32."""
    return jax.lax.rsqrt(_squares(styles) @ jnp.sum(_squares(w), axis=(0, 1)) + 1e-8)


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
    if demodulate and _is_half(x):
        # Both rescalings are cancelled by demodulation; they keep half-precision products in range.
        w = w / (jnp.max(jnp.abs(w), axis=(0, 1, 2)) * (w.shape[0] * w.shape[1] * w.shape[2]) ** 0.5)
        styles = styles / jnp.max(jnp.abs(styles), axis=-1, keepdims=True)
    y = convolution(x * styles[:, None, None, :].astype(x.dtype), w.astype(x.dtype))
    if demodulate:
        y = y * demodulation(w, styles)[:, None, None, :].astype(y.dtype)
    return y


def demodulation_maps(w: jax.Array, styles: jax.Array, after: Enlargement, rule: str) -> jax.Array:
    """1 / norm of the modulated kernel at each pixel: [k, k, I, O] and [N, h, w, I] -> [N, H, W, O], float32.

    With the rule "centre" every tap is taken to have the style of the middle one, as InfinityGAN does: right where
    styles change slowly. "window" takes each tap's own: then unit inputs leave with unit variance however rough the
    styles are, at the price of a second convolution. Edges are repeated, so that styles alike everywhere give the same
    everywhere.
    """
    kernel = _squares(w)
    if rule == "centre":
        summed, full = jnp.sum(kernel, axis=(0, 1)), jax.lax.Precision.HIGHEST
        total = after.quadratic(styles, lambda styles: jnp.matmul(_squares(styles), summed, precision=full))
    else:
        reach, squares = w.shape[0] // 2, _squares(after.of(styles))
        total = conv(jnp.pad(squares, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge"), kernel)
    # Made of its values near by, a total near 0 may come out below it.
    return jax.lax.rsqrt(jnp.maximum(total, 0.0) + 1e-8)


def spatially_modulated_conv(
    x: jax.Array,
    w: jax.Array,
    styles: jax.Array,
    convolution: Convolution,
    *,
    before: Enlargement,
    after: Enlargement | None,
    rule: str = "centre",
) -> jax.Array:
    """`modulated_conv` with a style for each pixel; equal to it, but for rounding, where all are the same.

    Args:
        x, w, convolution: as there.
        styles: a map of any size, [N, h, w, I], float32.
        before: of the map to the pixels of x.
        after: of it to the pixels of the result, where it demodulates: after a resampling filter, with which a varying
            factor does not commute. None: no demodulation.
        rule: of `demodulation_maps`; "window" is for convolutions that keep the size.
    """
    if after is not None and _is_half(x):
        # One factor for a sample is cancelled by demodulation; one for each pixel would not be.
        w = w / (jnp.max(jnp.abs(w), axis=(0, 1, 2)) * (w.shape[0] * w.shape[1] * w.shape[2]) ** 0.5)
        styles = styles / jnp.max(jnp.abs(styles), axis=(1, 2, 3), keepdims=True)
    y = convolution(x * before.of(styles).astype(x.dtype), w.astype(x.dtype))
    return y if after is None else y * demodulation_maps(w, styles, after, rule).astype(y.dtype)
