"""Lines and great circles."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.ops.interpolate import lerp, slerp


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
