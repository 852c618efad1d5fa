"""From a loss to a gradient that an optimiser can take: accumulated over rounds, finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Metrics = dict[str, jax.Array]


def finite_gradients(gradients: Any) -> tuple[Any, jax.Array]:
    """nan -> 0 and +-inf -> +-1e5, as the official loop does before each update; and how many values that were."""
    bad = sum(jnp.sum(~jnp.isfinite(g)) for g in jax.tree.leaves(gradients))
    return jax.tree.map(lambda g: jnp.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5), gradients), bad


def split_rounds(batch: Any, rounds: int, group: int) -> Any:
    """[B, ...] -> [rounds, B / rounds, ...], minibatch-deviation groups kept whole and every row on its device."""

    def split(x):
        g = min(group, x.shape[0] // rounds)
        x = x.reshape(x.shape[0] // (rounds * g), rounds, g, *x.shape[1:]).swapaxes(0, 1)
        return x.reshape(rounds, -1, *x.shape[3:])

    return jax.tree.map(split, batch)


def accumulate(
    loss: Callable[..., tuple[jax.Array, tuple[Any, Metrics]]],
    params: Any,
    moving: Any,
    batches: Any,
    key: jax.Array,
    rounds: int,
) -> tuple[Any, Any, Metrics]:
    """Mean gradient of `loss(params, moving, batch, key) -> (value, (moving, metrics))` over the rounds.

    The official code sums rounds; the mean equals one large batch, and Adam does not see the difference.
    """
    gradient = jax.grad(loss, has_aux=True)

    def one(carry, xs):
        total, moving = carry
        batch, index = xs
        gradients, (moving, metrics) = gradient(params, moving, batch, jax.random.fold_in(key, index))
        return (jax.tree.map(jnp.add, total, gradients), moving), metrics

    if rounds == 1:
        batch = jax.tree.map(lambda x: x[0], batches)
        gradients, (moving, metrics) = gradient(params, moving, batch, jax.random.fold_in(key, 0))
        return gradients, moving, metrics
    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, moving), metrics = jax.lax.scan(one, (zeros, moving), (batches, jnp.arange(rounds)))
    return (
        jax.tree.map(lambda g: g / rounds, total),
        moving,
        jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics),
    )
