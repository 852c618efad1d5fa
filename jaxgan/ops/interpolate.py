"""Between two latents: in a straight line, or along the sphere."""

import jax
import jax.numpy as jnp


def lerp(a: jax.Array, b: jax.Array, t: jax.Array | float) -> jax.Array:
    """a at t = 0, b at t = 1; t broadcasts against both."""
    return a + (b - a) * t


def slerp(a: jax.Array, b: jax.Array, t: jax.Array | float) -> jax.Array:
    """Along the great circle between the directions of two batches of vectors [..., D]; the result has length 1.

    As in StyleGAN's path length. Where the two directions agree, or are opposite, the circle is not unique and the
    result stays at the first.
    """
    a, b = _unit(a), _unit(b)
    cosine = jnp.sum(a * b, axis=-1, keepdims=True)
    angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    across = _unit(b - cosine * a)
    return _unit(a * jnp.cos(angle) + across * jnp.sin(angle))


def _unit(x: jax.Array) -> jax.Array:
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squares > 0, x * jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
