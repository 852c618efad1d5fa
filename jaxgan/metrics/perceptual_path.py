"""Perceptual path length (Karras et al. 2019): how far images move for a small step between two latents."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgan import compiler
from jaxgan.errors import UserError
from jaxgan.features.lpips import distance
from jaxgan.features.networks import apply
from jaxgan.networks.gan import call, draw_z, z_shape
from jaxgan.ops.interpolate import lerp, slerp
from jaxgan.ops.resize import resize
from jaxgan.ops.rows import per_row
from jaxgan.parallel import constrain_batch, to_host

EPSILON = 1e-4
_LARGEST = 256  # larger images are averaged down to this side first, as in NVIDIA's code


def _path_steps(
    generator: nn.Module,
    network: tuple,
    space: str,
    end: bool,
    mesh: Mesh,
    count: int,
    variables: Any,
    params: Any,
    key: jax.Array,
    labels: jax.Array | None = None,
) -> jax.Array:
    """[count] squared perceptual speeds: the distance of two images that are `EPSILON` apart, over its square.

    Args:
        generator: the network.
        network: a perceptual network's `static()`.
        space: "w" interpolates ws in straight lines, "z" interpolates z on the sphere.
        end: whether only steps at the ends of the paths are taken, or anywhere on them.
        mesh: devices that the pairs are split over.
        count: pairs.
        variables: of the generator.
        params: of the perceptual network.
        key: of latents, positions and noise. Both images of a pair get the same noise.
        labels: [count], where the generator has classes.
    """
    z_key, position_key, noise_key = jax.random.split(key, 3)
    split = constrain_batch(mesh)
    z = [split(x) for x in draw_z(generator, z_key, 2 * count).reshape(2, count, *z_shape(generator))]
    t = jnp.zeros(count) if end else jax.random.uniform(position_key, (count,))
    if space == "w":
        ends = [call(generator, variables, x, labels, method="map") for x in z]
        ws = [lerp(*ends, per_row(s, ends[0])) for s in (t, t + EPSILON)]
    else:
        between = [on_the_sphere(*z, per_row(s, z[0])) for s in (t, t + EPSILON)]
        ws = [call(generator, variables, x, labels, method="map") for x in between]
    # One by one with the same key: maps drawn for a doubled batch would differ between the two.
    images = [call(generator, variables, w, noise_key, method="synthesize") for w in ws]
    embedded = [apply(network, params, _prepared(x), clip=False) for x in images]
    return distance(*embedded) / EPSILON**2


def on_the_sphere(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """`slerp` at the length that latents [..., D] have, sqrt(D): only some mappings normalise it away."""
    return a.shape[-1] ** 0.5 * slerp(a, b, t)


def _precise(generator: nn.Module, *args: Any) -> jax.Array:
    # A difference of images that are 1e-4 apart: whatever the generator was trained in, bfloat16 would be all noise.
    with jax.default_matmul_precision("highest"):
        return _path_steps(generator.clone(dtype=jnp.float32), *args)


path_steps = compiler.jit(_precise, static_argnums=range(6))
"""`_path_steps`, jitted, in float32 throughout."""


def _prepared(images: jax.Array) -> jax.Array:
    """[-1, 1] to [0, 255], never rounded: the step is far smaller than a grey level."""
    x = (images + 1.0) * 127.5
    side = min(x.shape[1:3])
    if side <= _LARGEST:
        return x
    factor = side // _LARGEST
    return resize(x, (x.shape[1] // factor, x.shape[2] // factor), "box")


def path_length(steps: np.ndarray) -> tuple[float, float]:
    """(mean, its standard error) without the lowest and the highest hundredth.

    Raises:
        UserError: there are no steps, or one is not finite.
    """
    if not len(steps) or not np.isfinite(steps).all():
        raise UserError("path lengths need at least one pair of images, all of them finite")
    low = np.percentile(steps, 1, method="lower")
    high = np.percentile(steps, 99, method="higher")
    kept = steps[(steps >= low) & (steps <= high)].astype(np.float64)
    return float(kept.mean()), float(kept.std() / len(kept) ** 0.5)


def perceptual_path_length(
    step: Callable[[jax.Array, int], jax.Array], num_samples: int, batch_size: int, seed: int = 0
) -> tuple[float, float]:
    """`path_length` of `num_samples` pairs; `step(key, first)` gives those of one batch, the `first`-th pair on."""
    key = jax.random.key(seed)
    parts = [to_host(step(jax.random.fold_in(key, i), i)) for i in range(0, num_samples, batch_size)]
    return path_length(np.concatenate(parts)[:num_samples])
