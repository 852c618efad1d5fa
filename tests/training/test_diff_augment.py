"""DiffAugment against loops over images and pixels that are given the same parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.training.diff_augment import POLICIES, diff_augment, draw

SHAPE = (6, 8, 12, 3)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def color(x, i, draws):
    x = x + draws.brightness[i]
    for pixel in np.ndindex(x.shape[:2]):
        x[pixel] = x[pixel].mean() + (x[pixel] - x[pixel].mean()) * draws.saturation[i]
    return x.mean() + (x - x.mean()) * draws.contrast[i]


def translation(x, i, draws):
    out = np.zeros_like(x)
    for r, c in np.ndindex(x.shape[:2]):
        row, column = np.array((r, c)) + draws.translation[i]
        if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
            out[r, c] = x[row, column]
    return out


def cutout(x, i, draws):
    x = x.copy()
    for r in range(x.shape[0] // 2):
        for c in range(x.shape[1] // 2):
            row, column = np.array((r, c)) + draws.cutout[i]
            if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
                x[row, column] = 0
    return x


LOOPS = {"color": color, "translation": translation, "cutout": cutout}


@pytest.mark.parametrize("policy", [(p,) for p in POLICIES] + [POLICIES, ("cutout", "color")])
def test_loops(policy):
    images, key = normal(0, *SHAPE), jax.random.key(1)
    draws = jax.tree.map(np.asarray, draw(key, *SHAPE[:3]))
    expected = []
    for i, x in enumerate(images.astype(np.float64)):
        for part in policy:
            x = LOOPS[part](x, i, draws)
        expected.append(x)
    np.testing.assert_allclose(diff_augment(images, key, policy), expected, rtol=0, atol=1e-5)


def test_ranges():
    """Sizes 8 and 6: shifts of one pixel at most (0.125 * 6 rounds to 1), squares of 4 and 3 centred in the image."""
    draws = jax.tree.map(np.asarray, draw(jax.random.key(2), 4000, 8, 6))
    for values, low, high in (
        (draws.brightness, -0.5, 0.5),
        (draws.saturation, 0, 2),
        (draws.contrast, 0.5, 1.5),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    for values, low, high in (
        (draws.translation[:, 0], -1, 1),
        (draws.translation[:, 1], -1, 1),
        (draws.cutout[:, 0], -2, 6),
        (draws.cutout[:, 1], -1, 4),
    ):
        found, counts = np.unique(values, return_counts=True)
        np.testing.assert_array_equal(found, np.arange(low, high + 1))
        assert counts.min() > 0.7 * counts.mean()
    parameters = [x.astype(float) for row in draws for x in np.atleast_2d(row.T)]
    assert np.abs(np.corrcoef(parameters) - np.eye(len(parameters))).max() < 0.06


@pytest.mark.parametrize("shape", [(2, 5, 7, 1), (2, 16, 8, 4)])
def test_any_size_and_number_of_channels(shape):
    out = jax.jit(diff_augment)(normal(1, *shape), jax.random.key(3))
    assert out.shape == shape
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()


def test_derivatives():
    images, weight, direction = normal(2, *SHAPE), normal(3, *SHAPE[1:]), normal(4, *SHAPE[1:])

    def penalty(weight):
        def logits(x):
            return jnp.sum(jnp.tanh(jnp.sum(diff_augment(x, jax.random.key(4)) * weight, axis=(1, 2, 3))))

        return jnp.sum(jnp.square(jax.grad(logits)(images)))

    value_and_slope = jax.jit(jax.value_and_grad(penalty))
    _, slope = value_and_slope(0.01 * weight)
    step = 1e-4
    (ahead, _), (behind, _) = (value_and_slope(0.01 * weight + s * direction) for s in (step, -step))
    np.testing.assert_allclose((ahead - behind) / (2 * step), jnp.vdot(slope, direction), rtol=2e-2)


def test_images_do_not_see_each_other():
    augment = jax.jit(functools.partial(diff_augment, key=jax.random.key(5)))
    images = normal(5, *SHAPE)
    other = images.copy()
    other[1] += 1
    a, b = np.asarray(augment(images)), np.asarray(augment(other))
    np.testing.assert_array_equal(np.delete(a, 1, 0), np.delete(b, 1, 0))
    assert (a[1] != b[1]).any()


def test_unknown_policy():
    with pytest.raises(ValueError, match="'colour' is not one of color, translation, cutout"):
        diff_augment(np.zeros(SHAPE, np.float32), jax.random.key(0), ("colour",))
