"""Latent spaces: where a generator's images are looked for. A space knows its codes' shape and their way to `ws`.

`ws` [B, num_ws, w_dim] is what every generator synthesises from. A new space is a class and a line in `SPACES`.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.networks.gan import call

_STD_SAMPLES, _STD_SEED = 10_000, 123  # of NVIDIA's projector
_PRIOR_SAMPLES, _PRIOR_SEED = 100_000, 0
_RIDGE = 1e-4  # of the mean variance, added to the covariance
_SLOPE = 0.2  # of the leaky ReLU that a mapping network ends in


@flax.struct.dataclass
class Statistics:
    """What random latents look like; a pytree, an argument of every latent program.

    Attributes:
        w_mean: [num_ws, w_dim], the mean of ws.
        w_std: scalar, the root mean square distance of a row from its mean (not a deviation per number), as in NVIDIA's
            projector.
        z_central: [z_dim], the z at the mean: 0, or with a mapping network, which is singular there, the one of 10,000
            whose w is nearest to the mean.
        mean, factor, whitener: of Gaussianised rows x = mean + factor v, v = whitener (x - mean) ~ N(0, I); one
            Gaussian for all rows where they are alike, [1, w_dim] and [1, w_dim, w_dim], else one each.
    """

    w_mean: jax.Array
    w_std: jax.Array
    z_central: jax.Array
    mean: jax.Array
    factor: jax.Array
    whitener: jax.Array


def has_mapping(generator: nn.Module) -> bool:
    """Whether w comes out of a mapping network, the same for every layer; otherwise ws are parts of z."""
    return hasattr(generator, "mapping_layers")


@dataclasses.dataclass(frozen=True)
class Space:
    """A latent space of a generator; hashable, so that it can be a static argument."""

    generator: nn.Module

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image's code."""
        raise NotImplementedError

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Codes [B, *shape] (labels [B, num_classes], where z is mapped with them) -> ws [B, num_ws, w_dim]."""
        raise NotImplementedError

    def from_ws(self, ws: jax.Array) -> jax.Array:
        """The codes that are nearest to given ws; for spaces of ws."""
        raise NotImplementedError

    def mean(self, statistics: Statistics) -> jax.Array:
        """The code at the mean, [*shape]."""
        raise NotImplementedError

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        """Codes [count, *shape] of random latents, z ~ N(0, I)."""
        z = jax.random.normal(key, (count, self.generator.z_dim))
        return self.from_ws(call(self.generator, variables, z, labels, method="map"))


class Z(Space):
    """The generator's input, N(0, I)."""

    name = "z"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.generator.z_dim,)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return call(self.generator, variables, code, labels, method="map")

    def from_ws(self, ws: jax.Array) -> jax.Array:
        raise UserError("a latent of another space has no z; continue from it in --space=w or w+")

    def mean(self, statistics: Statistics) -> jax.Array:
        return statistics.z_central

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        return jax.random.normal(key, (count, self.generator.z_dim))


class W(Space):
    """One row of ws for all layers; where there is no mapping network, z and the label's code."""

    name = "w"

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.generator.w_dim)

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return jnp.broadcast_to(code, (code.shape[0], self.generator.num_ws, self.generator.w_dim))

    def from_ws(self, ws: jax.Array) -> jax.Array:
        return ws.mean(1, keepdims=True)

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
        return ws

    def mean(self, statistics: Statistics) -> jax.Array:
        return statistics.w_mean


SPACES: dict[str, type[Space]] = {space.name: space for space in (Z, W, WPlus)}


def make_space(name: str, generator: nn.Module) -> Space:
    """The space of a name, of a generator.

    Raises:
        UserError: an unknown name, or a space that this generator does not have.
    """
    if name not in SPACES:
        raise UserError(f"space {name!r} is not known; use one of {', '.join(SPACES)}")
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
    diagonal = np.einsum("rii->r", covariance) / covariance.shape[-1]
    factor = np.linalg.cholesky(covariance + _RIDGE * diagonal[:, None, None] * np.eye(covariance.shape[-1]))
    arrays = (
        np.broadcast_to(w_mean, (generator.num_ws, generator.w_dim)),
        np.sqrt(distances.mean()),
        central,
        mean,
        factor,
        np.linalg.inv(factor),
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
    """ws [B, rows, w_dim] whitened: N(0, I) for random latents."""
    centred = _gaussianise(generator, ws) - statistics.mean
    return jnp.einsum("rij,brj->bri", _for_rows(statistics.whitener, ws), centred, precision=_HIGHEST)


def from_prior(generator: nn.Module, statistics: Statistics, v: jax.Array) -> jax.Array:
    """The inverse of `to_prior`."""
    x = statistics.mean + jnp.einsum("rij,brj->bri", _for_rows(statistics.factor, v), v, precision=_HIGHEST)
    return jnp.where(x >= 0, x, x * _SLOPE) if has_mapping(generator) else x


_HIGHEST = jax.lax.Precision.HIGHEST


def _for_rows(matrices: jax.Array, ws: jax.Array) -> jax.Array:
    return jnp.broadcast_to(matrices, (ws.shape[1], *matrices.shape[1:]))


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
