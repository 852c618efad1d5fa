"""The order of bias, activation, gain and clamp."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops.activation import bias_act, leaky_relu, normalize_2nd_moment

X = jnp.array([[-3.0, -1.0], [1.0, 4.0]])
BIAS = jnp.array([2.0, -2.0])


def test_leaky_relu():
    np.testing.assert_allclose(leaky_relu(jnp.array([-5.0, 0.0, 5.0])), [-1.0, 0.0, 5.0])


def test_bias_comes_before_the_activation_and_gain_after():
    expected = np.array([[0.2 * -1, 0.2 * -3], [3, 2]]) * math.sqrt(2) * 0.5
    np.testing.assert_allclose(bias_act(X, BIAS, "lrelu", gain=0.5), expected, rtol=1e-6)


def test_clamp_comes_last_and_leaves_the_gain_out():
    out = bias_act(X, BIAS, "lrelu", gain=10.0, clamp=4.0)
    np.testing.assert_allclose(out, [[-0.2 * math.sqrt(2) * 10, -4.0], [4.0, 4.0]], rtol=1e-6)


def test_linear_has_no_gain_of_its_own():
    np.testing.assert_allclose(bias_act(X, BIAS, "linear"), X + BIAS)
    np.testing.assert_allclose(bias_act(X, None, "linear", gain=3.0), 3 * X)


def test_dtype_is_that_of_the_input():
    assert bias_act(X.astype(jnp.bfloat16), BIAS, "lrelu", gain=0.5, clamp=1.0).dtype == jnp.bfloat16


def test_unknown_activation():
    with pytest.raises(ValueError, match="'relu' is not 'lrelu' or 'linear'"):
        bias_act(X, BIAS, "relu")


def test_normalize_2nd_moment():
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32) * 50
    y = np.asarray(normalize_2nd_moment(x))
    np.testing.assert_allclose(np.mean(y**2, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y / y[:, :1], x / x[:, :1], rtol=1e-4)
    assert np.all(np.asarray(normalize_2nd_moment(jnp.zeros((1, 4)))) == 0)
