"""Between latents: in a straight line, along the sphere, along a curve through many."""

import jax
import jax.numpy as jnp


def lerp(a: jax.Array, b: jax.Array, t: jax.Array | float) -> jax.Array:
    """a at t = 0, b at t = 1 but for rounding; t broadcasts against both."""
    return a + (b - a) * t


def blend(a: jax.Array, b: jax.Array, t: jax.Array | float) -> jax.Array:
    """`lerp` that is exactly a at t = 0, exactly b at t = 1, and exactly both where they are equal."""
    return jnp.where(t < 0.5, a + (b - a) * t, b - (b - a) * (1.0 - t))


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


def slerp_between(a: jax.Array, b: jax.Array, t: jax.Array | float) -> jax.Array:
    """`slerp` that keeps the lengths, which change linearly; exactly a at t = 0 and exactly b at t = 1.

    For Gaussian latents [..., D]: their lengths are all about sqrt(D), and the middle of a straight line between two is
    shorter than any that was ever drawn (White 2016, arXiv 1609.04468).
    """
    length = blend(_length(a), _length(b), t)
    return jnp.where(t == 0, a, jnp.where(t == 1, b, slerp(a, b, t) * length))


def spline(points: jax.Array, t: jax.Array, closed: bool = False) -> jax.Array:
    """A uniform Catmull-Rom curve: exactly points[k] at t = k, with a continuous first derivative.

    Chosen over the natural cubic, whose second derivative is continuous too, because a key point bends only the two
    segments on either side of it, so that replacing one leaves the rest of a long walk as it was. Uniform times suit
    latents: random ones are all about equally far apart. The curve of two points is the straight line.

    Args:
        points: [K, ...], K >= 2.
        t: [N], in [0, K - 1]; if closed any, with period K.
        closed: whether the last point leads back to the first.

    Returns:
        [N, ...].
    """
    points, t = jnp.asarray(points), jnp.asarray(t)
    count = points.shape[0]
    if closed:
        tangents = (jnp.roll(points, -1, 0) - jnp.roll(points, 1, 0)) / 2
        t = jnp.mod(t, count)
    else:
        # The end points' outer neighbours are their inner ones, mirrored.
        ends = points[1:] - points[:-1]
        tangents = jnp.concatenate([ends[:1], (points[2:] - points[:-2]) / 2, ends[-1:]])
    first = jnp.clip(jnp.floor(t).astype(jnp.int32), 0, count - 1 - (not closed))
    last = (first + 1) % count
    u = (t - first).reshape(-1, *(1,) * (points.ndim - 1))
    v = 1.0 - u
    return (
        points[first] * ((1.0 + 2.0 * u) * v * v)
        + points[last] * ((1.0 + 2.0 * v) * u * u)
        + tangents[first] * (u * v * v)
        - tangents[last] * (u * u * v)
    )


def _unit(x: jax.Array) -> jax.Array:
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squares > 0, x * jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _length(x: jax.Array) -> jax.Array:
    return jnp.linalg.norm(x, axis=-1, keepdims=True)
