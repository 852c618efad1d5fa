"""The distribution of maps of z: normal at every position, and alike at near ones.

The abstract of Sypetkowski 2023 (arXiv 2303.14552) asks that near elements depend on each other more than far ones; the
formula is ours: a part that all positions share, and white noise smoothed at one or more scales,

    z(p) = sqrt(a_g) z_g + sum_s sqrt(a_s) G_s(p),    a_g + sum_s a_s = 1,

whose covariance between p and q is a_g + sum_s a_s exp(-|p - q|^2 / (4 sigma_s^2)), and whose every z(p) is N(0, I).
"""

import dataclasses
import math

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

    @property
    def reach(self) -> int:
        """Cells of white noise around a map that it depends on."""
        return max((reach(sigma) for sigma, _ in self.scales), default=0)

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


def draw(
    prior: Prior, key: jax.Array, window: tuple[jax.Array | int, jax.Array | int, int, int], dim: int
) -> jax.Array:
    """The part of a key's endless map that a window shows, [height, width, dim].

    Args:
        prior: the distribution.
        key: of the whole map; each cell's white noise depends on it and on the cell's place alone, so that windows of
            one key fit together.
        window: (top, left, height, width) in cells; the first two may be below 0, and traced.
        dim: channels, independent of each other.
    """
    top, left, height, width = window
    shared = jax.random.normal(jax.random.fold_in(key, _GLOBAL), (dim,))
    z = jnp.broadcast_to(math.sqrt(prior.global_share) * shared, (height, width, dim))
    for number, (sigma, share) in enumerate(prior.scales):
        r = reach(sigma)
        place = (top - r, left - r, height + 2 * r, width + 2 * r)
        white = cells(jax.random.fold_in(key, _SCALES + number), place, (dim,))
        rows, columns = (jnp.asarray(smoothing(sigma, n), jnp.float32) for n in (height, width))
        z += math.sqrt(share) * jnp.einsum("oh,pw,hwc->opc", rows, columns, white, precision="highest")
    return z


def cells(
    key: jax.Array, window: tuple[jax.Array | int, jax.Array | int, int, int], shape: tuple[int, ...]
) -> jax.Array:
    """Normal numbers of a given shape for each cell of a window, by the cell's place: [height, width, *shape]."""
    top, left, height, width = window

    def one(row: jax.Array, column: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, row), column), shape)

    rows = jnp.arange(height) + top + _ORIGIN
    columns = jnp.arange(width) + left + _ORIGIN
    return jax.vmap(lambda row: jax.vmap(lambda column: one(row, column))(columns))(rows)
