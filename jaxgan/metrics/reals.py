"""What is measured of a set of real images, computed once and kept on disk by a hash of all that it depends on."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgan import parallel
from jaxgan.data.cache import cached_array, default_cache_dir
from jaxgan.data.sources import ImageSet
from jaxgan.features.extract import batched, mapped
from jaxgan.features.networks import Network, apply, measure
from jaxgan.metrics.frechet import Moments, distance, moments
from jaxgan.metrics.precision_recall import Manifold, neighbour_distances

NEIGHBOURS = (1, 3, 5)
_FORMAT = "2"  # raise it when the same key would mean other numbers


@dataclasses.dataclass(frozen=True, eq=False)
class Reals:
    """A set of real images seen by a network; features are streamed and kept as a memory map.

    Attributes:
        images: the set.
        network: what sees it.
        batch_size: images a call.
        put: places a batch on the devices.
        progress: called with ("reals", images done, images in all) while features are made.
    """

    images: ImageSet
    network: Network
    batch_size: int
    put: Callable[[np.ndarray], Any] = jax.device_put
    progress: Callable[[str, int, int], None] = lambda what, done, total: None

    @functools.cached_property
    def features(self) -> np.ndarray:
        """Pooled features of all images, [N, D] float32."""
        static, name = self.network.static(), self.network.pooled
        image = jax.ShapeDtypeStruct((1, *self.images.images.shape[1:]), np.uint8)
        shape = jax.eval_shape(lambda p, x: apply(static, p, x)[name], self.network.params, image).shape
        return self._kept("features", (len(self.images), shape[1]), np.float32, self._extract)

    @functools.cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features."""
        width = self.features.shape[1]

        def compute() -> Iterator[np.ndarray]:
            found = moments(self.features)
            yield np.concatenate([found.mean[None], found.covariance])

        kept = self._kept("moments", (width + 1, width), np.float64, compute)
        return Moments(kept[0], kept[1:], len(self.images))

    def split(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of `size` random images and of all the others, for a floor: fakes too are held against all reals."""
        order = np.random.default_rng(0).permutation(len(self.images))
        return self.features[np.sort(order[:size])], self.features[np.sort(order[size:])]

    def frechet_floor(self, size: int) -> float:
        """Fréchet distance between the two parts of `split`."""

        def compute() -> Iterator[np.ndarray]:
            a, b = self.split(size)
            yield np.array([distance(moments(a), moments(b))])

        return float(self._kept(f"floor-{size}", (1,), np.float64, compute)[0])

    def manifold(self, k: int) -> Manifold:
        """The features and their distances to the k-th nearest other one, k out of `NEIGHBOURS`."""

        def compute() -> Iterator[np.ndarray]:
            yield neighbour_distances(self.features, NEIGHBOURS)

        kept = self._kept("neighbours", (len(self.images), len(NEIGHBOURS)), np.float32, compute)
        return Manifold(self.features, kept[:, NEIGHBOURS.index(k)])

    def nearest_others(self, count: int) -> np.ndarray:
        """Distances of `count` random reals to the real nearest to each, itself not counted."""
        radii = self.manifold(1).radii
        return radii[np.random.default_rng(0).permutation(len(radii))[:count]]

    def _extract(self) -> Iterator[np.ndarray]:
        static, params, name = self.network.static(), jax.device_put(self.network.params), self.network.pooled
        total, done = len(self.images), 0

        batches = (self.images.gather(chosen) for chosen in batched(np.arange(total), self.batch_size))
        for part in mapped(lambda x: measure(static, params, x, (name,))[name], batches, self.batch_size, self.put):
            done += len(part)
            self.progress("reals", done, total)
            yield part

    def _kept(
        self, what: str, shape: tuple[int, ...], dtype: type, compute: Callable[[], Iterator[np.ndarray]]
    ) -> np.ndarray:
        """What is on the disk under this name, made if need be.

        Several processes make it together, so they use it only where all have it, and make it in one go, which no
        process's disk can interrupt.
        """
        several = jax.process_count() > 1
        once = functools.cache(lambda: list(compute()))
        return cached_array(self._path(what), shape, dtype, once if several else compute, parallel.all_processes)

    def _path(self, what: str) -> Any:
        network = self.network
        key = (_FORMAT, self.images.fingerprint, network.name, network.sha256, network.filter, self.images.split)
        name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
        return default_cache_dir() / "metrics" / f"{name}-{what}.npy"
