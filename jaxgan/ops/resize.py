"""Resizing images by a linear map along each axis; which filter is part of every measurement.

A filter is a matrix [out, in] made in NumPy from static sizes, so a resize is two small matrix products, differentiable
and fast on every backend.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    x = abs(x)  # Keys' kernel with a = -0.5, as Pillow's
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def _lanczos(x: float) -> float:
    return float(np.sinc(x) * np.sinc(x / 3)) if abs(x) < 3 else 0.0


# Antialiased filters as Pillow computes them: (kernel, support).
_ANTIALIASED: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}

ANTIALIASED = tuple(_ANTIALIASED)
FILTERS = (*ANTIALIASED, "nearest", "tf1_bilinear", "torch_bilinear", "corners")


@functools.cache
def matrix(size_in: int, size_out: int, filter: str) -> np.ndarray:
    """The map [size_out, size_in] of one axis, float64.

    `box`, `bilinear`, `bicubic` and `lanczos` are Pillow's, antialiased when they shrink. `nearest` takes the pixel
    that the middle of the new one falls into. `tf1_bilinear` is TensorFlow 1's resize inside the 2015 Inception graph:
    no half-pixel offset, no antialiasing. `torch_bilinear` is torch's interpolate with align_corners=False: half-pixel
    offset, no antialiasing. `corners` is the same with align_corners=True: the centres of the first and last pixels
    stay where they are.

    Raises:
        ValueError: an unknown filter.
    """
    scale = size_in / size_out
    result = np.zeros((size_out, size_in))
    if filter in _ANTIALIASED:
        kernel, support = _ANTIALIASED[filter]
        stretch = max(scale, 1.0)
        for i in range(size_out):
            center = (i + 0.5) * scale
            first = max(int(center - support * stretch + 0.5), 0)
            last = min(int(center + support * stretch + 0.5), size_in)
            weights = np.array([kernel((j - center + 0.5) / stretch) for j in range(first, last)])
            result[i, first:last] = weights / weights.sum()
    elif filter == "nearest":
        result[np.arange(size_out), ((np.arange(size_out) + 0.5) * scale).astype(int)] = 1.0
    elif filter in ("tf1_bilinear", "torch_bilinear", "corners"):
        shift = 0.5 if filter == "torch_bilinear" else 0.0
        if filter == "corners":
            scale = (size_in - 1) / max(size_out - 1, 1)
        for i in range(size_out):
            at = max((i + shift) * scale - shift, 0.0)
            low = min(math.floor(at), size_in - 1)
            result[i, low] += 1.0 - (at - low)
            result[i, min(low + 1, size_in - 1)] += at - low
    else:
        raise ValueError(f"filter={filter!r} is not one of {', '.join(FILTERS)}")
    return result


def resize(
    x: jax.Array, size: tuple[int, int], filter: str, window: tuple[int, int, int, int] | None = None
) -> jax.Array:
    """[..., H, W, C] -> [..., *size, C], without clipping or rounding, in full float32 precision.

    With `window` (top, left, height, width) only that part of the result is made: [..., height, width, C].
    """
    top, left, height, width = window or (0, 0, *size)
    if (x.shape[-3], height) != (size[0], size[0]):
        x = along(x, -3, matrix(x.shape[-3], size[0], filter)[top : top + height])
    if (x.shape[-2], width) != (size[1], size[1]):
        x = along(x, -2, matrix(x.shape[-2], size[1], filter)[left : left + width])
    return x


def along(x: jax.Array, axis: int, weights: np.ndarray) -> jax.Array:
    """A matrix [out, in] times the axis -3 or -2 of x [..., H, W, C], in full float32 precision."""
    names = {-3: "oh,...hwc->...owc", -2: "pw,...hwc->...hpc"}[axis]
    return jnp.einsum(names, jnp.asarray(weights, x.dtype), x, precision=jax.lax.Precision.HIGHEST)
