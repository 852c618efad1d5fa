"""What all metrics of one evaluation share: the subject, the reals, batches of one size, how a card is filled in."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import parallel
from jaxgan.data.sources import ImageSet
from jaxgan.errors import UserError
from jaxgan.features.extract import batched, padded
from jaxgan.features.networks import CONVERSIONS, Network, load
from jaxgan.metrics.card import Card
from jaxgan.metrics.fakes import Subject, draw_labels, make_fakes
from jaxgan.version import __version__

Progress = Callable[[str, int, int], None]  # called with (what, images done, images in all)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured and how.

    Attributes:
        metrics: names out of `jaxgan.metrics.evaluate.METRICS`; "ppl" is "ppl_wend".
        num_samples: fakes; pairs of fakes for path lengths.
        network: of the metrics on features.
        perceptual: network of LPIPS and path lengths.
        weights: files of networks whose weights no package carries, by network.
        filter: resize filter of `network`; None is its own.
        batch_size: images a call, rounded up to a multiple of devices and minibatch-stddev group.
        seed: of everything random.
        repeats: how often fakes are drawn anew; with several, values are means and spreads are over them.
    """

    metrics: tuple[str, ...] = ("fd", "kid", "pr")
    num_samples: int = 5000
    network: str = "lite0"
    perceptual: str = "stlpips-alex"
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    filter: str | None = None
    batch_size: int = 64
    seed: int = 0
    repeats: int = 1


class FakeBatch(NamedTuple):
    """Fakes on the devices; the first `count` of them count, and `first` is the index of the first one."""

    first: int
    images: jax.Array
    labels: np.ndarray | None
    count: int


class Context:
    """One evaluation with one seed.

    Attributes:
        subject, images, settings, progress: as given.
        batch_size: images of every call.
        mesh: all devices.
        put: places rows, split over all devices.
    """

    def __init__(self, subject: Subject, images: ImageSet, settings: Settings, progress: Progress):
        self.subject, self.images, self.settings, self.progress = subject, images, settings, progress
        self.mesh = parallel.make_mesh()
        unit = int(np.lcm(self.mesh.size, 2 * subject.mbstd_group))
        self.batch_size = -(-settings.batch_size // unit) * unit
        self.put = _splitting_put(self.mesh)

    def fakes(self, variables: Any, count: int, what: str) -> Iterator["FakeBatch"]:
        """`count` fakes in batches of one size.

        A batch is asked for before the one ahead of it is handed out, so the device is never idle.
        """
        generator, size = self.subject.gan.generator, self.batch_size
        psi = jnp.float32(self.subject.truncation_psi)
        w_avg = None if self.subject.truncation_psi == 1.0 else self.subject.w_avg
        key = jax.random.key(self.settings.seed)
        waiting: list[tuple[FakeBatch, jax.Array]] = []
        for first in range(0, count, size):
            labels = self.fake_labels(first)
            placed = None if labels is None else self.put(labels)
            folded = jax.random.fold_in(key, first)
            images, finite = make_fakes(generator, self.mesh, size, variables, w_avg, psi, folded, placed)
            waiting.append((FakeBatch(first, images, labels, min(size, count - first)), finite))
            if len(waiting) > 1:
                yield self._checked(*waiting.pop(0), count, what)
        for last in waiting:
            yield self._checked(*last, count, what)

    def _checked(self, batch: "FakeBatch", finite: jax.Array, count: int, what: str) -> "FakeBatch":
        if not finite:
            raise UserError("the generator makes images that are not finite; a metric of them would mean nothing")
        self.progress(what, batch.first + batch.count, count)
        return batch

    def fake_labels(self, first: int) -> np.ndarray | None:
        """Labels of one batch of fakes, like those of the training set."""
        classes = self.subject.gan.generator.num_classes
        return draw_labels(self.images.labels, classes, self.batch_size, self.settings.seed, first)

    def placed(self, rows: np.ndarray) -> jax.Array:
        """Rows on the devices, filled up with the last one to the size of every call."""
        return self.put(padded(rows, self.batch_size))

    def reals(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 batches of real images."""
        return (self.images.gather(chosen) for chosen in batched(indices, self.batch_size))

    def real_pairs(self, function: Callable[[jax.Array], jax.Array], pairs: int) -> np.ndarray:
        """`function`, which takes images two and two, of at most so many pairs of random reals."""
        order = np.random.default_rng(1).permutation(len(self.images))[: 2 * min(pairs, len(self.images) // 2)]
        parts = [parallel.to_host(function(self.placed(b)))[: len(b) // 2] for b in self.reals(order)]
        return np.concatenate(parts)

    def card(self, metric: str, value: float, better: str, network: Network | None = None, **more: Any) -> Card:
        """A card with all that the context knows."""
        known: dict[str, Any] = {}
        if network is not None:
            known = {
                "network": network.name,
                "weights": network.weights,
                "weights_sha256": network.sha256,
                "resize": network.fed(*self.images.resolution),
                "conversion": CONVERSIONS[self.images.channels],
            }
        known |= {
            "fakes": self.settings.num_samples,
            "data": f"{self.images.name} ({self.images.split}, {self.images.fingerprint[:12]})",
            "model": self.subject.name,
            "generator": self.generator("EMA"),
            "seed": self.settings.seed,
            "version": __version__,
        }
        return Card(metric=metric, value=value, better=better, **(known | more))

    def generator(self, which: str, *, truncated: bool = True, noise: str = "random noise", dtype: Any = None) -> str:
        """How fakes are made, in words for a card."""
        psi, network = self.subject.truncation_psi, self.subject.gan.generator
        labels = ["labels as in the data"] if network.num_classes and self.images.labels is not None else []
        labels = labels or (["classes in turn"] if network.num_classes else [])
        truncation = f"truncation_psi {psi:g}" if truncated and psi != 1.0 else "no truncation"
        dtype = jnp.dtype(network.dtype if dtype is None else dtype).name
        device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
        return ", ".join(
            [f"{which} weights", truncation, noise, *labels, dtype, device, f"batches of {self.batch_size}"]
        )


def read_network(settings: Settings, name: str) -> Network:
    """A measuring network as the settings have it, read once a process."""
    return _read(name, settings.weights.get(name), settings.filter if name == settings.network else None)


@functools.lru_cache(maxsize=4)
def _read(name: str, weights: str | None, filter: str | None) -> Network:
    return load(name, weights, filter)


@functools.cache
def _splitting_put(mesh: jax.sharding.Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Splits rows, which every process holds, over all devices."""
    split = parallel.by_batch(mesh)
    return lambda rows: jax.make_array_from_callback(np.shape(rows), split, lambda index: np.asarray(rows)[index])
