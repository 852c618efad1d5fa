"""Maps of z: normal everywhere, correlated as the formula says, the same wherever a window lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.prior import Prior, draw, window

MIXED = Prior(0.3, ((1.0, 0.4), (2.0, 0.3)))


def maps(prior, count=400, dim=64):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: draw(prior, key, (6, 9), dim)))(keys))


def test_variance_and_correlation_are_those_of_the_formula():
    z = maps(MIXED)
    assert z.std() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(z.var((0, 3)), 1.0, atol=0.03)  # at every position, corners included
    found = [(z[:, :, :1] * z[:, :, d : d + 1]).mean() for d in range(9)]
    np.testing.assert_allclose(found, MIXED.correlation(np.arange(9)), atol=0.02)
    assert np.all(np.diff(found) < 0.005)  # it falls with the distance
    diagonal = (z[:, 0, 0] * z[:, 2, 2]).mean()
    assert diagonal == pytest.approx(MIXED.correlation(np.asarray(8**0.5)), abs=0.03)
    channels = np.corrcoef(z[:, 0, 0].T)
    assert np.abs(channels - np.eye(64)).max() < 0.3


def test_one_share_for_all_positions_is_stylegan2():
    z = maps(Prior(1.0, ()), count=3)
    np.testing.assert_array_equal(z, np.broadcast_to(z[:, :1, :1], z.shape))
    assert z.std() == pytest.approx(1.0, abs=0.1)


def test_a_window_is_a_part_of_the_whole():
    key = jax.random.key(4)
    whole = window(MIXED, key, (-3, -5), (12, 14), 4)
    part = jax.jit(lambda top, left: window(MIXED, key, (top, left), (4, 5), 4))(jnp.int32(-1), jnp.int32(2))
    np.testing.assert_allclose(part, whole[2:6, 7:12], atol=1e-6)
    assert not np.allclose(window(MIXED, jax.random.key(5), (-3, -5), (12, 14), 4), whole, atol=0.1)


def test_windows_have_the_same_distribution():
    keys = jax.random.split(jax.random.key(0), 200)
    z = np.asarray(jax.jit(jax.vmap(lambda key: window(MIXED, key, (-2, 5), (4, 4), 64)))(keys))
    np.testing.assert_allclose(z.var((0, 3)), 1.0, atol=0.04)
    found = [(z[:, :, :1] * z[:, :, d : d + 1]).mean() for d in range(4)]
    np.testing.assert_allclose(found, MIXED.correlation(np.arange(4)), atol=0.03)
