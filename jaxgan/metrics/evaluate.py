"""Runs metrics on a generator against a set of real images: one pass over the fakes, a card for every value."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.data.sources import ImageSet
from jaxgan.errors import UserError
from jaxgan.metrics import swd
from jaxgan.metrics.card import Card
from jaxgan.metrics.context import Context, Progress, Settings, read_network
from jaxgan.metrics.disequilibrium import disequilibrium
from jaxgan.metrics.fakes import Subject, quantised
from jaxgan.metrics.meters import METERS, Features
from jaxgan.metrics.perceptual_path import EPSILON, path_steps, perceptual_path_length
from jaxgan.networks.gan import call, check_truncation
from jaxgan.parallel import to_host

PATHS = {"ppl_wend": ("w", True), "ppl_wfull": ("w", False), "ppl_zend": ("z", True), "ppl_zfull": ("z", False)}
METRICS = ("fd", "kid", "pr", "is", "swd", "ms_ssim", "lpips", "ppl", *PATHS, "di", "nearest")
_LEAST = {"pr": 6, "is": 10}  # images of each kind; 2 for the others


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Cards in the order of `METRICS`, and pictures [N, H, W, C] by name."""

    cards: list[Card]
    pictures: dict[str, np.ndarray]


def check(settings: Settings, subject: Subject, images: ImageSet) -> None:
    """Raises UserError where the settings cannot be measured on this generator with these images.

    Networks are read too, so that a missing file is found before any work.
    """
    unknown = [m for m in settings.metrics if m not in METRICS]
    if unknown or not settings.metrics:
        raise UserError(f"--metrics={','.join(settings.metrics)}: choose of {', '.join(METRICS)}")
    if settings.num_samples < 2 or settings.batch_size < 1 or settings.repeats < 1:
        raise UserError(
            f"num_samples={settings.num_samples}, batch_size={settings.batch_size}, repeats={settings.repeats}: "
            "at least 2 samples, batches of 1 and 1 repeat are needed"
        )
    made, given = tuple(subject.gan.generator.image_shape), (*images.resolution, images.channels)
    if made != given:
        raise UserError(
            f"the generator makes images of {made} and {images.name} holds {given}; give --data with images like those "
            "it was trained on"
        )
    check_truncation(subject.gan.generator, subject.truncation_psi)
    _check_labels(settings, subject, images)
    for metric in settings.metrics:
        least = max(subject.mbstd_group, 2) if metric == "di" else _LEAST.get(metric, 2)
        if min(settings.num_samples, len(images)) < least:
            raise UserError(
                f"{metric} needs at least {least} images of each kind; there are {len(images)} reals and "
                f"{settings.num_samples} fakes"
            )
    height, width = images.resolution
    if "swd" in settings.metrics and (height != width or height < swd.LOWEST or height & (height - 1)):
        raise UserError(f"swd needs square images of a power of two from {swd.LOWEST} px, not {height}x{width}")
    if "di" in settings.metrics and subject.discriminator is None:
        raise UserError("di needs a discriminator, and this model has none; leave di out")
    if settings.network.startswith(("lpips", "stlpips")) or not settings.perceptual.startswith(("lpips", "stlpips")):
        raise UserError(
            f"network={settings.network}, perceptual={settings.perceptual}: the first must be a classifier such as "
            "lite0, the second a distance such as stlpips-alex"
        )

    wanted = expanded(settings.metrics)
    if wanted & set(Features.METRICS):
        read_network(settings, settings.network)
    if wanted & {"lpips", *PATHS}:
        read_network(settings, settings.perceptual)


def _check_labels(settings: Settings, subject: Subject, images: ImageSet) -> None:
    """Raises UserError where the labels of the images are no classes of the generator's."""
    classes = subject.gan.generator.num_classes
    if classes and images.labels is not None and images.num_classes != classes:
        raise UserError(
            f"the generator has {classes} classes and {images.name} {images.num_classes}; give --data with the labels "
            "that it was trained on"
        )
    if classes and images.labels is None and "di" in settings.metrics:
        raise UserError(
            f"di needs the labels that the discriminator is given, and {images.name} has none; leave di out"
        )


def expanded(metrics: tuple[str, ...]) -> set[str]:
    """The metrics that are asked for, short names written out."""
    return {"ppl_wend" if m == "ppl" else m for m in metrics}


def evaluate(
    subject: Subject, images: ImageSet, settings: Settings, progress: Progress = lambda what, done, total: None
) -> Evaluation:
    """Measures a generator; works on any number of devices, and gives the same on each process of several.

    Raises:
        UserError: what is asked for cannot be measured, weights are missing, or images are not finite.
    """
    check(settings, subject, images)
    runs = []
    for i in range(settings.repeats):
        seeded = dataclasses.replace(settings, seed=settings.seed + i)
        runs.append(_evaluate_once(Context(subject, images, seeded, progress)))
    return runs[0] if len(runs) == 1 else Evaluation(_over_repeats([r.cards for r in runs]), runs[0].pictures)


