"""What is measured of a set of real images, computed once and kept on disk by a hash of all that it depends on."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgan.data.cache import cached_array, default_cache_dir
from jaxgan.data.sources import ImageSet
from jaxgan.features.extract import batched, mapped
from jaxgan.features.networks import Network, apply, measure
from jaxgan.metrics.frechet import Moments, distance, moments
from jaxgan.metrics.precision_recall import manifold

_FORMAT = "1"  # raise it when the same key would mean other numbers


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
        static, name = self.network.static(), pooled(self.network)
        image = jax.ShapeDtypeStruct((1, *self.images.images.shape[1:]), np.uint8)
        shape = jax.eval_shape(lambda p, x: apply(static, p, x)[name], self.network.params, image).shape
        return cached_array(self._path("features"), (len(self.images), shape[1]), np.float32, self._extract)

    @functools.cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features."""
        width = self.features.shape[1]

        def compute() -> Iterator[np.ndarray]:
            found = moments(self.features)
            yield np.concatenate([found.mean[None], found.covariance])

        kept = cached_array(self._path("moments"), (width + 1, width), np.float64, compute)
        return Moments(kept[0], kept[1:], len(self.images))

    def halves(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of two disjoint random subsets of at most `size` images each, for a floor."""
        order = np.random.default_rng(0).permutation(len(self.images))
        size = min(size, len(order) // 2)
        return self.features[np.sort(order[:size])], self.features[np.sort(order[size : 2 * size])]

    def frechet_floor(self, size: int) -> float:
        """Fréchet distance between the `halves`."""

        def compute() -> Iterator[np.ndarray]:
            a, b = self.halves(size)
            yield np.array([distance(moments(a), moments(b))])

        return float(cached_array(self._path(f"floor-{size}"), (1,), np.float64, compute)[0])

    def nearest_others(self, count: int) -> np.ndarray:
        """Distances of `count` random reals to the real nearest to each, itself not counted."""

        def compute() -> Iterator[np.ndarray]:
            yield manifold(self.features, 1).radii

        kept = cached_array(self._path("nearest"), (len(self.images),), np.float32, compute)
        return kept[np.random.default_rng(0).permutation(len(kept))[:count]]

    def _extract(self) -> Iterator[np.ndarray]:
        static, params, name = self.network.static(), jax.device_put(self.network.params), pooled(self.network)
        total, done = len(self.images), 0

        batches = (self.images.gather(chosen) for chosen in batched(np.arange(total), self.batch_size))
        for part in mapped(lambda x: measure(static, params, x)[name], batches, self.batch_size, self.put):
            done += len(part)
            self.progress("reals", done, total)
            yield part

    def _path(self, what: str) -> Any:
        network = self.network
        key = (_FORMAT, self.images.fingerprint, network.name, network.sha256, network.filter, self.images.split)
        name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
        return default_cache_dir() / "metrics" / f"{name}-{what}.npy"


def pooled(network: Network) -> str:
    """The output of a classifier that distances are taken on."""
    return "fc7" if network.name in ("vgg16", "vgg19", "alexnet") else "pool"
