"""Latent spaces: where a generator's images are looked for. A space knows its codes' shape and their way to `ws`.

`ws` [B, num_ws, w_dim] is what every generator synthesises from. A new space is a class and a line in `SPACES`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.latent import maps
from jaxgan.latent.space import Space, Statistics, has_mapping
from jaxgan.networks.gan import call, draw_z, z_shape

_STD_SAMPLES, _STD_SEED = 10_000, 123  # of NVIDIA's projector
_PRIOR_SAMPLES, _PRIOR_SEED = 100_000, 0
_RIDGE = 1e-4  # of the mean variance, added to the covariance
_SLOPE = 0.2  # of the leaky ReLU that a mapping network ends in


class Z(Space):
    """The generator's input, N(0, I)."""

    name = "z"

    @property
    def shape(self) -> tuple[int, ...]:
        return z_shape(self.generator)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return call(self.generator, variables, code, labels, method="map")

    def from_ws(self, ws: jax.Array) -> jax.Array:
        raise UserError("a latent of another space has no z; continue from it in --space=w or w+")

    def mean(self, statistics: Statistics) -> jax.Array:
        return jnp.broadcast_to(statistics.z_central, self.shape)

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        return draw_z(self.generator, key, count)


class W(Space):
    """One row of ws for all layers; where there is no mapping network, z and the label's code."""

    name = "w"

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.generator.w_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return jnp.broadcast_to(code, (code.shape[0], self.generator.num_ws, self.generator.w_dim))

    def from_ws(self, ws: jax.Array) -> jax.Array:
        return maps.without_place(ws).mean(1, keepdims=True)

    def mean(self, statistics: Statistics) -> jax.Array:
        return statistics.w_mean.mean(0, keepdims=True)


class WPlus(Space):
    """A row of ws for each layer."""

    name = "w+"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.generator.num_ws, self.generator.w_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return code

    def from_ws(self, ws: jax.Array) -> jax.Array:
        return maps.without_place(ws)

    def mean(self, statistics: Statistics) -> jax.Array:
        return statistics.w_mean


SPACES: dict[str, type[Space]] = {space.name: space for space in (Z, W, WPlus)}


def make_space(name: str, generator: nn.Module) -> Space:
    """The space of a name, of a generator: one of `SPACES`, or of `jaxgan.latent.maps.KINDS` with its size.

    Raises:
        UserError: an unknown name, or a space that this generator does not have.
    """
    if ":" in name:
        return maps.make(name, generator)
    if name not in SPACES:
        raise UserError(
            f"space {name!r} is not known; use one of {', '.join(SPACES)}, or one of maps such as sw+:8 "
            f"({', '.join(maps.KINDS)})"
        )
    if name == "w" and generator.num_ws > 1 and not has_mapping(generator):
        raise UserError("this generator's layers take different parts of z, so it has no w; use --space=z or w+")
    return SPACES[name](generator)


def statistics(generator: nn.Module, variables: Any) -> Statistics:
    """Statistics of random latents, from 10,000 (mean and distance) and 100,000 draws (Gaussian); classes in turn.

    A mapping network's last leaky ReLU is undone first (its negative side is multiplied by 5), which makes w about
    Gaussian.
    """
    z = np.random.RandomState(_STD_SEED).randn(_STD_SAMPLES, generator.z_dim).astype(np.float32)
    ws = _map_all(generator, variables, z)
    w_mean = ws.mean(0, dtype=np.float64)
    distances = np.square(ws - w_mean).sum(-1).mean(1)
    central = z[distances.argmin()] if has_mapping(generator) else np.zeros(generator.z_dim)
    more = np.random.RandomState(_PRIOR_SEED).randn(_PRIOR_SAMPLES, generator.z_dim).astype(np.float32)
    x = np.asarray(_gaussianise(generator, _map_all(generator, variables, more)), np.float64).swapaxes(0, 1)
    mean = x.mean(1)
    covariance = np.einsum("rni,rnj->rij", x - mean[:, None], x - mean[:, None], optimize=True) / x.shape[1]
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances, 0.0)[:, ::-1], directions[:, :, ::-1]
    deviations = np.sqrt(variances + _RIDGE * variances.mean(1, keepdims=True))
    arrays = (
        np.broadcast_to(w_mean, (generator.num_ws, generator.w_dim)),
        np.sqrt(distances.mean()),
        central,
        mean,
        directions * deviations[:, None],
        (directions / deviations[:, None]).swapaxes(1, 2),
    )
    return Statistics(*(jnp.asarray(a, jnp.float32) for a in arrays))


