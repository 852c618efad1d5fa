"""Sliced Wasserstein distance between the patches of two sets of images, level by level of their Laplacian pyramids.

As in the code of Progressive GAN (Karras et al. 2018, arXiv 1710.10196): 7x7 patches, each set normalised by its own
statistics, 4 x 128 random directions, the mean distance between sorted projections, times 1000.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.features.extract import batched, check_images
from jaxgan.features.networks import to_rgb
from jaxgan.parallel import to_host

PATCH = 7
PATCHES_PER_IMAGE = 128
LOWEST = 16  # side of the last level
_TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
_DIRECTIONS, _REPEATS = 128, 4


def levels(resolution: int) -> list[int]:
    """Sides of the pyramid's levels, largest first.

    Raises:
        UserError: the side is below 16 or no power of two.
    """
    if resolution < LOWEST or resolution & (resolution - 1):
        raise UserError(f"images of {resolution} px; sliced Wasserstein needs a power of two from {LOWEST} px")
    return [resolution >> i for i in range((resolution // LOWEST).bit_length())]


def laplacian_pyramid(images: jax.Array) -> list[jax.Array]:
    """[N, S, S, C] to its levels, largest first; the last one is the low-pass image, the others are differences."""
    current, pyramid = jnp.asarray(images, jnp.float32), []
    for _ in levels(current.shape[1])[1:]:
        smaller = _blurred(current)[:, ::2, ::2]
        pyramid.append(current - _enlarged(smaller))
        current = smaller
    return [*pyramid, current]


def _blurred(x: jax.Array, gain: float = 1.0) -> jax.Array:
    """Both axes filtered with `_TAPS` * gain (per axis), the border mirrored without repeating the edge."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (2, 2)
        padded, size = jnp.pad(x, pads, mode="reflect"), x.shape[axis]
        x = sum(float(t * gain) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i, t in enumerate(_TAPS))
    return x


def _enlarged(x: jax.Array) -> jax.Array:
    zero = jnp.zeros((), x.dtype)
    spread = jax.lax.pad(x, zero, ((0, 0, 0), (0, 1, 1), (0, 1, 1), (0, 0, 0)))
    return _blurred(spread, 2.0)


@jax.jit
def descriptors(images: jax.Array, key: jax.Array) -> list[jax.Array]:
    """Random patches of images [N, S, S, 3]: for each level [N * 128, 7, 7, 3], anywhere they fit."""
    found = []
    for level, layer in enumerate(laplacian_pyramid(images)):
        count, side = layer.shape[:2]
        shape = (count, PATCHES_PER_IMAGE, 2)
        corners = jax.random.randint(jax.random.fold_in(key, level), shape, 0, side - PATCH + 1)

        def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (PATCH, PATCH, 3))

        patches = jax.vmap(jax.vmap(cut, (None, 0)))(layer, corners)
        found.append(patches.reshape(-1, PATCH, PATCH, 3))
    return found


class Patches:
    """The descriptors of a set of images, gathered batch by batch.

    They take 75 kB an image and level: 1.2 GB a level at 16,384 images, and twice that while a level is normalised.

    `add` takes uint8 or float images [N, S, S, 3] in [0, 255]; the patches of a batch depend on the seed and on the
    number of images added before, so the same images in the same batches give the same patches.
    """

    def __init__(self, seed: int = 0):
        self._key = jax.random.key(seed)
        self._parts: list[list[np.ndarray]] = []
        self.count = 0

    def add(self, images: jax.Array, count: int | None = None) -> None:
        """Adds the first `count` images of a batch; by default all."""
        count = len(images) if count is None else count
        found = descriptors(jnp.asarray(images, jnp.float32), jax.random.fold_in(self._key, self.count))
        self._parts.append([to_host(x)[: count * PATCHES_PER_IMAGE] for x in found])
        self.count += count

    def normalised(self, level: int) -> np.ndarray:
        """[patches, 147], per channel with mean 0 and standard deviation 1 over the whole set."""
        parts = [part[level] for part in self._parts]
        joined = np.concatenate(parts)
        # Part by part: the squares of the whole set would take as much memory again.
        count = joined[..., 0].size
        mean = sum(part.sum((0, 1, 2), dtype=np.float64) for part in parts) / count
        variance = sum(np.square(part).sum((0, 1, 2), dtype=np.float64) for part in parts) / count - mean**2
        joined -= mean.astype(np.float32)
        joined /= np.sqrt(np.maximum(variance, 1e-12)).astype(np.float32)
        return joined.reshape(len(joined), -1)

    @property
    def levels(self) -> int:
        """How many levels were cut."""
        return len(self._parts[0])


