"""The least value of a function of one number an image, by values alone: a grid, then finer ones at its best point."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxgan import compiler


class OfOneNumber(Protocol):
    """Hashable, equal where it computes the same; row i of what `at` gives depends on number i alone."""

    def at(self, variables: Any, number: jax.Array, target: Any) -> jax.Array:
        """[B] of numbers [B]."""


def _search(
    objective: OfOneNumber,
    counts: tuple[int, ...],
    variables: Any,
    target: Any,
    low: jax.Array,
    high: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def at(number: jax.Array) -> jax.Array:
        value = objective.at(variables, number, target)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    best, least = low, jnp.full_like(low, jnp.inf)
    first, last = low, high
    for count in counts:
        width = (last - first) / (count - 1)

        def one(carry: Any, k: jax.Array, first: jax.Array = first, width: jax.Array = width) -> tuple[Any, None]:
            best, least = carry
            number = first + k * width
            value = at(number)
            return (jnp.where(value < least, number, best), jnp.minimum(value, least)), None

        (best, least), _ = jax.lax.scan(one, (best, least), jnp.arange(count, dtype=jnp.float32))
        first, last = jnp.maximum(low, best - width), jnp.minimum(high, best + width)
    return best, least


search = compiler.jit(_search, static_argnums=(0, 1))
"""`search(objective, counts, variables, target, low, high)`: ([B] the number, [B] the value there).

A grid of `counts[0]` numbers (at least 2) from `low` to `high` [B], then one of `counts[1]` between the neighbours of
its best number, and so on. A value that is not finite is no candidate; where none is finite, the value is infinite.
Compiled once for equal objectives.
"""


def evaluations(counts: tuple[int, ...]) -> int:
    """How often a search calls its function."""
    return sum(counts)
