"""Schedules at their published values; L-BFGS on a quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.latent.optimise import Program, Settings, optimise
from jaxgan.latent.optimisers import Adam, Lbfgs, latent_noise, make_optimiser, ramp


@pytest.mark.parametrize(
    ("progress", "rate", "noise"),
    [(0.0, 0.0, 0.05), (0.05, 0.1, 0.043556), (0.5, 0.1, 0.005556), (0.75, 0.1, 0.0), (0.9, 0.034549, 0.0), (1, 0, 0)],
)
def test_schedules_of_the_projector(progress, rate, noise):
    t = jnp.float32(progress)
    np.testing.assert_allclose(0.1 * ramp(t), rate, atol=1e-6)
    np.testing.assert_allclose(0.05 * latent_noise(t), noise, atol=1e-6)


def quadratic(variables, latent, target, keys, progress):
    """Each image its own minimum and curvatures."""
    difference = latent["x"] - target["at"]
    return 0.5 * jnp.sum(variables["curvature"] * difference * difference, -1), {}


def solve(optimiser, steps, at, chunk=3, **settings):
    variables = {"curvature": jnp.asarray([1.0, 5.0, 20.0, 0.3])}
    keys = jax.random.split(jax.random.key(0), len(at))
    start = {"x": jnp.zeros_like(at)}
    program = Program(quadratic, optimiser, chunk=chunk)
    return optimise(program, variables, start, {"at": at}, keys, Settings(steps, **settings))


def test_lbfgs_solves_a_quadratic_within_its_dimension_and_two_steps():
    at = jnp.asarray([[1.0, -2.0, 3.0, 0.5], [0.1, 0.2, -0.3, 40.0]])
    found = solve(Lbfgs(), 6, at)
    np.testing.assert_allclose(found.carry.latent["x"], at, atol=2e-3)
    assert (found.carry.evaluations >= found.carry.used).all()


def test_a_stopped_image_stays_while_others_go_on():
    at = jnp.asarray([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])  # the first starts at its minimum
    found = solve(Adam(schedule="constant"), 60, at, rate=0.05, tolerance=1e-3, patience=5)
    assert found.carry.used[0] <= 8
    assert found.carry.used[1] > 20
    assert np.isnan(found.losses[20, 0])
    assert np.isfinite(found.losses[20, 1])


def test_steps_beyond_the_last_are_not_taken():
    at = jnp.ones((1, 4))
    seven, nine = solve(Adam(schedule="constant"), 7, at, chunk=7), solve(Adam(schedule="constant"), 7, at, chunk=3)
    np.testing.assert_array_equal(seven.carry.latent["x"], nine.carry.latent["x"])
    assert seven.losses.shape == nine.losses.shape == (7, 1)
    assert nine.carry.used[0] == 7


def test_unknown_names_are_refused():
    optimizer = configs.load("invert").optimizer
    with pytest.raises(UserError, match="adam, lbfgs"):
        make_optimiser(optimizer.to_dict() | {"kind": "sgd"})
    with pytest.raises(UserError, match="ramp, constant"):
        make_optimiser(optimizer.to_dict() | {"schedule": "cosine"})
