"""The sphere of Gaussian latents: projection, angles, circles, arcs, walks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops import sphere

RNG = np.random.default_rng(0)


def codes(n=5, dim=64):
    return sphere.to_sphere(jnp.asarray(RNG.standard_normal((n, dim)), jnp.float32))


def test_codes_have_the_length_of_gaussian_ones():
    x = codes(dim=512)
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), np.sqrt(512), rtol=1e-6)
    np.testing.assert_allclose(sphere.to_sphere(x), x, rtol=1e-5)
    assert not sphere.to_sphere(jnp.zeros((2, 8))).any()


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, np.pi / 2, 3.0, np.pi])
def test_a_turn_is_measured_as_it_was_made(angle):
    x, y = codes(), codes()
    v = sphere.across(x, y)
    np.testing.assert_allclose((v * x).sum(-1), 0, atol=1e-4)
    z = sphere.turned(x, v, jnp.full(5, angle))
    np.testing.assert_allclose(sphere.angle_between(x, z), angle, atol=2e-4 if angle > 3 else 1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 8, rtol=1e-6)


def test_turned_by_the_angle_to_y_is_y():
    x, y = codes(), codes()
    np.testing.assert_allclose(sphere.turned(x, sphere.across(x, y), sphere.angle_between(x, y)), y, atol=1e-5)


def test_an_arc_begins_ends_and_turns_as_it_says():
    x, p = codes(), codes()
    whole = sphere.angle_between(x, p)
    np.testing.assert_allclose(sphere.arc(x, p, jnp.zeros(5)), x, rtol=1e-5)
    np.testing.assert_allclose(sphere.arc(x, p, jnp.ones(5)), p, rtol=1e-5)
    for s in (0.1, 0.5, 0.75):
        turned = sphere.angle_between(x, sphere.arc(x, p, jnp.full(5, s)))
        np.testing.assert_allclose(turned, sphere.share_to_angle(s, whole), atol=1e-5)


@pytest.mark.parametrize(("whole", "angles"), [(90, [45, 56.3, 66.8, 71.6]), (150, [75, 111.7, 131.2, 136.8])], ids=str)
def test_angles_of_shares_are_the_published_ones(whole, angles):
    found = [np.degrees(sphere.share_to_angle(s, np.radians(whole))) for s in (0.5, 0.6, 0.7, 0.75)]
    np.testing.assert_allclose(found, angles, atol=0.1)


def test_the_angles_of_the_plain_walk_shrink():
    """60, 30, 23.8, 20.4 degrees; it stays on the circle of its first two points."""
    x = codes(1)
    y = sphere.turned(x, sphere.across(x, codes(1)), jnp.radians(jnp.full(1, 60.0)))
    walk = sphere.walk(x, y, 8)[0]
    assert walk.shape == (8, 64)
    steps = np.degrees(sphere.angle_between(walk[:-1], walk[1:]))
    np.testing.assert_allclose(steps[:4], [60, 30, 23.8, 20.4], atol=0.1)
    basis = np.linalg.qr(np.stack([x[0], y[0]]).T)[0]
    residual = walk - (walk @ basis) @ basis.T
    assert np.abs(residual).max() < 1e-4


@pytest.mark.parametrize("other", ["same", "opposite", "zero"])
def test_what_has_no_direction_gives_numbers_and_gradients(other):
    x = codes(1)
    y = {"same": x, "opposite": -x, "zero": 0 * x}[other]

    def everything(x, y):
        v = sphere.across(x, y)
        parts = (v, sphere.turned(x, v, jnp.ones(1)), sphere.arc(x, y, jnp.full(1, 0.5)), sphere.walk(x, y, 3))
        return sum(part.sum() for part in parts) + sphere.angle_between(x, y).sum()

    value, gradients = jax.value_and_grad(everything, (0, 1))(x, y)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)
