"""Lines, great circles, curves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops.interpolate import blend, lerp, slerp, slerp_between, spline


def test_ends_and_middle():
    a, b = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]])
    np.testing.assert_allclose(lerp(a, b, 0.5), [[1.0, 1.5]])
    np.testing.assert_allclose(slerp(a, b, 0.0), [[1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, 1.0), [[0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, 0.5), [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_speed_is_constant_and_length_is_one():
    a, b = jax.random.normal(jax.random.key(0), (2, 4, 16))
    points = jnp.stack([slerp(a, b, t) for t in np.linspace(0, 1, 11)])
    np.testing.assert_allclose(jnp.linalg.norm(points, axis=-1), 1, atol=1e-5)
    steps = jnp.linalg.norm(jnp.diff(points, axis=0), axis=-1)
    np.testing.assert_allclose(steps, jnp.broadcast_to(steps[0], steps.shape), rtol=1e-3)


def test_equal_and_zero_vectors_are_finite():
    a = jnp.array([[1.0, 2.0], [0.0, 0.0]])
    assert np.isfinite(slerp(a, a, 0.3)).all()
    assert np.isfinite(jax.grad(lambda x: slerp(x, a, 0.3).sum())(a)).all()


def test_blend_meets_its_ends_exactly():
    a, b = jax.random.normal(jax.random.key(0), (2, 1000)) * jnp.logspace(-6, 6, 1000)
    np.testing.assert_array_equal(blend(a, b, 0.0), a)
    np.testing.assert_array_equal(blend(a, b, 1.0), b)
    for t in (0.1, 0.5, 0.7):
        np.testing.assert_array_equal(blend(a, a, t), a)
        np.testing.assert_allclose(blend(a, b, t), lerp(a, b, t), atol=2e-6 * float(jnp.abs(a - b).max()))
        np.testing.assert_array_equal(blend(a, b, jnp.float32(0.75)), blend(b, a, jnp.float32(0.25)))


def test_slerp_between_keeps_the_lengths():
    a, b = jax.random.normal(jax.random.key(1), (2, 4, 512)) * jnp.array([1.0, 3.0])[:, None, None]
    np.testing.assert_array_equal(slerp_between(a, b, 0.0), a)
    np.testing.assert_array_equal(slerp_between(a, b, 1.0), b)
    lengths = [jnp.linalg.norm(v, axis=-1) for v in (a, b)]
    for t in (0.25, 0.5, 0.9):
        between = slerp_between(a, b, t)
        np.testing.assert_allclose(jnp.linalg.norm(between, axis=-1), lerp(*lengths, t), rtol=1e-5)
        np.testing.assert_allclose(
            between / jnp.linalg.norm(between, axis=-1, keepdims=True), slerp(a, b, t), atol=1e-6
        )
    assert np.isfinite(slerp_between(jnp.zeros((1, 3)), jnp.ones((1, 3)), jnp.linspace(0, 1, 5)[:, None])).all()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("count", [2, 5])
def test_a_spline_passes_through_its_points_smoothly(count, closed):
    curve = jax.jit(functools.partial(spline, closed=closed))
    points = jax.random.normal(jax.random.key(count), (count, 2, 3))
    knots = np.arange(-2, count + 3) if closed else np.arange(count)  # closed, it goes round
    before, at, after = jnp.split(curve(points, np.concatenate([knots - 1e-2, knots, knots + 1e-2])), 3)
    np.testing.assert_array_equal(at, points[knots % count])
    np.testing.assert_allclose(after - at, at - before, atol=2e-3)  # the velocity does not jump


def test_a_spline_is_the_catmull_rom_curve():
    points = jnp.array([[0.0], [1.0], [4.0], [9.0]])
    # Matrix form (Catmull and Rom 1974) of the segment from 1 to 4, at a quarter of it.
    weights = (
        np.array([1, 0.25, 0.25**2, 0.25**3])
        @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
        / 2
    )
    np.testing.assert_allclose(spline(points, jnp.array([1.25])), weights[None] @ np.asarray(points), rtol=1e-6)
    np.testing.assert_allclose(spline(points[:2], jnp.array([0.3])), [[0.3]], rtol=1e-6)  # two points: a line
    far = points.at[3].set(100.0)
    np.testing.assert_array_equal(spline(far, jnp.array([0.5])), spline(points, jnp.array([0.5])))  # local
