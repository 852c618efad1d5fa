"""Metrics during training: of the EMA generator, against the training set."""

from collections.abc import Mapping
from typing import Any

from jaxgan.data.sources import ImageSet
from jaxgan.metrics.context import Progress, Settings
from jaxgan.metrics.evaluate import Evaluation, check, evaluate
from jaxgan.metrics.fakes import Subject
from jaxgan.networks.build import build
from jaxgan.networks.gan import Gan
from jaxgan.training.state import TrainState


def settings(config: Mapping[str, Any]) -> Settings:
    """What a config asks for; the seed is fixed, so that values along a run differ by the generator alone."""
    asked = config["eval"]
    return Settings(
        metrics=tuple(asked["metrics"]),
        num_samples=asked["num_samples"],
        network=asked["network"],
        weights={asked["network"]: asked["weights"]} if asked["weights"] else {},
        batch_size=asked["batch_size"],
    )


def check_config(config: Mapping[str, Any], images: ImageSet) -> None:
    """Raises UserError where the evaluations that a config asks for could not be made; weights are read to see."""
    if config["eval_every"]:
        gan = build(config["model"])
        check(settings(config), Subject(gan, None, discriminator=()), images)


def run(
    gan: Gan,
    config: Mapping[str, Any],
    images: ImageSet,
    state: TrainState,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Evaluates a state."""
    subject = Subject(gan, state.ema, state.generator, state.discriminator, config["model"]["mbstd_group"], state.w_avg)
    return evaluate(subject, images, settings(config), progress)
