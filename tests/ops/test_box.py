"""Resampling with the box filter: against NumPy, and the fused convolutions against the two operations in a row."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops import box
from jaxgan.ops.conv import conv


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)))


def test_upsampling_repeats_pixels():
    x = normal(0, 2, 3, 4, 2)
    np.testing.assert_array_equal(box.nearest_upsample(x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_downsampling_averages_pixels():
    x = normal(0, 2, 6, 4, 3)
    expected = np.zeros((2, 3, 2, 3))
    for i, j in itertools.product(range(3), range(2)):
        expected[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(1, 2))
    close(box.box_downsample(x), expected)


def test_blur_equals_the_definition():
    x = normal(0, 2, 4, 3, 2)
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros(x.shape)
    for i, j in itertools.product(range(4), range(3)):
        expected[:, i, j] = np.einsum("nabc,ab->nc", padded[:, i : i + 3, j : j + 3], taps)
    close(box.blur(x), expected)


CONVOLUTIONS = {
    "up": (
        box.nearest_upsample_conv,
        lambda x, w: conv(box.nearest_upsample(x), w, padding=1),
        (2, 3, 5, 3),
    ),
    "down": (
        box.box_downsample_conv,
        lambda x, w: box.box_downsample(conv(x, w, padding=1)),
        (2, 6, 10, 3),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fused_equals_unfused(name):
    """In value and in the derivatives that a gradient penalty takes."""
    fused, unfused, shape = CONVOLUTIONS[name]
    x, w = normal(0, *shape), normal(1, 3, 3, 3, 4)

    def everything(function):
        def f(x, w):
            return jnp.sum(jnp.sin(0.3 * function(x, w)))

        gradient = jax.grad(f, argnums=(0, 1))
        second = jax.grad(lambda x, w: jnp.sum(jnp.square(gradient(x, w)[0])), argnums=(0, 1))
        return function(x, w), gradient(x, w), second(x, w)

    ours, expected = (jax.jit(lambda f=f: everything(f))() for f in (fused, unfused))
    jax.tree.map(close, ours, expected)


@pytest.mark.parametrize("function", [box.nearest_upsample, box.box_downsample, box.blur])
def test_dtype_is_kept(function):
    x = jnp.asarray(normal(0, 1, 4, 4, 2), jnp.bfloat16)
    out = function(x)
    assert out.dtype == jnp.bfloat16
    close(np.asarray(out, np.float32), np.asarray(function(x.astype(jnp.float32))), 0.02)
