"""Optimisers of latents: optax transformations that take the progress of the optimisation, and learning rates.

An optimiser is a frozen dataclass, hashable, with `transform()`: an optax transformation whose update takes `progress`
(share of the steps that are done) and `rate` (the base learning rate). Its state is that of one image: the engine maps
it over images, and searches along the direction where `line_search` is not 0.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan.errors import UserError

_WARM_UP, _COOL_DOWN = 0.05, 0.25  # shares of the steps, of NVIDIA's projector
_NOISE_SHARE = 0.75


def ramp(progress: jax.Array) -> jax.Array:
    """The projector's learning rate as a share of its base: a linear start over 5 %, a cosine end over 25 %."""
    end = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1.0 - progress) / _COOL_DOWN))
    return jnp.minimum(1.0, progress / _WARM_UP) * end


def latent_noise(progress: jax.Array) -> jax.Array:
    """The projector's latent noise as a share of its start: max(0, 1 - progress / 0.75) squared."""
    return jnp.square(jnp.maximum(0.0, 1.0 - progress / _NOISE_SHARE))


def constant(progress: jax.Array) -> jax.Array:
    """Always the base rate."""
    return jnp.ones_like(progress)


def staircase(progress: jax.Array) -> jax.Array:
    """A tenth after two fifths of the steps, a hundredth after four fifths: x 0.1 every 200 of 500."""
    return 0.1 ** jnp.floor(progress * 2.5 + 1e-4)


def halves(progress: jax.Array) -> jax.Array:
    """A tenth in the second half."""
    return 0.1 ** jnp.floor(progress * 2.0 + 1e-4)


SCHEDULES = {"ramp": ramp, "constant": constant, "staircase": staircase, "halves": halves}


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam whose rate follows a schedule."""

    beta1: float = 0.9
    beta2: float = 0.999
    schedule: str = "ramp"
    line_search = 0  # trials; none

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """Of one image."""
        return optax.chain(optax.scale_by_adam(self.beta1, self.beta2, 1e-8), _descend(self.schedule))


@dataclasses.dataclass(frozen=True)
class Lbfgs:
    """L-BFGS with a line search; `rate` is not used. The objective must be the same function at every step.

    Attributes:
        memory: pairs of steps and changes of the gradient that are kept.
        line_search: trials at most; see `jaxgan.latent.line_search`.
    """

    memory: int = 10
    line_search: int = 10

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """Of one image: the gradient to the direction of descent."""
        inner = optax.chain(optax.scale_by_lbfgs(self.memory), optax.scale(-1.0))
        return optax.with_extra_args_support(inner)


Optimiser = Adam | Lbfgs
OPTIMISERS = {"adam": Adam, "lbfgs": Lbfgs}


def make_optimiser(config: Any) -> Optimiser:
    """The optimiser of a config's `optimizer` part.

    Raises:
        UserError: an unknown kind or schedule.
    """
    if config["kind"] not in OPTIMISERS:
        raise UserError(f"config.optimizer.kind={config['kind']!r} is not known; use one of {', '.join(OPTIMISERS)}")
    if config["schedule"] not in SCHEDULES:
        raise UserError(
            f"config.optimizer.schedule={config['schedule']!r} is not known; use one of {', '.join(SCHEDULES)}"
        )
    if config["kind"] == "lbfgs":
        return Lbfgs(config["memory"], config["line_search"])
    return Adam(config["beta1"], config["beta2"], config["schedule"])


def _descend(schedule: str) -> optax.GradientTransformationExtraArgs:
    """Multiplies by minus the learning rate of the moment."""

    def update(updates: Any, state: Any, params: Any = None, *, progress: jax.Array, rate: jax.Array, **_: Any) -> Any:
        factor = -rate * SCHEDULES[schedule](progress)
        return jax.tree.map(lambda u: factor * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
