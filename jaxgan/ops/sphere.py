"""On the sphere of radius sqrt(D), where Gaussian latents lie: projection, angles, great circles, arcs, walks.

Codes are [..., D]; angles are in radians and lack the last axis. Everything is written so that opposite, equal and zero
vectors give numbers, never NaN.
"""

import jax
import jax.numpy as jnp

_EPS = 1e-8


def to_sphere(z: jax.Array) -> jax.Array:
    """z / sqrt(mean(z^2) + 1e-8), as Progressive GAN normalises its latent; zeros stay zeros."""
    return z * jax.lax.rsqrt(jnp.square(z).mean(-1, keepdims=True) + _EPS)


def angle_between(a: jax.Array, b: jax.Array) -> jax.Array:
    """The angle of two directions, in [0, pi]; exact for small ones too, which an arc cosine is not."""
    a, b = _unit(a), _unit(b)
    return 2.0 * jnp.arctan2(_length(a - b), _length(a + b))


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Of the angle of two directions."""
    return (_unit(a) * _unit(b)).sum(-1)


def across(x: jax.Array, y: jax.Array) -> jax.Array:
    """The unit vector at right angles to x in the plane of x and y, on y's side; zeros where the two are parallel."""
    u, y = _unit(x), _unit(y)
    return _unit(y - (y * u).sum(-1, keepdims=True) * u, least=1e-5)


def turned(x: jax.Array, v: jax.Array, angle: jax.Array) -> jax.Array:
    """x, a point of the sphere, turned by an angle towards a unit vector v at right angles to it."""
    radius = jnp.sqrt(jnp.float32(x.shape[-1]))
    angle = jnp.asarray(angle)[..., None]
    return to_sphere(jnp.cos(angle) * x + radius * jnp.sin(angle) * v)


def arc(x: jax.Array, p: jax.Array, s: jax.Array) -> jax.Array:
    """The point s of the way from x to p: N(s p + (1 - s) x), a straight line drawn onto the sphere.

    It runs along the great circle, slower at its ends than in its middle; see `share_to_angle`.
    """
    s = jnp.asarray(s)[..., None]
    return to_sphere(s * p + (1.0 - s) * x)


def share_to_angle(s: jax.Array, whole: jax.Array) -> jax.Array:
    """How far `arc` has turned at s, if x and p are `whole` apart."""
    return jnp.arctan2(s * jnp.sin(whole), 1.0 - s + s * jnp.cos(whole))


def next_point(previous: jax.Array, current: jax.Array) -> jax.Array:
    """As far again in the same direction: N(2 current - previous). The angles of such steps shrink."""
    return to_sphere(2.0 * current - previous)


def walk(x: jax.Array, y: jax.Array, steps: int) -> jax.Array:
    """The walk x, y, and on by `next_point`: [..., steps, D], steps >= 2."""
    points = [x, y]
    while len(points) < steps:
        points.append(next_point(*points[-2:]))
    return jnp.stack(points[:steps], axis=-2)


def _length(x: jax.Array) -> jax.Array:
    """The length of x, whose gradient at 0 is 0."""
    squares = jnp.square(x).sum(-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _unit(x: jax.Array, least: float = 0.0) -> jax.Array:
    """x over its length, zeros where that is no more than `least`."""
    squares = jnp.square(x).sum(-1, keepdims=True)
    long = squares > least**2
    return jnp.where(long, x * jax.lax.rsqrt(jnp.where(long, squares, 1.0)), 0.0)
