"""Accumulation rounds and gradients that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.training.gradients import accumulate, finite_gradients, split_rounds


def test_finite_gradients_counts_and_replaces():
    gradients = {"a": jnp.array([1.0, jnp.nan, -jnp.inf]), "b": jnp.array([[jnp.inf, -2.0]])}
    finite, bad = finite_gradients(gradients)
    assert int(bad) == 3
    np.testing.assert_allclose(finite["a"], [1.0, 0.0, -1e5])
    np.testing.assert_allclose(finite["b"], [[1e5, -2.0]])
    assert int(finite_gradients({"a": jnp.ones(3)})[1]) == 0


@pytest.mark.parametrize(
    ("batch", "rounds", "group", "expected"),
    [
        (8, 1, 4, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (8, 2, 2, [[0, 1, 4, 5], [2, 3, 6, 7]]),
        (8, 2, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (8, 4, 4, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (12, 3, 2, [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]),
    ],
)
def test_split_rounds_keeps_groups_and_places(batch, rounds, group, expected):
    """Row i of 8 on device i // 4 of two is still on it in every round of the second case."""
    rows = jnp.arange(batch)
    split = split_rounds({"labels": rows, "images": rows[:, None] * jnp.ones((1, 3))}, rounds, group)
    np.testing.assert_array_equal(split["labels"], expected)
    np.testing.assert_array_equal(split["images"][..., 2], expected)


def test_accumulated_rounds_equal_one_round():
    def loss(params, moving, batch, key):
        value = jnp.mean(jnp.square(batch @ params))
        return value, (moving + 1, {"value": value})

    batch, params = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32), jnp.array([1.0, -2.0, 0.5])
    one, two = (
        accumulate(loss, params, jnp.int32(0), batch.reshape(rounds, -1, 3), jax.random.key(0), rounds)
        for rounds in (1, 2)
    )
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(two[2]["value"], one[2]["value"], rtol=1e-5)
    assert (int(one[1]), int(two[1])) == (1, 2)
