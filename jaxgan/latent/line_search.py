"""A line search for many images at once, each along a direction of its own.

optax's line searches serve one problem. Mapped over images, their conditionals would copy the networks' weights for
each of them; here all images evaluate their trial points in one batch, and those that are done wait.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_DECREASE = 1e-4  # Armijo's share of the slope
_SHRINK = (0.1, 0.5)  # a trial that fails is followed by one between these shares of it
_GROW = 10.0  # the longest step that a parabola may ask for


def search(
    value: Callable[[jax.Array], jax.Array], loss: jax.Array, slope: jax.Array, going: jax.Array, trials: int
) -> tuple[jax.Array, jax.Array]:
    """Lengths of steps that lower the loss: (lengths [B], 0 where none was found, and evaluations [B]).

    The first trial is 1, the second the minimum of the parabola through it, so that on a quadratic the search is exact.
    Of the two the better one is taken, if it lowers the loss by Armijo's rule; otherwise shorter ones are tried.

    Args:
        value: losses [B] at lengths [B].
        loss, slope: [B], at length 0; the slope is negative.
        going: [B], the images that take a step.
        trials: at most, from 2.
    """
    best, best_value = jnp.zeros_like(loss), jnp.full_like(loss, jnp.inf)
    length = jnp.ones_like(loss)

    def parabola(length: jax.Array, at: jax.Array) -> jax.Array:
        """Where the parabola with this slope at 0 and this value at `length` is lowest; NaN where it has no minimum."""
        bend = at - loss - slope * length
        return jnp.where(bend > 0, -slope * jnp.square(length) / (2 * jnp.where(bend > 0, bend, 1.0)), jnp.nan)

    def trial(carry: tuple) -> tuple:
        number, length, best, best_value, done, used = carry
        found = value(length)
        found = jnp.where(jnp.isfinite(found), found, jnp.inf)
        enough = found <= loss + _DECREASE * length * slope
        better = ~done & enough & (found < best_value)
        best, best_value = jnp.where(better, length, best), jnp.where(better, found, best_value)
        used = used + ~done
        done = done | ((number > 0) & jnp.isfinite(best_value))
        lowest = parabola(length, found)
        refined = jnp.where(jnp.isfinite(lowest), jnp.minimum(lowest, _GROW), _GROW)
        shorter = jnp.clip(jnp.where(jnp.isfinite(lowest), lowest, 0.0), *(share * length for share in _SHRINK))
        length = jnp.where(enough, refined, jnp.where((number == 0) & jnp.isfinite(lowest), lowest, shorter))
        return number + 1, length, best, best_value, done, used

    def unfinished(carry: tuple) -> jax.Array:
        return (carry[0] < trials) & ~carry[4].all()

    start = (jnp.int32(0), length, best, best_value, ~going, jnp.zeros(loss.shape, jnp.int32))
    _, _, best, _, _, used = jax.lax.while_loop(unfinished, trial, start)
    return best, used
