"""Spaces and statistics, over every architecture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import spaces
from jaxgan.latent.space import has_mapping
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import call
from tests.networks.test_contracts import networks


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request):
    classes = 3 if request.param == "biggan" else 0
    gan, generator, _ = networks(request.param, classes)
    return gan.generator, generator, spaces.statistics(gan.generator, generator)


def ws_of(generator, variables, count, seed=5):
    z = jax.random.normal(jax.random.key(seed), (count, generator.z_dim))
    labels = jnp.arange(count) % generator.num_classes if generator.num_classes else None
    return call(generator, variables, z, labels, method="map")


def test_every_space_renders_and_its_mean_is_a_code(model):
    generator, variables, statistics = model
    for name in spaces.SPACES:
        if name == "w" and generator.num_ws > 1 and not has_mapping(generator):
            with pytest.raises(UserError, match="no w"):
                spaces.make_space(name, generator)
            continue
        space = spaces.make_space(name, generator)
        mean = space.mean(statistics)
        assert mean.shape == space.shape
        labels = jax.nn.one_hot(jnp.arange(2), generator.num_classes) if generator.num_classes else None
        code = space.sample(variables, jax.random.key(0), 2, labels)
        assert code.shape == (2, *space.shape)
        ws = space.to_ws(variables, code, labels)
        assert (*ws.shape[:2], ws.shape[-1]) == (2, generator.num_ws, generator.w_dim)
        assert ws.ndim == (5 if name == "z" and hasattr(generator, "draw_z") else 3)
        if name != "z":
            np.testing.assert_allclose(space.to_ws(variables, space.from_ws(ws)), ws, rtol=1e-6, atol=1e-6)


def test_the_prior_of_random_latents_is_about_one(model):
    generator, variables, statistics = model
    ws = ws_of(generator, variables, 2000)
    values = spaces.prior(generator, statistics, ws)
    assert values.shape == (2000,)
    # The codes of K classes lie in a plane of K - 1 dimensions; the other numbers of a code say nothing.
    free = generator.w_dim - max(getattr(generator, "label_dim", 0) - (generator.num_classes - 1), 0)
    expected = free / generator.w_dim if generator.num_classes else 1.0
    np.testing.assert_allclose(values.mean(), expected, rtol=0.06)


def test_whitening_is_inverted_and_white(model):
    generator, variables, statistics = model
    ws = ws_of(generator, variables, 2000)
    v = spaces.to_prior(generator, statistics, ws)
    back = spaces.from_prior(generator, statistics, v)
    np.testing.assert_allclose(back, ws, rtol=1e-3, atol=1e-3 * float(jnp.abs(ws).max()))
    assert abs(float(v.mean())) < 0.1


def test_the_clamp_leaves_likely_latents_alone_and_draws_others_in(model):
    generator, variables, statistics = model
    ws = ws_of(generator, variables, 4)
    far = spaces.from_prior(generator, statistics, 9.0 * spaces.to_prior(generator, statistics, ws))
    clamped = spaces.clamp_to_prior(generator, statistics, jnp.concatenate([ws, far]), 4.0)
    np.testing.assert_array_equal(clamped[:4], ws)
    rows = jnp.square(spaces.to_prior(generator, statistics, clamped)).mean(-1)
    assert float(rows.max()) <= 4.0 * 1.01


def test_statistics_follow_the_projector(model):
    generator, variables, statistics = model
    z = np.random.RandomState(123).randn(10_000, generator.z_dim).astype(np.float32)
    labels = jnp.arange(10_000) % generator.num_classes if generator.num_classes else None
    ws = np.asarray(call(generator, variables, z, labels, method="map"), np.float64)
    np.testing.assert_allclose(statistics.w_mean, ws.mean(0), atol=2e-5 * np.abs(ws).max())
    if has_mapping(generator):
        expected = np.sqrt(np.square(ws[:, 0] - ws[:, 0].mean(0)).sum() / 10_000)
        np.testing.assert_allclose(statistics.w_std, expected, rtol=1e-5)
        central = call(generator, variables, statistics.z_central[None], None, method="map")[0, 0]
        nearest = np.square(ws[:, 0] - ws[:, 0].mean(0)).sum(-1).min()
        np.testing.assert_allclose(np.square(central - ws[:, 0].mean(0)).sum(), nearest, rtol=1e-3)


def test_unknown_spaces_are_refused(model):
    with pytest.raises(UserError, match="z, w, w\\+"):
        spaces.make_space("s", model[0])
