"""Multi-scale structural similarity of pairs of images, as Progressive GAN computes it; lower is more diverse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.features.extract import check_image_pairs
from jaxgan.features.networks import to_rgb

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_OFFSET = 127.5  # taken off before squaring, so that float32 keeps the small variances


@functools.cache
def _gaussian(size: int) -> np.ndarray:
    """The "valid" filter of one axis as a matrix [out, size]; window and sigma shrink together on small images."""
    window = min(_WINDOW, size)
    x = np.arange(window) - (window - 1) / 2
    taps = np.exp(-0.5 * np.square(x / (_SIGMA * window / _WINDOW)))
    rows = [np.pad(taps / taps.sum(), (i, size - window - i)) for i in range(size - window + 1)]
    return np.stack(rows).astype(np.float32)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> jax.Array:
    """[N] similarities of images [N, H, W, C] in [0, 255] (uint8 or float), 1 for equal ones, never below 0.

    Grey is compared as it is, alpha is composited on white. Per scale the maps' means over space and channels are
    clipped at 0, and the product over scales is taken pair by pair; averaging over pairs before the product, as some
    ports do, gives other numbers.

    Raises:
        UserError: the shapes differ, or the images cannot be measured.
    """
    return similarity(*check_image_pairs(a, b))


def ssim(a: np.ndarray, b: np.ndarray) -> jax.Array:
    """[N] structural similarities at one scale, the mean over the map; images as in `ms_ssim`.

    The window is 11 pixels (sigma 1.5), or as wide as a smaller image.

    Raises:
        UserError: as in `ms_ssim`.
    """
    return _single_scale(*check_image_pairs(a, b))


@jax.jit
def _single_scale(a: jax.Array, b: jax.Array) -> jax.Array:
    return _ssim(*(to_rgb(x) if x.shape[-1] == 4 else jnp.asarray(x, jnp.float32) for x in (a, b)))[0]


@jax.jit
def similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """`ms_ssim` without checks, for use inside jitted functions."""
    a, b = (to_rgb(x) if x.shape[-1] == 4 else jnp.asarray(x, jnp.float32) for x in (a, b))
    result = jnp.ones(len(a))
    for scale, weight in enumerate(_WEIGHTS):
        whole, contrast = _ssim(a, b)
        result *= (whole if scale == len(_WEIGHTS) - 1 else contrast) ** weight
        a, b = _halved(a), _halved(b)
    return result


def _ssim(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(SSIM, contrast-structure part) of each pair."""
    rows, columns = (jnp.asarray(_gaussian(n)) for n in a.shape[1:3])

    def blurred(x: jax.Array) -> jax.Array:
        return jnp.einsum("oh,nhwc,pw->nopc", rows, x, columns, precision=jax.lax.Precision.HIGHEST)

    a, b = a - _OFFSET, b - _OFFSET
    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + _OFFSET, mean_b + _OFFSET
    contrast = (2 * covariance + _C2) / (var_a + var_b + _C2)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return tuple(jnp.maximum(m.mean((1, 2, 3)), 0.0) for m in (luminance * contrast, contrast))


def _halved(x: jax.Array) -> jax.Array:
    """The mean of each 2x2 block; an odd last row or column is doubled."""
    pads = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
    x = jnp.pad(x, pads, mode="symmetric")
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
