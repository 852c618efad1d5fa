"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), by nearest neighbours.

Distances are Euclidean in float32, block by block on the device; no matrix of all pairs is ever held.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.features.extract import check_features, check_pair

_BLOCK = 1024


class Manifold(NamedTuple):
    """Features [N, D] and each one's distance to its k-th nearest neighbour, itself not counted, [N]."""

    features: np.ndarray
    radii: np.ndarray


def manifold(features: np.ndarray, k: int) -> Manifold:
    """The union of balls that stands for the set the features were drawn from.

    Raises:
        UserError: there are not more than k features, or numbers that are not finite.
    """
    return Manifold(np.asarray(features, np.float32), neighbour_distances(features, (k,))[:, 0])


def neighbour_distances(features: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Distances [N, len(ks)] of each feature to its k-th nearest other one, for each of the ks.

    Raises:
        UserError: there are not more features than the largest k, or numbers that are not finite.
    """
    features = jnp.asarray(check_features(features, least=max(ks) + 1), jnp.float32)
    # The feature itself, at distance 0, is the first of the nearest.
    found = [
        np.asarray(_smallest(block, features, max(ks) + 1))[:count, list(ks)] for block, count in _blocks(features)
    ]
    return np.concatenate(found)


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """(share of fakes within the reals' manifold, share of reals within the fakes').

    Raises:
        UserError: a set has not more than k features, numbers that are not finite, or another number of features.
    """
    real, fake = check_pair(real, fake, least=k + 1)
    reals, fakes = manifold(real, k), manifold(fake, k)
    return share_inside(fakes.features, reals), share_inside(reals.features, fakes)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """(mean number of real balls that a fake lies in, over k; share of real balls that hold at least one fake).

    Raises:
        UserError: as `precision_recall`; one fake is enough.
    """
    real, fake = check_pair(real, fake)
    return density_coverage_of(manifold(real, k), fake, k)


def share_inside(queries: np.ndarray, balls: Manifold) -> float:
    """Share of the queries that lie in at least one ball."""
    return float(np.mean(_balls_hit(queries, balls) > 0))


def density_coverage_of(reals: Manifold, fake: np.ndarray, k: int) -> tuple[float, float]:
    """`density_coverage` where the reals' balls, those of k, are known."""
    fakes = jnp.asarray(fake, jnp.float32)
    density = float(_balls_hit(fakes, reals).mean()) / k
    nearest = [np.asarray(_smallest(block, fakes, 1))[:count, 0] for block, count in _blocks(reals.features)]
    return density, float(np.mean(np.concatenate(nearest) <= reals.radii))


def nearest(queries: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index [Q], distance [Q]) of the feature nearest to each query."""
    features = jnp.asarray(features, jnp.float32)
    found = [(_nearest(block, features), count) for block, count in _blocks(np.asarray(queries, np.float32))]
    return tuple(np.concatenate([np.asarray(r[i])[:n] for r, n in found]) for i in (0, 1))


def _blocks(features: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Rows in blocks of one size; the last is filled up with its last row."""
    features = np.asarray(features)
    size = min(_BLOCK, len(features))
    for start in range(0, len(features), size):
        block = features[start : start + size]
        filled = np.concatenate([block, np.repeat(block[-1:], size - len(block), 0)])
        yield filled, len(block)


def _balls_hit(queries: np.ndarray, balls: Manifold) -> np.ndarray:
    """How many balls each query lies in, [Q]."""
    features, radii = jnp.asarray(balls.features), jnp.asarray(balls.radii)
    hits = [np.asarray(_hits(b, features, radii))[:n] for b, n in _blocks(queries)]
    return np.concatenate(hits)


def _distances(block: jax.Array, features: jax.Array) -> jax.Array:
    squares = jnp.square(block).sum(1)[:, None] + jnp.square(features).sum(1)[None]
    products = jnp.dot(block, features.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.sqrt(jnp.maximum(squares - 2.0 * products, 0.0))


@functools.partial(jax.jit, static_argnums=2)
def _smallest(block: jax.Array, features: jax.Array, count: int) -> jax.Array:
    """The `count` smallest distances of each row, [B, count], rising."""
    return -jax.lax.top_k(-_distances(block, features), count)[0]


@jax.jit
def _hits(block: jax.Array, features: jax.Array, radii: jax.Array) -> jax.Array:
    return (_distances(block, features) <= radii[None]).sum(1)


@jax.jit
def _nearest(block: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    distances = _distances(block, features)
    return jnp.argmin(distances, 1), jnp.min(distances, 1)