def _map_all(generator: nn.Module, variables: Any, z: np.ndarray) -> np.ndarray:
    """ws of many z, [n, rows, w_dim]; of rows that are all the same, one."""
    rows = 1 if has_mapping(generator) else generator.num_ws
    classes, size = generator.num_classes, 5_000
    labels = np.arange(size) % classes if classes else None
    parts = [_map(generator, variables, z[i : i + size], labels)[:, :rows] for i in range(0, len(z), size)]
    return np.concatenate([np.asarray(p) for p in parts])


@functools.partial(jax.jit, static_argnums=0)
def _map(generator: nn.Module, variables: Any, z: jax.Array, labels: jax.Array | None) -> jax.Array:
    return call(generator, variables, z, labels, method="map")


def _gaussianise(generator: nn.Module, ws: Any) -> Any:
    return jnp.where(ws >= 0, ws, ws / _SLOPE) if has_mapping(generator) else ws


def to_prior(generator: nn.Module, statistics: Statistics, ws: jax.Array) -> jax.Array:
    """ws [B, rows, w_dim] whitened: N(0, I) for random latents.

    Where all rows are alike (`statistics.mean` of one row) any axes may stand before the last one.
    """
    return _by_rows(statistics.whitener, _gaussianise(generator, ws) - statistics.mean)


def from_prior(generator: nn.Module, statistics: Statistics, v: jax.Array) -> jax.Array:
    """The inverse of `to_prior`."""
    x = statistics.mean + _by_rows(statistics.factor, v)
    return jnp.where(x >= 0, x, x * _SLOPE) if has_mapping(generator) else x


_HIGHEST = jax.lax.Precision.HIGHEST


def kept_components(statistics: Statistics) -> int:
    """Principal components of w that random latents vary in, of a mapping network; the others have no more than the
    ridge.
    """
    variances = np.square(np.asarray(statistics.factor[0])).sum(0)
    return int((variances > 20 * _RIDGE * variances.mean()).sum())


def _by_rows(matrices: jax.Array, x: jax.Array) -> jax.Array:
    """The product of one matrix with every row, or of each row's own with it."""
    if len(matrices) == 1:
        return jnp.einsum("ij,...j->...i", matrices[0], x, precision=_HIGHEST)
    return jnp.einsum("rij,brj->bri", matrices, x, precision=_HIGHEST)


def prior(generator: nn.Module, statistics: Statistics, ws: jax.Array) -> jax.Array:
    """[B]: mean squared whitened number of ws [B, rows, w_dim]; more for unlikelier ones.

    About 1 for random latents, and less where a row holds the code of one of a few classes.
    """
    return jnp.square(to_prior(generator, statistics, ws)).mean((1, 2))


def clamp_to_prior(generator: nn.Module, statistics: Statistics, ws: jax.Array, limit: jax.Array | float) -> jax.Array:
    """ws with every row whose mean squared whitened number is above `limit` drawn towards the mean until it is not."""
    v = to_prior(generator, statistics, ws)
    squares = jnp.square(v).mean(-1, keepdims=True)
    scaled = from_prior(generator, statistics, v * jnp.sqrt(limit / jnp.maximum(squares, limit)))
    return jnp.where(squares > limit, scaled, ws)
