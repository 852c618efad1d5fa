"""The distribution of maps of z: normal at every position, and alike at near ones.

The abstract of Sypetkowski 2023 (arXiv 2303.14552) asks that near elements depend on each other more than far ones; the
formula is ours: a part that all positions share, and white noise smoothed at one or more scales,

    z(p) = sqrt(a_g) z_g + sum_s sqrt(a_s) G_s(p),    a_g + sum_s a_s = 1,

whose covariance between p and q is a_g + sum_s a_s exp(-|p - q|^2 / (4 sigma_s^2)), and whose every z(p) is N(0, I).
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_GLOBAL, _SCALES = 0, 1  # folded into the key; a scale's number is added to the second
_ORIGIN = 2**30  # added to coordinates, which may be below 0 and are folded into keys as natural numbers


@dataclasses.dataclass(frozen=True)
class Prior:
    """How maps of z are drawn; hashable.

    Attributes:
        global_share: a_g, of the variance; 1 gives constant maps, as in StyleGAN2.
        scales: (sigma in cells, a_s) each.
    """

    global_share: float = 0.3
    scales: tuple[tuple[float, float], ...] = ((1.0, 0.35), (2.0, 0.35))

    def correlation(self, distance: np.ndarray) -> np.ndarray:
        """Between positions at a distance in cells, by the formula; exact to 1e-3 for sigma of 1 and more."""
        smooth = (share * np.exp(-np.square(distance) / (4 * sigma**2)) for sigma, share in self.scales)
        return self.global_share + sum(smooth, np.zeros_like(distance, dtype=float))


def reach(sigma: float) -> int:
    """Cells on each side that a smoothing takes in."""
    return math.ceil(4 * sigma)


def smoothing(sigma: float, cells: int) -> np.ndarray:
    """[cells, cells + 2 reach]: white noise to smooth noise of variance 1 along one axis, without a border effect."""
    r = reach(sigma)
    kernel = np.exp(-np.square(np.arange(-r, r + 1)) / (2 * sigma**2))
    kernel /= np.linalg.norm(kernel)
    band = np.zeros((cells, cells + 2 * r))
    for i in range(cells):
        band[i, i : i + 2 * r + 1] = kernel
    return band


def draw(prior: Prior, key: jax.Array, size: tuple[int, int], dim: int) -> jax.Array:
    """A random map [*size, dim], channels independent of each other."""
    height, width = size

    def white(number: int, r: int) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, _SCALES + number), (height + 2 * r, width + 2 * r, dim))

    return _smoothed(prior, key, size, dim, white)


def window(
    prior: Prior, key: jax.Array, place: tuple[jax.Array | int, jax.Array | int], size: tuple[int, int], dim: int
) -> jax.Array:
    """The part of a key's endless map that a window shows, [*size, dim].

    Each cell's white noise depends on the key and on the cell's place alone, so that windows of one key fit together.
    `place` (top, left) is in cells, may be below 0, and may be traced.
    """
    (top, left), (height, width) = place, size

    def white(number: int, r: int) -> jax.Array:
        around = (height + 2 * r, width + 2 * r)
        return cells(jax.random.fold_in(key, _SCALES + number), (top - r, left - r), around, (dim,))

    return _smoothed(prior, key, size, dim, white)


def _smoothed(
    prior: Prior, key: jax.Array, size: tuple[int, int], dim: int, white: Callable[[int, int], jax.Array]
) -> jax.Array:
    """The sum of the prior's parts; `white` gives the noise of a scale by its number and reach."""
    z = jnp.broadcast_to(
        math.sqrt(prior.global_share) * jax.random.normal(jax.random.fold_in(key, _GLOBAL), (dim,)), (*size, dim)
    )
    for number, (sigma, share) in enumerate(prior.scales):
        rows, columns = (jnp.asarray(smoothing(sigma, n), jnp.float32) for n in size)
        noise = white(number, reach(sigma))
        z += math.sqrt(share) * jnp.einsum("oh,pw,hwc->opc", rows, columns, noise, precision="highest")
    return z


def cells(
    key: jax.Array, place: tuple[jax.Array | int, jax.Array | int], size: tuple[int, int], shape: tuple[int, ...]
) -> jax.Array:
    """Normal numbers of a given shape for each cell of a window, by the cell's place: [*size, *shape]."""
    (top, left), (height, width) = place, size

    def one(row: jax.Array, column: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, row), column), shape)

    rows = jnp.arange(height) + top + _ORIGIN
    columns = jnp.arange(width) + left + _ORIGIN
    return jax.vmap(lambda row: jax.vmap(lambda column: one(row, column))(columns))(rows)
