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


def test_bfloat16_is_close_to_float32():
    variables = networks("eqgan")[2]
    maps = heatmaps.render(heatmaps.draw(jax.random.key(0), 4), (32, 32))
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))

    def measured(**dtype):
        discriminator = networks("eqgan", **dtype)[0].discriminator

        def total(images):
            out, weights = attention.look(discriminator, variables, images, None, FEATURES, evidence=("fake",))
            return sum(alignment.losses(out.features, weights["fake"], maps).values())

        value, gradient = jax.value_and_grad(total)(images)
        return float(value), np.asarray(gradient, np.float64).ravel()

    (value, gradient), (low, low_gradient) = measured(), measured(dtype="bfloat16", low_precision_levels=4)
    assert low != value
    assert low == pytest.approx(value, rel=0.02)
    cosine = low_gradient @ gradient / np.linalg.norm(gradient) / np.linalg.norm(low_gradient)
    assert cosine > 0.9


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


def shares(classes):
    return tuple(np.full(classes, 1 / classes)) if classes else None


def aligned(*overrides, classes=0):
    """(networks, state, a generator step's outcome) of a tiny EqGAN."""
    config = configs.load("eqgan_fashion32")
    configs.override(config, [*TINY, *overrides])
    config = configs.resolve(config, num_images=100, image_shape=(32, 32, 1), num_classes=classes, devices=1).to_dict()
    gan, rounds = build(config["model"]), config["accumulate"]
    state = fresh_state(gan, config, layout(gan, config))
    images = np.zeros((1, 4, 32, 32, 1), np.uint8)
    batch = {"images": images, "labels": np.zeros((1, 4), np.int32)}
    step = jax.jit(make_steps(gan, config, shares(classes)).generator, static_argnums=2, compiler_options=QUICKLY)
    return gan, state, step(state, batch, False), 4 // rounds


def apart(gan, state, number, count, classes):
    """The losses of a round's images worked out beside the step from its keys, and with the heatmaps of no image."""
    key = state.key
    for n in (state.step, 0, 0, number):  # the iteration, the phase, the batch, the round
        key = jax.random.fold_in(key, n)
    map_key, noise_key = jax.random.split(jax.random.split(key, 3)[0])
    z, labels = draw_latents(gan.generator, shares(classes), lambda x: x, jax.random.split(map_key, 3)[0], count)
    placement = heatmaps.unpack(batch_extras(gan.generator, noise_key, count))
    assert np.ptp(placement.widths[0]) == 0  # one for all, as released
    ws = call(gan.generator, state.generator, z, labels, method="map")
    images = call(gan.generator, state.generator, ws, noise_key, heatmaps=placement, method="synthesize")
    out, weights = attention.look(gan.discriminator, state.discriminator, images, labels, FEATURES)
    maps = [heatmaps.render(p, (32, 32)) for p in (placement, heatmaps.middle(count))]
    return [alignment.losses(out.features, weights["fake"], m) for m in maps]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "classes"),
    [
        (("augment.kind=none",), 0),
        (("augment.kind=diff",), 0),
        (("augment.kind=none", "accumulate=2", "data.use_labels=True"), 3),
    ],
    ids=["plain", "diff", "classes, two rounds"],
)
def test_a_step_aligns_images_with_the_heatmaps_that_they_were_made_with(overrides, classes):
    """What it logs is what is worked out beside it, from the latents, noise and heatmaps of its keys."""
    gan, state, (_, metrics), count = aligned(*overrides, classes=classes)
    rounds = [apart(gan, state, number, count, classes) for number in range(4 // count)]
    for name in FEATURES:
        value, other = (np.mean([float(losses[which][name]) for losses in rounds]) for which in (0, 1))
        assert metrics[f"G_align_{name}"] == pytest.approx(value, rel=1e-4)
        assert other != pytest.approx(value, rel=1e-3)


@pytest.mark.slow
def test_an_aligned_step_is_the_same_with_blocks_computed_anew():
    """Attention's reverse pass goes through what is not kept."""
    _, _, (expected, said), _ = aligned("augment.kind=none", "remat=none")
    _, _, (found, says), _ = aligned("augment.kind=none", "remat=blocks")
    for name in FEATURES:
        assert says[f"G_align_{name}"] == pytest.approx(float(said[f"G_align_{name}"]), rel=1e-5)
    # Moments of the gradients, not parameters: of a first step Adam takes hardly more than the signs.
    moments = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.g_opt) if jnp.issubdtype(x.dtype, jnp.floating)])
        for state in (found, expected)
    ]
    np.testing.assert_allclose(*moments, rtol=0, atol=1e-4 * np.abs(moments[1]).max())
