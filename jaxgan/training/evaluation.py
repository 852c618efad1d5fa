"""Metrics during training: of the EMA generator, against the training set or another one that the config names."""

from collections.abc import Mapping
from typing import Any

from jaxgan.data.pyramid import at_height
from jaxgan.data.sources import ImageSet, open_images
from jaxgan.data.sources import Progress as Decoding
from jaxgan.metrics.context import Progress, Settings
from jaxgan.metrics.evaluate import Evaluation, check, evaluate
from jaxgan.metrics.fakes import Subject
from jaxgan.networks.build import build
from jaxgan.networks.gan import Gan
from jaxgan.training.state import TrainState


def settings(config: Mapping[str, Any]) -> Settings:
    """What a config asks for; the seed is fixed, so that values along a run differ by the generator alone."""
    asked = config["eval"]
    files = {asked["network"]: asked["weights"], asked["perceptual"]: asked["perceptual_weights"]}
    return Settings(
        metrics=tuple(asked["metrics"]),
        num_samples=asked["num_samples"],
        network=asked["network"],
        perceptual=asked["perceptual"],
        weights={name: file for name, file in files.items() if file},
        filter=asked["filter"] or None,
        batch_size=asked["batch_size"],
        seed=asked["seed"],
    )


def reals(config: Mapping[str, Any], images: ImageSet, progress: Decoding | None = None) -> ImageSet:
    """The images that a run is measured against: `eval.source` and `eval.split`, or the training set.

    Raises:
        UserError: there is no such set.
    """
    source, split = _source(config)
    if _own_data(config):
        return images
    return open_images(source, split=split, memory_map_gb=config["data"]["memory_map_gb"], progress=progress)


def _source(config: Mapping[str, Any]) -> tuple[str, str]:
    asked, data = config["eval"], config["data"]
    return asked["source"] or data["source"], asked["split"] or data["split"]


def _own_data(config: Mapping[str, Any]) -> bool:
    """Whether a run is measured against what it learns from."""
    return _source(config) == (config["data"]["source"], config["data"]["split"])


def at_level(config: Mapping[str, Any], images: ImageSet, gan: Gan) -> ImageSet:
    """Images of the grown generator's size, at that of one that may still be growing; others as they are."""
    if images.resolution != build(config["model"]).generator.image_shape[:2]:
        return images
    return at_height(images, gan.generator.image_shape[0], memory_map_gb=config["data"]["memory_map_gb"])


def check_config(config: Mapping[str, Any], images: ImageSet) -> None:
    """Raises UserError where the evaluations that a config asks for could not be made; weights are read to see."""
    if config["eval_every"]:
        gan = build(config["model"])
        check(
            settings(config), Subject(gan, None, discriminator=(), mbstd_group=config["model"]["mbstd_group"]), images
        )


def run(
    gan: Gan,
    config: Mapping[str, Any],
    images: ImageSet,
    state: TrainState,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Evaluates a state."""
    model, data = config["model"], config["data"]
    subject = Subject(
        gan,
        ema=state.ema,
        raw=state.generator,
        discriminator=state.discriminator,
        mbstd_group=model["mbstd_group"],
        w_avg=state.w_avg,
        x_flip=data["x_flip"],
        own_data=_own_data(config),
        name=f"{model['architecture']} after {int(state.images_seen):,} images of {data['source']}",
    )
    return evaluate(subject, images, settings(config), progress)
