"""What the realism direction is compared with: a direction for all, truncation, a supervised boundary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import baselines
from jaxgan.ops.sphere import angle_between, to_sphere
from tests.latent.test_realism import plane_residual


def test_codes_turn_towards_a_direction_by_the_angle_asked_for():
    x = to_sphere(jnp.asarray(np.random.default_rng(0).standard_normal((4, 32)), jnp.float32))
    normal = np.random.default_rng(1).standard_normal(32).astype(np.float32)
    angles = jnp.asarray([0.1, 0.5, 1.0, 1.4])
    moved = baselines.towards(x, normal, angles)
    np.testing.assert_allclose(angle_between(x, moved), angles, atol=1e-5)
    # N(x + t b) for some t > 0: what was added to x is along b.
    for i in range(4):
        assert plane_residual(np.asarray(moved[i]), x[i], normal) < 1e-4
        assert moved[i] @ normal > x[i] @ normal


@pytest.mark.parametrize("degrees", [5, 20, 40])
def test_truncation_by_an_angle(degrees):
    z = np.random.default_rng(0).standard_normal((300, 32)).astype(np.float32)
    cut, limit = baselines.truncated_by(z, np.radians(degrees), jax.random.key(0))
    assert np.degrees(angle_between(z, cut)).mean() == pytest.approx(degrees, abs=0.5)
    assert np.abs(cut).max() <= limit * 1.001
    inside = np.abs(z) <= limit
    np.testing.assert_array_equal(cut[inside], z[inside])


def test_a_boundary_is_found_and_says_how_well_it_holds():
    rng = np.random.default_rng(0)
    codes, normal = rng.standard_normal((4000, 16)), rng.standard_normal(16)
    normal /= np.linalg.norm(normal)
    found = baselines.fit_boundary(codes, codes @ normal + 0.1 * rng.standard_normal(4000))
    assert found.normal @ normal > 0.9
    assert np.linalg.norm(found.normal) == pytest.approx(1, rel=1e-5)
    assert found.accuracy > 0.95
    assert found.used == 112
    chance = baselines.fit_boundary(codes, rng.standard_normal(4000), share=0.25)
    assert 0.4 < chance.accuracy < 0.6


def test_a_boundary_needs_scores():
    codes = np.zeros((4000, 4))
    for scores in (np.zeros(4000), np.full(4000, np.nan)):
        with pytest.raises(UserError, match="score more codes"):
            baselines.fit_boundary(codes, scores)
    with pytest.raises(UserError, match="20 a side"):
        baselines.fit_boundary(codes[:100], np.arange(100.0))
