"""Minibatch deviation: contiguous groups, and the official strided ones after a permutation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops.statistics import minibatch_stddev
from tests import parity


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def official(x, group):
    """The released code's grouping: rows N / group apart, [G, N / G, ...] with the group axis slowest."""
    n, height, width, channels = x.shape
    group = min(group, n)
    y = x.reshape(group, n // group, height, width, channels)
    y = np.sqrt(np.mean((y - y.mean(axis=0)) ** 2, axis=0) + 1e-8).mean(axis=(1, 2, 3))
    y = np.tile(y, group)[:, None, None, None] * np.ones((1, height, width, 1))
    return np.concatenate((x, y), axis=-1)


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (6, 2), (8, 8), (3, 4)])
def test_equals_the_official_grouping_after_a_permutation(batch, group):
    x = normal(batch, 2, 3, 5)
    order = parity.contiguous(batch, group)
    np.testing.assert_allclose(minibatch_stddev(x[order], group), official(x, group)[order], rtol=1e-5, atol=1e-6)


def test_groups_are_contiguous_rows():
    x = normal(8, 2, 2, 3)
    alone = minibatch_stddev(x[4:], 4)
    np.testing.assert_allclose(minibatch_stddev(x, 4)[4:], alone, rtol=1e-6)


def test_a_group_of_one_makes_images_independent():
    x = normal(4, 2, 2, 3)
    y = minibatch_stddev(x, 1)
    np.testing.assert_allclose(y[..., -1], np.sqrt(1e-8), rtol=1e-4)
    np.testing.assert_array_equal(minibatch_stddev(x[:1], 1), y[:1])


def test_gradient_is_finite_where_all_images_are_equal():
    """The root carries an epsilon: generators do collapse."""
    gradient = jax.grad(lambda x: jnp.sum(minibatch_stddev(x, 4)))(jnp.ones((4, 2, 2, 3)))
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_a_batch_that_is_no_multiple_of_the_group():
    with pytest.raises(ValueError, match="a batch of 6 is no multiple of the group of 4"):
        minibatch_stddev(normal(6, 2, 2, 3), 4)
