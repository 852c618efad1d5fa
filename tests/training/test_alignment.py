"""The alignment loss: its truncation, and no gradient but to the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.networks import attention, heatmaps
from jaxgan.networks.build import build
from jaxgan.networks.gan import batch_extras, call
from jaxgan.training import alignment
from jaxgan.training.alignment import FEATURES, truncated_l1
from jaxgan.training.programs import fresh_state, layout
from jaxgan.training.step import draw_latents, make_steps
from tests.networks.test_contracts import networks


def test_only_large_differences_count():
    seen = jnp.array([[[0.5, 0.25, 0], [0.5, 0.5, 0.5], [0.5, 0.75, 1]]])
    assert truncated_l1(seen, jnp.full((1, 3, 3), 0.5)) == 0.5  # two of nine, by 0.5 each


@pytest.mark.parametrize("large", [[], [0.75]])
def test_all_count_where_at_most_one_is_large(large):
    seen = jnp.array([0.1] * (4 - len(large)) + large)[None, None]
    assert truncated_l1(seen, jnp.zeros((1, 1, 4))) == pytest.approx(float(seen.mean()))


def test_black_images_give_no_nan():
    """A discriminator of zeros finds nothing anywhere: no map, no gradient."""
    gan, _, variables = networks("eqgan")
    variables = jax.tree.map(np.zeros_like, variables)
    maps = heatmaps.render(heatmaps.draw(jax.random.key(0), 2), (32, 32))

    def total(images):
        out, weights = attention.look(gan.discriminator, variables, images, None, FEATURES)
        return sum(alignment.losses(out.features, weights["fake"], maps).values())

    value, gradient = jax.value_and_grad(total)(jnp.zeros((2, 32, 32, 3)))
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient, 0)


def test_only_images_learn_from_it():
    """No weight of the maps, least or largest number, and no heatmap: only the features that are compared."""
    gan, _, variables = networks("eqgan")
    maps = heatmaps.render(heatmaps.draw(jax.random.key(0), 2), (32, 32))
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    weights = attention.look(gan.discriminator, variables, images, None, FEATURES)[1]

    def total(features, weights, maps):
        return sum(alignment.losses(features, weights, maps).values())

    def through(images):
        out, weights = attention.look(gan.discriminator, variables, images, None, FEATURES)
        return total(out.features, weights["fake"], maps)

    def held(images):
        features = call(gan.discriminator, variables, images).features
        return total(features, weights["fake"], maps)

    gradient = jax.grad(through)(images)
    assert np.abs(gradient).max() > 0
    np.testing.assert_allclose(gradient, jax.grad(held)(images), atol=1e-5 * np.abs(gradient).max())


def convolutions(function, *arguments):
    """How many there are in a function's program."""
    return jax.jit(function).lower(*arguments).compile(QUICKLY).as_text().count(" convolution(")


def test_the_forward_pass_is_shared():
    """Alignment adds the reverse pass from the logits to the coarsest features looked at, and nothing else."""
    gan, _, variables = networks("eqgan")
    maps = heatmaps.render(heatmaps.draw(jax.random.key(0), 2), (32, 32))
    images = jnp.zeros((2, 32, 32, 3))

    def plain(images):
        return jax.nn.softplus(-call(gan.discriminator, variables, images).logits).mean()

    def aligned(images):
        out, weights = attention.look(gan.discriminator, variables, images, None, FEATURES, evidence=("fake",))
        losses = alignment.losses(out.features, weights["fake"], maps)
        return jax.nn.softplus(-out.logits).mean() + sum(losses.values())

    def weights(images):
        return attention.look(gan.discriminator, variables, images, None, FEATURES, evidence=("fake",))[1]

    forward, reverse = convolutions(plain, images), convolutions(jax.grad(plain), images)
    added = convolutions(weights, images) - forward
    assert 0 < added < reverse - forward
    assert convolutions(jax.grad(aligned), images) == reverse + added


# A step compiles for minutes otherwise.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
TINY = ("batch_size=4", "model.mbstd_group=2", "model.z_dim=8", "model.w_dim=8", "model.channel_base=64")
TINY += ("model.channel_max=8", "model.sel_hidden=4", "model.heatmap_features=4")


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "diff"])
def test_a_step_aligns_images_with_the_heatmaps_that_they_were_made_with(augment):
    """What it logs is what is worked out beside it, from the latents, noise and heatmaps of its keys."""
    config = configs.load("eqgan_fashion32")
    configs.override(config, [*TINY, f"augment.kind={augment}"])
    config = configs.resolve(config, num_images=100, image_shape=(32, 32, 1), num_classes=0, devices=1).to_dict()
    gan = build(config["model"])
    state = fresh_state(gan, config, layout(gan, config))
    batch = {"images": np.zeros((1, 4, 32, 32, 1), np.uint8), "labels": np.zeros((1, 4), np.int32)}
    step = jax.jit(make_steps(gan, config).generator, static_argnums=2, compiler_options=QUICKLY)
    _, metrics = step(state, batch, False)

    key = state.key
    for number in (state.step, 0, 0, 0):  # the iteration, the phase, the batch, the round
        key = jax.random.fold_in(key, number)
    map_key, noise_key = jax.random.split(jax.random.split(key, 3)[0])
    z, _ = draw_latents(gan.generator, None, lambda x: x, jax.random.split(map_key, 3)[0], 4)
    placement = heatmaps.unpack(batch_extras(gan.generator, noise_key, 4))
    assert np.ptp(placement.widths[0]) == 0  # one for all, as released
    ws = call(gan.generator, state.generator, z, method="map")
    images = call(gan.generator, state.generator, ws, noise_key, heatmaps=placement, method="synthesize")
    out, weights = attention.look(gan.discriminator, state.discriminator, images, None, FEATURES)
    for name, value in alignment.losses(out.features, weights["fake"], heatmaps.render(placement, (32, 32))).items():
        assert metrics[f"G_align_{name}"] == pytest.approx(float(value), rel=1e-4)
        other = heatmaps.render(heatmaps.middle(4), (32, 32))
        assert float(alignment.losses(out.features, weights["fake"], other)[name]) != pytest.approx(
            float(value), rel=1e-3
        )
