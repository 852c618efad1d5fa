"""Affine warps of pictures without aliasing, as in StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676, appendix B).

A picture is doubled with a wavelet filter, sampled bilinearly and halved with the same filter; an identity leaves it as
it is. Outside its borders a picture goes on as its reflection, without end. The reflected picture is periodic, so it is
not padded by what a transform may need: one period is doubled, and coordinates are taken modulo the period. (The
official code pads by what the batch needs, but by size - 1 at most, and has zeros outside.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan import compiler

# The low-pass filter of the wavelet sym6, divided by its sum sqrt(2).
SYM6 = (
    np.array(
        [
            0.0154041093, 0.0034907121, -0.1179901111, -0.0483117426, 0.4910559419, 0.7876411410,
            0.3379294217, -0.0726375228, -0.0210602925, 0.0447249018, 0.0017677119, -0.0078007083,
        ]
    )
    / 2**0.5
)  # fmt: skip
_PEAK = 5  # the largest tap; it stands over pixel t / 2 when pixel t of the doubled picture is made
_BLOCK = 32  # pixels of a picture that one product with a matrix covers


def warp(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """Images [N, H, W, C] under affine maps, one an image; float32. Linear in the images; no derivative by the maps.

    `inverse` [N, 3, 3] takes points (x, y, 1) of the output to the input, in pixels about the image's centre, x to the
    right and y down; its last row is not read. Points may lie sixteen sizes away.
    """
    _, height, width, _ = images.shape
    # The pixels of the doubled output that halving reads, in half pixels about the centre.
    x, y = (jnp.arange(2 * size + len(SYM6) - 2) - _PEAK - (size - 1) for size in (width, height))
    # Fixed point, because the compiler may compute a point twice, for its pixel and for its weights, with a fused
    # multiply-add in one of them only. In floating point the two then differ by a pixel where a point lies on one.
    bits = 26 - (max(height, width) - 1).bit_length()

    def source(axis, size):
        """(pixel of the doubled input, fraction)."""
        a, b, c = (inverse[:, axis, i, None, None] for i in range(3))
        a, b, c = (jnp.round(v * 2**bits).astype(jnp.int32) for v in (a, b, 2 * c + (size - 1)))
        at = a * x[:, None] + b * y + c
        return at >> bits, (at & (2**bits - 1)).astype(jnp.float32) / 2**bits

    # The filters work on the last axis. Between their two passes the axes change places: lookup is in planes [W, H].
    planes = _double(_double(images.transpose(0, 3, 1, 2)).swapaxes(2, 3))
    (i, u), (j, v) = source(0, width), source(1, height)
    planes = _look_up(planes, i % (4 * (width - 1)), j % (4 * (height - 1)), u, v)
    return _halve(_halve(planes).swapaxes(2, 3)).transpose(0, 2, 3, 1)


def reflected(index: np.ndarray, size: int) -> np.ndarray:
    """The pixel 0 .. size - 1 that stands at an index of the reflected picture, whose border pixels stand once."""
    return size - 1 - np.abs(index % (2 * (size - 1)) - (size - 1))


def _taps(index: np.ndarray) -> np.ndarray:
    """The filter's taps, zero outside of it."""
    inside = (index >= 0) & (index < len(SYM6))
    return np.where(inside, SYM6[index * inside], 0.0).astype(np.float32)


def _double(x: jax.Array) -> jax.Array:
    """Pixels [..., L] -> pixels 0 .. 4 (L - 1) of the reflected row doubled, and more up to a whole block."""
    halo = len(SYM6) // 2
    before = halo // 2
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, x.shape[-1] - 1 + before)], mode="reflect")
    source, pixel = np.arange(_BLOCK + halo) - before, np.arange(2 * _BLOCK)
    return _by_blocks(x, _BLOCK, 2 * _taps(pixel - 2 * source[:, None] + _PEAK))


def _halve(x: jax.Array) -> jax.Array:
    """Pixels -_PEAK .. 2 L + 4 of a doubled row -> [..., L]."""
    halo = len(SYM6) - 2
    source, pixel = np.arange(2 * _BLOCK + halo), np.arange(_BLOCK)
    return _by_blocks(x, 2 * _BLOCK, _taps(source[:, None] - 2 * pixel))[..., : (x.shape[-1] - halo) // 2]


def _by_blocks(x: jax.Array, step: int, matrix: np.ndarray) -> jax.Array:
    """Each block of `step` pixels, with the first ones of the next block, times a matrix, in full float32 precision.

    x [..., L], matrix [step + halo, m] -> [..., ceil((L - halo) / step) * m]. A filter as a matrix product of constant
    size: on CPU several times faster than shifted adds, forth and back, and linear in the size of the picture.
    """
    halo = len(matrix) - step
    count = -(-(x.shape[-1] - halo) // step)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, (count + 1) * step - x.shape[-1])])
    main, following = (part.reshape(*x.shape[:-1], count, step) for part in (x[..., :-step], x[..., step:]))
    y = jnp.matmul(jnp.concatenate((main, following[..., :halo]), axis=-1), matrix, precision=lax.Precision.HIGHEST)
    return y.reshape(*x.shape[:-1], -1)


def _look_up(planes: jax.Array, i: jax.Array, j: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Bilinear samples [N, C, X', Y'] of planes [N, C, X, Y] at pixels i, j and fractions u, v, each [N, X', Y']."""
    form = _in_cells if compiler.backend() == "cpu" else _pixel_by_pixel
    return form(planes, i, j, u, v)


def _in_cells(planes: jax.Array, i: jax.Array, j: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Read, and in the transpose added to, in cells of 2 x 2 pixels, the form that XLA:CPU scatters fastest."""

    def cell(plane, i, j):
        return lax.dynamic_slice(plane, (i, j), (2, 2))

    cells = jax.vmap(jax.vmap(cell, (None, 0, 0)), (None, 0, 0))  # over the points
    cells = jax.vmap(jax.vmap(cells, (0, None, None)))(planes, i, j)  # of every plane
    weights = jnp.stack((1 - u, u), axis=-1)[..., :, None] * jnp.stack((1 - v, v), axis=-1)[..., None, :]
    return jnp.sum(cells * weights[:, None], axis=(-2, -1))


def _pixel_by_pixel(planes: jax.Array, i: jax.Array, j: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Four look-ups whose last axis are the points: a TPU would pad each cell of 2 x 2 to 256 numbers."""
    n, channels, _, rows = planes.shape
    flat = planes.reshape(n, channels, -1)

    def at(right: int, down: int) -> jax.Array:
        index = ((i + right) * rows + j + down).reshape(n, -1)
        read = jax.vmap(lambda plane, index: plane.at[:, index].get(mode="promise_in_bounds"))
        return read(flat, index).reshape(n, channels, *i.shape[1:])

    u, v = u[:, None], v[:, None]
    return (1 - u) * ((1 - v) * at(0, 0) + v * at(0, 1)) + u * ((1 - v) * at(1, 0) + v * at(1, 1))
