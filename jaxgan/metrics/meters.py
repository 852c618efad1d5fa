"""Metrics that are gathered in one pass over the fakes: each meter is shown every batch and then says its cards."""

from typing import Any, Protocol

import jax
import numpy as np

from jaxgan.features.networks import CONVERSIONS, measure, to_rgb
from jaxgan.metrics import frechet, kernel, precision_recall, swd
from jaxgan.metrics.card import Card
from jaxgan.metrics.context import Context, read_network
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.ms_ssim import similarity
from jaxgan.metrics.perceptual import pair_distances
from jaxgan.metrics.reals import Reals
from jaxgan.parallel import to_host

SWD_IMAGES = 16384  # of each kind at most, as in PGGAN's code
IS_IMAGES = 5000  # with fewer the score is far below that of the usual 50,000
NEAREST_FAKES = 1000
_SHOWN = 16  # pairs in the picture of nearest reals


class Meter(Protocol):
    """What gathers one kind of measurement."""

    def add(self, first: int, images: jax.Array, count: int) -> None:
        """Shows uint8 images [batch_size, H, W, C], of which `count` count; `first` is the index of the first one."""

    def cards(self) -> dict[str, list[Card]]:
        """The cards by metric, once all have been shown."""


class Features:
    """Fréchet and kernel distance, precision and recall, class score and nearest reals, on one network's features."""

    METRICS = ("fd", "kid", "pr", "is", "nearest")

    def __init__(self, context: Context, wanted: set[str]):
        self.context, self.wanted = context, wanted
        self.network = read_network(context.settings, context.settings.network)
        self.params = jax.device_put(self.network.params)
        self.reals = Reals(context.images, self.network, context.batch_size, context.put, context.progress)
        # The paper's code leaves the bias of Inception's last layer out.
        logits = "logits_unbiased" if self.network.name == "inception" else "logits"
        self.classes = (logits,) if "is" in wanted else ()
        self.parts: list[np.ndarray] = []
        self.logits: list[np.ndarray] = []
        self.kept: list[np.ndarray] = []
        self.pictures: dict[str, np.ndarray] = {}

    def add(self, first: int, images: jax.Array, count: int) -> None:
        pooled = self.network.pooled
        found = measure(self.network.static(), self.params, images, (pooled, *self.classes))
        self.parts.append(to_host(found[pooled])[:count])
        for name in self.classes:
            self.logits.append(to_host(found[name])[:count])
        if "nearest" in self.wanted and first < NEAREST_FAKES:
            self.kept.append(to_host(images)[:count])

    def cards(self) -> dict[str, list[Card]]:
        fakes = np.concatenate(self.parts)
        make = {"fd": self._frechet, "kid": self._kernel, "pr": self._neighbours, "is": self._score}
        make |= {"nearest": self._nearest}
        return {name: make[name](fakes) for name in self.METRICS if name in self.wanted}

    def _card(self, metric: str, value: float, better: str, **more: Any) -> Card:
        counts = {"reals": len(self.reals.features)}
        return self.context.card(metric, value, better, self.network, **(counts | more))

    def _frechet(self, fakes: np.ndarray) -> list[Card]:
        reals = self.reals.features
        few = [f"{len(x):,} {kind}" for kind, x in (("reals", reals), ("fakes", fakes)) if len(x) <= reals.shape[1]]
        warning = f"{' and '.join(few)} for {reals.shape[1]:,} features: the covariance is not of full rank"
        size = min(len(fakes), len(reals) // 2)
        more = {"precision": "float64 on float32 features", "warnings": (warning,) if few else ()}
        if size > 1:
            more |= {"floor": self.reals.frechet_floor(size), "floor_counts": (size, len(reals) - size)}
        value = frechet.distance(self.reals.moments, frechet.moments(fakes))
        return [self._card(self.network.named("FID", "FD"), value, "lower", **more)]

    def _kernel(self, fakes: np.ndarray) -> list[Card]:
        reals, seed = self.reals.features, self.context.settings.seed
        value, spread = kernel.kernel_distance(reals, fakes, seed=seed)
        subset = kernel.subset_images(len(reals), len(fakes))
        more = {"spread": spread, "spread_over": f"100 subsets of {subset:,}"}
        size = min(len(fakes), len(reals) // 2)
        if size > 1:
            floor, _ = kernel.kernel_distance(*self.reals.split(size), seed=seed)
            more |= {"floor": floor, "floor_counts": (size, len(reals) - size)}
        more |= {"precision": "float64 on float32 features"}
        return [self._card(self.network.named("KID", "KD"), value, "lower", **more)]

    def _neighbours(self, fakes: np.ndarray) -> list[Card]:
        near, wide = self.reals.manifold(3), self.reals.manifold(5)
        precision = precision_recall.share_inside(fakes, near)
        recall = precision_recall.share_inside(near.features, precision_recall.manifold(fakes, 3))
        density, coverage = precision_recall.density_coverage_of(wide, fakes, 5)
        values = {
            "precision": (precision, 3),
            "recall": (recall, 3),
            "density": (density, 5),
            "coverage": (coverage, 5),
        }
        reals = len(near.features)
        uneven = f"{reals:,} reals and {len(fakes):,} fakes: the balls of the smaller set are wider"
        more = {"warnings": (uneven,) if reals != len(fakes) else ()}
        return [
            self._card(self.network.named(name, name), value, "higher", settings={"k": k}, **more)
            for name, (value, k) in values.items()
        ]

    def _score(self, fakes: np.ndarray) -> list[Card]:
        value, spread = inception_score(np.concatenate(self.logits))
        more = {"spread": spread, "spread_over": "10 splits", "reals": 0}
        few = f"{len(fakes):,} fakes: the score rises with their number; published ones are of 50,000"
        more |= {"warnings": (few,) if len(fakes) < IS_IMAGES else ()}
        return [self._card(self.network.named("IS", "class-score"), value, "higher", **more)]

    def _nearest(self, fakes: np.ndarray) -> list[Card]:
        """Fakes closer to a training image than those are to each other have been learnt by heart."""
        reals, fakes = self.reals.features, fakes[:NEAREST_FAKES]
        index, found = precision_recall.nearest(fakes, reals)
        own = self.reals.nearest_others(len(fakes))
        first = np.argsort(found)[:_SHOWN]
        shown = np.concatenate(self.kept)[first], self.context.images.gather(index[first])
        self.pictures["nearest"] = np.stack(shown, 1).reshape(-1, *shown[0].shape[1:])
        settings = {
            "median distance of fakes": round(float(np.median(found)), 3),
            "of reals to other reals": round(float(np.median(own)), 3),
            "share of fakes nearer than 99 % of those": float(np.mean(found < np.percentile(own, 1))),
        }
        value = float(np.median(found) / np.median(own))
        better = "near 1; a generator that copies is near 0"
        name = self.network.named("nearest-real", "nearest-real")
        others = "these are not the images that the generator has learnt from: copies of those are not seen here"
        more = {"settings": settings, "warnings": () if self.context.subject.own_data else (others,)}
        return [self._card(name, value, better, fakes=len(fakes), **more)]


class SlicedWasserstein:
    """PGGAN's sliced Wasserstein distance on patches of the Laplacian pyramid."""

    METRICS = ("swd",)

    def __init__(self, context: Context, wanted: set[str]):
        self.context = context
        self.count = min(context.settings.num_samples, SWD_IMAGES, len(context.images))
        self.patches = swd.Patches(context.settings.seed)

    def add(self, first: int, images: jax.Array, count: int) -> None:
        if first < self.count:
            self.patches.add(_rgb(images), min(count, self.count - first))

    def cards(self) -> dict[str, list[Card]]:
        context, count, seed = self.context, self.count, self.context.settings.seed
        order = np.random.default_rng(0).permutation(len(context.images))
        real = self._of_reals(order[:count], seed + 1)
        found = swd.sliced_wasserstein(real, self.patches, seed)
        # A second pass over reals, as in PGGAN's code: others where there are enough, else other patches of the same.
        others = len(order) >= 2 * count
        again = self._of_reals(order[count : 2 * count] if others else order[:count], seed + 2)
        floors = swd.sliced_wasserstein(real, again, seed)
        sides: list[Any] = [*swd.levels(context.images.resolution[0]), "mean"]
        # The last row, the mean of the levels, has a spread of its own: over the repeats of that mean.
        found, floors = (np.concatenate([x, x.mean(0, keepdims=True)]) for x in (found, floors))
        settings = {"floor from": "other reals" if others else "other patches of the same reals"}
        settings |= {"reals": "half of them mirrored, as in training"} if context.subject.x_flip else {}
        few = f"{count:,} images of each kind; Progressive GAN's tables have {SWD_IMAGES:,}, and fewer give more"
        return {
            "swd": [
                context.card(
                    f"SWD-{side} x1000",
                    float(repeats.mean()),
                    "lower",
                    spread=float(repeats.std()),
                    spread_over="4 repeats of 128 directions",
                    floor=float(floor.mean()),
                    floor_counts=(count, count),
                    reals=count,
                    fakes=count,
                    conversion=CONVERSIONS[context.images.channels],
                    settings=settings,
                    warnings=(few,) if count < SWD_IMAGES else (),
                )
                for side, repeats, floor in zip(sides, found, floors)
            ]
        }

    def _of_reals(self, indices: np.ndarray, seed: int) -> swd.Patches:
        patches, mirror = swd.Patches(seed), np.random.default_rng(3)
        for batch in self.context.reals(indices):
            if self.context.subject.x_flip:
                batch = np.where(mirror.integers(0, 2, (len(batch), 1, 1, 1)) > 0, batch[:, :, ::-1], batch)
            patches.add(_rgb(self.context.placed(batch)), len(batch))
        return patches


class _Pairs:
    """The mean of a similarity over consecutive pairs of fakes, and over pairs of reals."""

    def __init__(self, context: Context):
        self.context = context
        self.parts: list[np.ndarray] = []

    def compare(self, images: jax.Array) -> jax.Array:
        """[N / 2] values of images [N, H, W, C], two and two."""
        raise NotImplementedError

    def add(self, first: int, images: jax.Array, count: int) -> None:
        self.parts.append(to_host(self.compare(images))[: count // 2])

    def _values(self) -> dict[str, Any]:
        values = np.concatenate(self.parts)
        reals = self.context.real_pairs(self.compare, len(values))
        return {
            "value": float(values.mean()),
            "better": "near that of reals",
            "spread": float(values.std() / len(values) ** 0.5),
            "spread_over": f"{len(values):,} pairs (standard error)",
            "of_reals": float(reals.mean()),
            "reals": 2 * len(reals),
        }


class Similarity(_Pairs):
    """MS-SSIM of pairs of fakes."""

    METRICS = ("ms_ssim",)

    def __init__(self, context: Context, wanted: set[str]):
        super().__init__(context)

    def compare(self, images: jax.Array) -> jax.Array:
        return similarity(images[::2], images[1::2])

    def cards(self) -> dict[str, list[Card]]:
        return {"ms_ssim": [self.context.card("MS-SSIM", **self._values())]}


class Diversity(_Pairs):
    """LPIPS or ST-LPIPS between pairs of fakes."""

    METRICS = ("lpips",)

    def __init__(self, context: Context, wanted: set[str]):
        super().__init__(context)
        self.network = read_network(context.settings, context.settings.perceptual)
        self.params = jax.device_put(self.network.params)

    def compare(self, images: jax.Array) -> jax.Array:
        return pair_distances(self.network.static(), self.params, images)

    def cards(self) -> dict[str, list[Card]]:
        family, trunk = self.network.name.split("-")
        name = f"{ {'lpips': 'LPIPS', 'stlpips': 'ST-LPIPS'}[family] }-{trunk} diversity"
        return {"lpips": [self.context.card(name, network=self.network, **self._values())]}


METERS: tuple[type[Meter], ...] = (Features, SlicedWasserstein, Similarity, Diversity)


_rgb = jax.jit(to_rgb)
