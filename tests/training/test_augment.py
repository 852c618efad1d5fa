"""ADA against values of the official pipeline, and what it promises besides."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.training.augment import CATEGORIES, PIPELINES, ada, adjust, categories
from tests import parity

run = jax.jit(ada, static_argnames="pipeline")


@functools.cache
def official():
    with np.load(parity.FOLDER / "ada_augment_32.npz") as f:
        return dict(f)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("pipeline", ["blit", "geom", "color", "filter", "cutout", "bgc"])
def test_official_values(pipeline):
    arrays = official()
    for q in (0.15, 0.5, 0.8):
        out = run(arrays["images"], jax.random.key(0), 1.0, pipeline=pipeline, percentile=q)
        np.testing.assert_allclose(out, arrays[f"{pipeline}_percentile{q}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("pipeline", "shape"), [("bgc", (3, 8, 8, 1)), ("color", (2, 4, 4, 3)), ("bgcfnc", (2, 12, 8, 4))]
)
def test_p_0_changes_nothing(pipeline, shape):
    """Up to the rounding of the filters."""
    images = normal(0, *shape)
    out = run(images, jax.random.key(1), 0.0, pipeline=pipeline)
    np.testing.assert_allclose(out, images, rtol=0, atol=1e-5)


def test_derivatives():
    """The slope of a gradient penalty by the weights under it, as R1 needs it, against a difference quotient."""
    images, weight, direction = normal(1, 4, 8, 8, 3), normal(2, 8, 8, 3), normal(3, 8, 8, 3)

    def penalty(weight, p):
        def logits(x):
            x = ada(x, jax.random.key(2), p, pipeline="bgcf,cutout")
            return jnp.sum(jnp.tanh(jnp.sum(x * weight, axis=(1, 2, 3))))

        return jnp.sum(jnp.square(jax.grad(logits)(images)))

    value_and_slope = jax.jit(jax.value_and_grad(penalty))
    for p in (0.5, 1.0):
        value, slope = value_and_slope(0.01 * weight, p)
        assert np.isfinite(slope).all()
        step = 1e-4
        ahead, _ = value_and_slope(0.01 * weight + step * direction, p)
        behind, _ = value_and_slope(0.01 * weight - step * direction, p)
        np.testing.assert_allclose((ahead - behind) / (2 * step), jnp.vdot(slope, direction), rtol=2e-2)
        assert value > 0


def test_a_new_p_compiles_nothing():
    traces = []

    @jax.jit
    def augment(images, key, p):
        traces.append(p)
        return ada(images, key, p, pipeline="cutout")

    images = np.ones((32, 4, 4, 1), np.float32)
    changed = [int(jnp.sum(augment(images, jax.random.key(0), jnp.float32(p)) != images)) for p in (0.0, 0.5, 1.0, 1.5)]
    assert changed[0] == 0 < changed[1] < changed[2] == changed[3]
    assert len(traces) == 1


def test_images_do_not_see_each_other():
    images = normal(4, 3, 8, 8, 1)
    other = images.copy()
    other[1] += 1
    a, b = (np.asarray(run(x, jax.random.key(5), 0.9)) for x in (images, other))
    np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])
    assert np.abs(a[1] - b[1]).max() > 0.1


def test_each_image_and_key_has_parameters_of_its_own():
    same = np.repeat(normal(5, 1, 8, 8, 1), 3, axis=0)
    a, b = (np.asarray(run(same, jax.random.key(k), 1.0)) for k in (6, 7))
    assert min(np.abs(x - y).max() for i, x in enumerate(a) for y in (*a[:i], b[i])) > 1e-3


def test_alpha_keeps_its_values():
    images = normal(6, 2, 4, 4, 4)
    out = run(images, jax.random.key(8), 1.0, pipeline="color")
    np.testing.assert_array_equal(out[..., 3], images[..., 3])
    without = run(images[..., :3], jax.random.key(8), 1.0, pipeline="color")
    np.testing.assert_allclose(out[..., :3], without, atol=1e-5)
    assert np.abs(out - images)[..., :3].max() > 0.1


def test_grey_images_are_what_the_grey_of_colours_is():
    grey = normal(7, 2, 4, 4, 1)
    a, b = (run(x, jax.random.key(9), 1.0, pipeline="color") for x in (np.repeat(grey, 3, axis=-1), grey))
    np.testing.assert_allclose(a, np.repeat(b, 3, axis=-1), atol=1e-5)


def test_strengths():
    """The percentiles of the official debug mode lack a factor sqrt(2), so they do not pin these."""
    zeros = np.zeros((20_000, 2, 2, 1), np.float32)
    noise = run(zeros, jax.random.key(10), 0.5, pipeline="noise")
    np.testing.assert_allclose(jnp.mean(jnp.square(noise)), 0.5 * 0.1**2, rtol=0.05)
    # Brightness under contrast: 0.2^2 times the mean of 2^n, which is exp(log(2)^2 / 2).
    squares = jnp.square(run(zeros, jax.random.key(11), 1.0, pipeline="color"))
    np.testing.assert_allclose(jnp.mean(squares), 0.2**2 * np.exp(np.log(2) ** 2 / 2), rtol=0.05)


def test_cutout_sense():
    """Half of each side, where it lies inside; rows and columns apart."""
    cut = np.asarray(run(np.ones((500, 8, 16, 1), np.float32), jax.random.key(12), 0.4, pipeline="cutout"))[..., 0] == 0
    np.testing.assert_allclose(cut.any((1, 2)).mean(), 0.4, atol=0.08)
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    np.testing.assert_array_equal(cut.sum((1, 2)), rows * columns)
    assert (rows.max(), columns.max()) == (4, 8)


def test_names():
    assert categories("bgc") == ("blit", "geom", "color")
    assert categories("cutout,blit") == ("blit", "cutout")
    assert categories("bgcfnc") == CATEGORIES
    assert len(PIPELINES) == 11
    with pytest.raises(ValueError, match=r"'bcg' is not one of blit, .*, bgcfnc"):
        categories("bcg")


@pytest.mark.parametrize(
    ("p", "mean_sign", "expected"),
    [
        (0.1, 0.7, 0.1 + 64 / 500_000),
        (0.1, 0.5, 0.1 - 64 / 500_000),
        (0.1, 0.6, 0.1),
        (0.0, -1.0, 0.0),
        (1e-5, 0.2, 0.0),
        (1.0, 1.0, 1.0 + 64 / 500_000),
    ],
)
def test_rule_for_p(p, mean_sign, expected):
    new = adjust(jnp.float32(p), jnp.float32(mean_sign * 80), jnp.float32(80), jnp.int32(64))
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-7)


def test_rule_with_other_settings():
    new = adjust(jnp.float32(0.5), jnp.float32(8.0), jnp.float32(80.0), 100, target=0.0, kimg=1.0)
    np.testing.assert_allclose(new, 0.6, rtol=1e-6)
