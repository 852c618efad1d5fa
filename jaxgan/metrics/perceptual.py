"""Perceptual distance of pairs of images, LPIPS or ST-LPIPS by the network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.errors import UserError
from jaxgan.features.extract import batched, check_image_pairs, mapped
from jaxgan.features.lpips import distance
from jaxgan.features.networks import Network, apply


def _pair_distances(static: tuple, params: Any, images: jax.Array) -> jax.Array:
    embedded = apply(static, params, images)
    return distance([e[::2] for e in embedded], [e[1::2] for e in embedded])


pair_distances = compiler.jit(_pair_distances, static_argnums=0)
"""`pair_distances(network.static(), params, images [2 N, H, W, C])`: [N] distances of images two and two."""


def perceptual_distance(network: Network, a: np.ndarray, b: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """[N] distances between images [N, H, W, C] and [N, H, W, C] (uint8, or float in [0, 255]).

    Args:
        network: of `jaxgan.features.networks.load`, one whose name begins with "lpips" or "stlpips".
        a, b: the images.
        batch_size: pairs a call.

    Raises:
        UserError: the network is a classifier, the shapes differ, or the images cannot be measured.
    """
    if network.pooled:
        raise UserError(f"{network.name} is a classifier, no distance of images; load stlpips-alex or its like")
    a, b = check_image_pairs(a, b)
    static, params = network.static(), jax.device_put(network.params)
    size = min(batch_size, len(a))
    pairs = np.stack([a, b], 1)
    whole = (x.reshape(-1, *a.shape[1:]) for x in batched(pairs, size))

    def run(x: Any) -> jax.Array:
        return jnp.repeat(pair_distances(static, params, x), 2)  # one value a row, so that short batches can be cut

    return np.concatenate(list(mapped(run, whole, 2 * size)))[::2]
