"""What one phase of a run works with: its networks, its compiled programs, its images."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxgan import parallel
from jaxgan.data.pipeline import DevicePrefetch, batches
from jaxgan.data.pyramid import at_height
from jaxgan.data.sources import ImageSet
from jaxgan.networks.build import build
from jaxgan.training import growth
from jaxgan.training.programs import Layout, Programs, batch_template, calibrator, compile_growth, layout, sampler
from jaxgan.training.state import TrainState

_LEAST_MEASURED = 16  # px


class Stage:
    """What a phase needs: its networks, compiled programs and images. Made cheap, compiled when asked."""

    def __init__(self, config: Mapping[str, Any], images: ImageSet, phase: growth.Phase):
        self.config, self.phase = growth.phase_config(config, phase), phase
        self._all_images = images
        self.gan = build(config["model"], phase.level)
        self.place = layout(self.gan, self.config)
        weights = label_weights(images, config)
        self.programs = Programs(self.gan, self.config, self.place, weights, phase.fade)
        self._sample = sampler(self.gan, self.place, config["grid"]["images"])
        normalised = self.config["batch_size"] // self.config["accumulate"] * self.config["loss"]["g_batch_multiple"]
        self._calibrate = calibrator(self.gan, self.place, normalised, weights)

    @functools.cached_property
    def images(self) -> ImageSet:
        """The training set at this phase's resolution."""
        height = self.gan.generator.image_shape[0]
        return at_height(self._all_images, height, memory_map_gb=self.config["data"]["memory_map_gb"])

    @property
    def measurable(self) -> bool:
        """Whether its images are large enough for the metrics, or as large as they will get."""
        return self.gan.generator.resolution >= min(_LEAST_MEASURED, self.config["model"]["resolution"])

    def sample(self, state: TrainState) -> jax.Array:
        """Images of the average, always of the same latents."""
        return self._sample(state.ema)

    def calibrate(self, state: TrainState) -> TrainState:
        """The state whose average has batch moments of its own; as it is where there are none."""
        return state if self._calibrate is None else state.replace(ema=self._calibrate(state.ema))

    def compile(self, step: int, note: Callable[[str], None] = lambda text: None) -> None:
        """Compiles what a run that is at iteration `step` needs, and brings the images to their resolution."""
        shape = (*self.images.resolution, self.images.channels)
        self.programs.compile(batch_template(self.config, shape, self.place), step, note)
        template = self.place.template.ema
        self._sample = self._sample.lower(template).compile()
        if self._calibrate is not None:
            self._calibrate = self._calibrate.lower(template).compile()

    def grown(self, before: "Stage") -> Callable[[TrainState], TrainState]:
        """The compiled program from the state of the stage before to one of this."""
        return compile_growth(self.gan, self.config, before.place, self.place)


def label_weights(images: ImageSet, config: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Share of each class in the set, for the labels of generated images."""
    classes = config["model"]["num_classes"]
    if not classes:
        return None
    counts = np.bincount(images.labels, minlength=classes)
    return tuple(float(n) for n in counts / counts.sum())


def device_batches(config: Mapping[str, Any], images: ImageSet, place: Layout, cursor: Any = None) -> DevicePrefetch:
    """Batches on the device, from the cursor on or from the start."""
    iterator = batches(
        images,
        batch_size=config["batch_size"],
        seed=config["seed"],
        x_flip=config["data"]["x_flip"],
        use_labels=config["data"]["use_labels"],
        rank=jax.process_index(),
        world=jax.process_count(),
        num_threads=config["data"]["num_threads"],
    )
    if cursor is not None:
        iterator.set_state(cursor)
    per_dispatch = config["steps_per_dispatch"] * config["loss"]["critic_steps"]
    return DevicePrefetch(iterator, parallel.put_batch(place.mesh), size=2 * per_dispatch)
