"""Differentiable augmentation with fixed strength (DiffAugment; Zhao et al. 2020, arXiv 2006.10738).

Real and generated images are augmented alike wherever the discriminator sees them, the generator's step included.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

POLICIES = ("color", "translation", "cutout")

_TRANSLATION = 0.125  # of the size, at most, to each side
_CUTOUT = 0.5  # side of the rectangle, of the size


class Draws(NamedTuple):
    """Random parameters of a batch, one an image; pairs are (rows, columns)."""

    brightness: jax.Array  # [N], added
    saturation: jax.Array  # [N], factor about the mean of a pixel's channels
    contrast: jax.Array  # [N], factor about the image's mean
    translation: jax.Array  # [N, 2] int32: output pixel i shows input pixel i + translation
    cutout: jax.Array  # [N, 2] int32: first row and column that are cut out, may lie outside


def diff_augment(images: jax.Array, key: jax.Array, policy: Sequence[str] = POLICIES) -> jax.Array:
    """Images [N, H, W, C] in [-1, 1], augmented by the parts of POLICIES that `policy` names, in its order.

    Affine in the images, so derivatives of every order pass through it. All channels are treated alike, an alpha
    channel too, as in the paper's code; the range is not clipped.

    Raises:
        ValueError: a part that is none.
    """
    draws = draw(key, *images.shape[:3])
    for part in policy:
        if part not in POLICIES:
            raise ValueError(f"augmentation policy {part!r} is not one of {', '.join(POLICIES)}")
        images = _PARTS[part](images, draws)
    return images


def draw(key: jax.Array, batch: int, height: int, width: int) -> Draws:
    """Parameters of a batch of images of a size."""
    u = jax.random.uniform(key, (7, batch))

    def whole(u, low, count):
        return low + jnp.floor(u * count).astype(jnp.int32)

    def move(u, size):
        most = _rounded(_TRANSLATION * size)
        return whole(u, -most, 2 * most + 1)

    def cut(u, size):
        side = _rounded(_CUTOUT * size)
        return whole(u, -(side // 2), size + 1 - side % 2)  # an even side has its centre between two pixels

    translation = jnp.stack((move(u[3], height), move(u[4], width)), axis=-1)
    cutout = jnp.stack((cut(u[5], height), cut(u[6], width)), axis=-1)
    return Draws(u[0] - 0.5, 2 * u[1], u[2] + 0.5, translation, cutout)


def _rounded(x: float) -> int:
    """To the nearest whole number, halves up."""
    return int(x + 0.5)


def _color(images: jax.Array, draws: Draws) -> jax.Array:
    def each(values):
        return values[:, None, None, None]

    images = images + each(draws.brightness)
    mean = jnp.mean(images, axis=-1, keepdims=True)
    images = (images - mean) * each(draws.saturation) + mean
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * each(draws.contrast) + mean


def _translation(images: jax.Array, draws: Draws) -> jax.Array:
    """What comes in from outside is zero."""
    _, height, width, channels = images.shape
    rows, columns = _rounded(_TRANSLATION * height), _rounded(_TRANSLATION * width)
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))

    def window(image, start):
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), (height, width, channels))

    return jax.vmap(window)(padded, draws.translation + jnp.array((rows, columns)))


def _cutout(images: jax.Array, draws: Draws) -> jax.Array:
    """What is cut out is zero."""

    def inside(first, size):
        index = jnp.arange(size) - first[:, None]
        return (index >= 0) & (index < _rounded(_CUTOUT * size))

    _, height, width, _ = images.shape
    cut = inside(draws.cutout[:, 0], height)[:, :, None] & inside(draws.cutout[:, 1], width)[:, None, :]
    return jnp.where(cut[..., None], 0.0, images)


_PARTS = {"color": _color, "translation": _translation, "cutout": _cutout}
