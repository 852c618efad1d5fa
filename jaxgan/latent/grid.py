"""The least value of a function of one number an image, by values alone: a grid, then finer ones at its best point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import compiler


def _search(
    function: Callable[[Any, jax.Array, Any], jax.Array],
    counts: tuple[int, ...],
    variables: Any,
    target: Any,
    low: jax.Array,
    high: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def at(number: jax.Array) -> jax.Array:
        value = function(variables, number, target)
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
"""`search(function, counts, variables, target, low, high)`: ([B] the number, [B] the value there).

`function(variables, numbers [B], target) -> [B]` is hashable, row i of it depends on number i alone; a grid of
`counts[0]` numbers (at least 2) from `low` to `high` [B], then one of `counts[1]` between the neighbours of its best
number, and so on. A value that is not finite is no candidate; where none is finite, the value is infinite.
"""


def evaluations(counts: tuple[int, ...]) -> int:
    """How often a search calls its function."""
    return sum(counts)