def _evaluate_once(context: Context) -> Evaluation:
    wanted = expanded(context.settings.metrics)
    meters = [meter(context, wanted) for meter in METERS if wanted & set(meter.METRICS)]
    perceptual = read_network(context.settings, context.settings.perceptual) if wanted & set(PATHS) else None
    if meters:
        for batch in context.fakes(context.subject.ema, context.settings.num_samples, "fakes"):
            shown = quantised(batch.images)
            for meter in meters:
                meter.add(batch.first, shown, batch.count)
    found: dict[str, list[Card]] = {}
    for meter in meters:
        found |= meter.cards()
    for name in wanted & set(PATHS):
        found[name] = [_path_length(context, perceptual, name)]
    if "di" in wanted:
        found["di"] = _disequilibria(context)
    pictures = {name: p for m in meters for name, p in getattr(m, "pictures", {}).items()}
    return Evaluation([card for name in METRICS for card in found.get(name, [])], pictures)


def _over_repeats(runs: Sequence[Sequence[Card]]) -> list[Card]:
    cards = []
    for repeats in zip(*runs):
        values = [c.value for c in repeats]
        spread = {"spread": float(np.std(values, ddof=1)), "spread_over": f"{len(values)} draws of fakes"}
        cards.append(dataclasses.replace(repeats[0], value=float(np.mean(values)), **spread))
    return cards


def _path_length(context: Context, network: Any, name: str) -> Card:
    subject, settings, size = context.subject, context.settings, context.batch_size
    (space, end), params = PATHS[name], jax.device_put(network.params)

    def step(key: jax.Array, first: int) -> jax.Array:
        labels = context.fake_labels(first)
        placed = None if labels is None else context.put(labels)
        static = subject.gan.generator, network.static(), space, end, context.mesh, size
        found = path_steps(*static, subject.ema, params, key, placed)
        context.progress(name, min(first + size, settings.num_samples), settings.num_samples)
        return found

    value, error = perceptual_path_length(step, settings.num_samples, size, settings.seed)
    how = {"truncated": False, "noise": "the same random noise at both ends", "dtype": jnp.float32}
    return context.card(
        f"PPL-{name.removeprefix('ppl_')}-{network.name}",
        value,
        "lower",
        network,
        spread=error,
        spread_over="pairs (standard error)",
        generator=context.generator("EMA", **how),
        settings={"epsilon": EPSILON, "kept": "1st to 99th percentile", "images": "float, not rounded"},
    )


def _disequilibria(context: Context) -> list[Card]:
    """Of the raw and of the averaged generator; the discriminator sees groups as in training, all real or all fake."""
    subject, images = context.subject, context.images
    group = subject.mbstd_group
    count = min(context.settings.num_samples, len(images)) // group * group
    chosen = np.random.default_rng(2).permutation(len(images))[:count]
    labels = images.labels[chosen] if subject.gan.generator.num_classes and images.labels is not None else None

    def judged(batch: jax.Array, batch_labels: np.ndarray | None, n: int) -> np.ndarray:
        placed = None if batch_labels is None else context.placed(batch_labels)
        return to_host(_judge(subject.gan.discriminator, group, subject.discriminator, batch, placed))[:n]

    starts = range(0, count, context.batch_size)
    label_batches = [None if labels is None else labels[i : i + context.batch_size] for i in starts]
    reals = [judged(context.placed(b), y, len(b)) for b, y in zip(context.reals(chosen), label_batches)]
    reals = np.concatenate(reals)
    cards = []
    for which, variables in (("raw", subject.raw), ("EMA", subject.ema)):
        if variables is None:
            continue
        batches = context.fakes(variables, count, f"di {which}")
        fakes = np.concatenate([judged(b.images, b.labels, b.count) for b in batches])
        settings = {"mean logit of reals": float(reals.mean()), "of fakes": float(fakes.mean()), "group": group}
        more = {"reals": count, "fakes": count, "settings": settings}
        more |= {"generator": context.generator(which)}
        cards.append(context.card(f"DI ({which})", disequilibrium(reals, fakes), "lower", **more))
    return cards


def _judge_images(discriminator: Any, group: int, variables: Any, images: jax.Array, labels: Any) -> jax.Array:
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 127.5 - 1.0
    with jax.default_matmul_precision("highest"):
        return call(discriminator.clone(dtype=jnp.float32), variables, images, labels, group_size=group).logits


_judge = compiler.jit(_judge_images, static_argnums=(0, 1))