def sliced_wasserstein(a: Patches, b: Patches, seed: int = 0) -> np.ndarray:
    """Distances times 1000, [levels, 4]: largest level first, four repeats with other directions.

    Raises:
        UserError: the sets differ in size, or are empty.
    """
    if a.count != b.count or not a.count:
        raise UserError(f"{a.count} and {b.count} images; sliced Wasserstein needs as many of both kinds, at least one")
    key = jax.random.key(seed)
    levels = range(a.levels)
    found = [_distances(a.normalised(i), b.normalised(i), jax.random.fold_in(key, i)) for i in levels]
    return 1000 * np.asarray(found)


def _distances(a: np.ndarray, b: np.ndarray, key: jax.Array) -> list[float]:
    sort = _sorted_on_device if jax.default_backend() != "cpu" else _sorted_on_host
    results = []
    for repeat in range(_REPEATS):
        directions = jax.random.normal(jax.random.fold_in(key, repeat), (a.shape[1], _DIRECTIONS))
        directions /= jnp.linalg.norm(directions, axis=0)
        total = 0.0
        for start in range(0, _DIRECTIONS, 32):  # all at once would be gigabytes
            block = directions[:, start : start + 32]
            total += float(np.abs(np.asarray(sort(a, block)) - np.asarray(sort(b, block))).mean(dtype=np.float64))
        results.append(total / (_DIRECTIONS // 32))
    return results


@jax.jit
def _projected(patches: jax.Array, directions: jax.Array) -> jax.Array:
    return jnp.dot(directions.T, patches.T, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _sorted_on_device(patches: jax.Array, directions: jax.Array) -> jax.Array:
    return jnp.sort(_projected(patches, directions), -1)


def _sorted_on_host(patches: np.ndarray, directions: jax.Array) -> np.ndarray:
    """NumPy sorts floats many times faster than XLA does on CPU."""
    return np.sort(np.asarray(_projected(patches, directions)), -1)


def images_distance(
    a: np.ndarray | Iterable[np.ndarray], b: np.ndarray | Iterable[np.ndarray], seed: int = 0, batch_size: int = 64
) -> list[float]:
    """The distance of each level between two sets of square images, largest level first.

    Args:
        a, b: [N, S, S, C] in [0, 255], uint8 or float, grey and alpha made RGB; or streams of such batches. As many
            images of both kinds.
        seed: of patches and directions.
        batch_size: images of an array that are cut at a time.

    Raises:
        UserError: images that are not square, no power of two from 16 px, not finite or out of range, or sets that are
            empty or of two sizes.
    """
    sets = []
    for i, images in enumerate((a, b)):
        patches = Patches(seed + i)
        for batch in batched(images, batch_size) if isinstance(images, np.ndarray | jax.Array) else images:
            batch = check_images(batch)
            if batch.shape[1] != batch.shape[2]:
                raise UserError(f"images of {batch.shape[1]}x{batch.shape[2]}; sliced Wasserstein needs squares")
            patches.add(to_rgb(batch))
        sets.append(patches)
    return [float(x) for x in sliced_wasserstein(*sets, seed=seed).mean(1)]
