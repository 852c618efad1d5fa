"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), by nearest neighbours.

Distances are Euclidean in float32, block by block on the device; no matrix of all pairs is ever held.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 1024


class Manifold(NamedTuple):
    """Features [N, D] and each one's distance to its k-th nearest neighbour, itself not counted, [N]."""

    features: np.ndarray
    radii: np.ndarray


def manifold(features: np.ndarray, k: int) -> Manifold:
    """The union of balls that stands for the set the features were drawn from.

    Raises:
        ValueError: there are not more than k features.
    """
    if len(features) <= k:
        raise ValueError(f"{len(features)} features; more than k={k} are needed")
    features = np.asarray(features, np.float32)
    # The feature itself, at distance 0, is the first of the k + 1 nearest.
    radii = [np.asarray(_kth_smallest(block, features, k + 1))[:count] for block, count in _blocks(features)]
    return Manifold(features, np.concatenate(radii))


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """(share of fakes within the reals' manifold, share of reals within the fakes')."""
    reals, fakes = manifold(real, k), manifold(fake, k)
    precision = float(np.mean(_balls_hit(fakes.features, reals) > 0))
    recall = float(np.mean(_balls_hit(reals.features, fakes) > 0))
    return precision, recall


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """(mean number of real balls that a fake lies in, over k; share of real balls that hold at least one fake)."""
    reals = manifold(real, k)
    fakes = np.asarray(fake, np.float32)
    density = float(_balls_hit(fakes, reals).mean()) / k
    nearest = [np.asarray(_kth_smallest(block, fakes, 1))[:count] for block, count in _blocks(reals.features)]
    return density, float(np.mean(np.concatenate(nearest) <= reals.radii))


def nearest(queries: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index [Q], distance [Q]) of the feature nearest to each query."""
    features = np.asarray(features, np.float32)
    found = [(_nearest(block, features), count) for block, count in _blocks(np.asarray(queries, np.float32))]
    return tuple(np.concatenate([np.asarray(r[i])[:n] for r, n in found]) for i in (0, 1))


def _blocks(features: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Rows in blocks of one size; the last is filled up with its last row."""
    size = min(_BLOCK, len(features))
    for start in range(0, len(features), size):
        block = features[start : start + size]
        filled = np.concatenate([block, np.repeat(block[-1:], size - len(block), 0)])
        yield filled, len(block)


def _balls_hit(queries: np.ndarray, balls: Manifold) -> np.ndarray:
    """How many balls each query lies in, [Q]."""
    hits = [np.asarray(_hits(b, balls.features, balls.radii))[:n] for b, n in _blocks(queries)]
    return np.concatenate(hits)


def _distances(block: jax.Array, features: jax.Array) -> jax.Array:
    squares = jnp.square(block).sum(1)[:, None] + jnp.square(features).sum(1)[None]
    products = jnp.dot(block, features.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.sqrt(jnp.maximum(squares - 2.0 * products, 0.0))


@functools.partial(jax.jit, static_argnums=2)
def _kth_smallest(block: jax.Array, features: jax.Array, k: int) -> jax.Array:
    return -jax.lax.top_k(-_distances(block, features), k)[0][:, -1]


@jax.jit
def _hits(block: jax.Array, features: jax.Array, radii: jax.Array) -> jax.Array:
    return (_distances(block, features) <= radii[None]).sum(1)


@jax.jit
def _nearest(block: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    distances = _distances(block, features)
    return jnp.argmin(distances, 1), jnp.min(distances, 1)
