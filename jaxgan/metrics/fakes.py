"""Generated images for measuring: what a subject is, and a batch of its images."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgan import compiler, parallel
from jaxgan.networks.gan import EXTRAS_KEY, Gan, call, draw_extras, draw_z, truncate


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A generator to measure, and what belongs to it.

    Attributes:
        gan: the networks.
        ema: averaged variables of the generator; all images are made with these.
        raw: its variables as trained, or None where they are not at hand (then nothing is said of them).
        discriminator: variables, or None.
        mbstd_group: minibatch-stddev group of training.
        w_avg: mean of w, for truncation.
        truncation_psi: 1.0 is none.
        x_flip: whether the generator has learnt from mirrored reals too.
        own_data: whether the reals it is measured against are those it has learnt from.
        name: which model this is, in words for a card.
    """

    gan: Gan
    ema: Any
    raw: Any = None
    discriminator: Any = None
    mbstd_group: int = 1
    w_avg: Any = None
    truncation_psi: float = 1.0
    x_flip: bool = False
    own_data: bool = True
    name: str | None = None


def _make(
    generator: nn.Module,
    mesh: Mesh,
    count: int,
    variables: Any,
    w_avg: Any,
    psi: jax.Array,
    key: jax.Array,
    labels: Any,
) -> tuple[jax.Array, jax.Array]:
    z_key, noise_key = jax.random.split(key)
    z = parallel.constrain_batch(mesh)(draw_z(generator, z_key, count))
    ws = call(generator, variables, z, labels, method="map")
    if w_avg is not None:
        ws = truncate(generator, w_avg, ws, psi)
    own = jax.random.split(jax.random.fold_in(noise_key, EXTRAS_KEY), count)  # as in samples: an image's are its own
    images = call(generator, variables, ws, noise_key, method="synthesize", **draw_extras(generator, own))
    return parallel.constrain_batch(mesh)(images), jnp.isfinite(images).all()


make_fakes = compiler.jit(_make, static_argnums=(0, 1, 2))
"""`make_fakes(generator, mesh, count, variables, w_avg or None, psi, key, labels)` of fresh latents and fresh noise:
(images [count, H, W, C] in [-1, 1], split over the devices; whether all are finite)."""


@jax.jit
def quantised(images: jax.Array) -> jax.Array:
    """[-1, 1] to uint8 as NVIDIA's code does: trunc(clip(127.5 x + 128, 0, 255))."""
    return jnp.clip(images * 127.5 + 128.0, 0.0, 255.0).astype(jnp.uint8)


def draw_labels(all_labels: np.ndarray | None, num_classes: int, count: int, seed: int, first: int) -> Any:
    """Labels of fakes `first` to `first + count`: those of random training images; None without classes."""
    if not num_classes:
        return None
    if all_labels is None:
        return (np.arange(first, first + count) % num_classes).astype(np.int32)
    rng = np.random.default_rng((seed, first))
    return np.asarray(all_labels)[rng.integers(0, len(all_labels), count)].astype(np.int32)
