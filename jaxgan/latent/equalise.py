"""Keeps the parts of a latent alike: each with the distribution that random latents have.

That encoded latents become like generated ones by making the distributions of their parts equal is said in the abstract
of Sypetkowski 2023 (arXiv 2303.14552); the formulas are ours. A part is one whitened w (of a layer, of a position), a
vector v of D numbers that is N(0, I) for random latents. Unlike a penalty of v's length, which is least at the mean
image, these aim at what random latents are.
"""

import jax
import jax.numpy as jnp
import numpy as np


def quantile_distance(v: jax.Array) -> jax.Array:
    """[B]: squared Wasserstein distance between the D numbers of each part and N(0, 1), mean over parts [B, Q, D].

    1 for parts of zeros, (1 - scale)^2 for scaled ones, and not 0 for random ones, which are D numbers: see `level`.
    """
    count = v.shape[-1]
    wanted = jax.scipy.special.ndtri((jnp.arange(count) + 0.5) / count)
    return jnp.square(jnp.sort(v, axis=-1) - wanted).mean((1, 2))


def across(v: jax.Array) -> jax.Array:
    """[B]: how far means and deviations of the parts are from those of the other parts; 0 where all are wrong alike."""
    mean, deviation = v.mean(-1), v.std(-1)
    return sum(jnp.square(x - x.mean(1, keepdims=True)).mean(1) for x in (mean, deviation))


def equalise(v: jax.Array, level: jax.Array | float) -> jax.Array:
    """[B]: max(0, `quantile_distance` - `level`) + `across`; about 0 for random latents."""
    return jnp.maximum(quantile_distance(v) - level, 0.0) + across(v)


def level(dim: int) -> float:
    """The `quantile_distance` of random parts of D numbers, the mean of 2,000."""
    v = np.random.default_rng(0).standard_normal((2000, 1, dim)).astype(np.float32)
    return float(quantile_distance(jnp.asarray(v)).mean())


def roughness(maps: jax.Array) -> jax.Array:
    """[B]: squared change from a cell to the next, over 2 D; 1 for independent cells, 0 for a constant map.

    Maps are [..., h, w, D], whitened, and lead with B.
    """
    changes = [jnp.square(jnp.diff(maps, axis=axis)) for axis in (-3, -2) if maps.shape[axis] > 1]
    if not changes:
        return jnp.zeros(len(maps))
    return sum(c.reshape(len(maps), -1).sum(1) for c in changes) / (2 * sum(c[0].size for c in changes))


def dependence(v: jax.Array, covariance: jax.Array, nugget: float = 0.02) -> jax.Array:
    """[B]: tr(V^T K^-1 V) of maps [B, P, D] over what it is for maps of the prior, whose covariance is K [P, P].

    1 for maps of the prior, less for flatter ones, many times more for independent cells. K gets a nugget on its
    diagonal, since smooth maps of many cells hardly vary in some directions.
    """
    factor = jnp.linalg.cholesky(covariance + nugget * jnp.eye(len(covariance)))

    def whiten(x: jax.Array) -> jax.Array:
        return jax.scipy.linalg.solve_triangular(factor, x, lower=True)

    expected = jnp.trace(whiten(whiten(covariance).T)) / len(covariance)
    return jnp.square(jax.vmap(whiten)(v)).mean((1, 2)) / expected
