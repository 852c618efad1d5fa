"""A set of images at a lower resolution: 2x2 box means, as networks that grow are trained on (PGGAN)."""

import dataclasses
import functools
import math
import os
from pathlib import Path

import numpy as np

from jaxgan.data.cache import cached_array, default_cache_dir
from jaxgan.data.sources import ImageSet, Progress, in_chunks


def at_height(
    images: ImageSet,
    height: int,
    *,
    memory_map_gb: float = 4.0,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """The set with images of `height` rows: means over squares of pixels, rounded to uint8.

    Like the set itself, it is made once and kept under `cache_dir` where it takes at most `memory_map_gb`; otherwise
    each image is reduced as it is read.

    Raises:
      ValueError: `height` is not the height of the images divided by a power of two.
    """
    full = images.resolution[0]
    if height == full:
        return images
    factor = full // height
    if height * factor != full or factor & (factor - 1) or images.resolution[1] % factor:
        raise ValueError(f"images of {images.resolution} have no level of height {height}")
    reduced = Reduced(images, factor)
    store: np.ndarray | Reduced = reduced
    if math.prod(reduced.shape) <= memory_map_gb * 2**30:
        folder = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        path = folder / f"images-{images.fingerprint}-{height}.npy"
        chunks = functools.partial(in_chunks, len(images), reduced.__getitem__, progress)
        store = cached_array(path, reduced.shape, np.uint8, chunks)
    return dataclasses.replace(images, images=store, fingerprint=f"{images.fingerprint}-{height}", resize_filter="box")


class Reduced:
    """Images that are reduced when they are asked for: `reduced[indices]` is uint8 [n, H, W, C]."""

    def __init__(self, images: ImageSet, factor: int):
        self._images, self._factor = images, factor
        height, width = images.resolution
        self.shape = (len(images), height // factor, width // factor, images.channels)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return box_mean(self._images.gather(indices), self._factor)


def box_mean(images: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [N, H, W, C] -> uint8 [N, H / factor, W / factor, C]: rounded means of squares of pixels."""
    n, height, width, channels = images.shape
    squares = images.reshape(n, height // factor, factor, width // factor, factor, channels)
    return np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
