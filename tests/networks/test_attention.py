"""GradCAM: the reference's toy, both signs, maps that say nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks import attention
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import call
from tests.networks.test_contracts import networks

TOY = jnp.stack([jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[-1.0, 0.0], [1.0, 2.0]])], axis=-1)[None]


def test_the_rectifier_stands_before_the_sum():
    found = attention.cam_map(TOY, jnp.array([[0.5, -1.0]]), (3, 3))[0]
    # The map [[1.5, 1], [1.5, 2]], enlarged and brought to [0, 1].
    np.testing.assert_allclose(found, [[0.5, 0.25, 0], [0.5, 0.5, 0.5], [0.5, 0.75, 1]], atol=1e-6)


def test_a_map_of_zeros_has_no_gradient_and_no_nan():
    def total(feature):
        return attention.cam_map(feature, jnp.array([[-1.0, -1.0]]), (4, 4)).sum()

    value, gradient = jax.value_and_grad(total)(jnp.abs(TOY))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("architecture", ["stylegan2", "dcgan", "pggan", "biggan"])
def test_weights_are_derivatives_of_the_score(architecture):
    """By differences: the score after a small step of a whole channel."""
    gan, _, variables = networks(architecture, 3 if architecture == "biggan" else 0)
    discriminator = gan.discriminator
    labels = jnp.arange(2) if architecture == "biggan" else None
    images = jax.random.normal(jax.random.key(0), (2, *gan.generator.image_shape))
    shapes = attention.feature_shapes(discriminator, variables, images, labels)
    name = [n for n, s in shapes.items() if len(s) == 4][-1]
    _, height, width, channels = shapes[name]
    for evidence in attention.EVIDENCE:
        looked = attention.look(discriminator, variables, images, labels, [name], evidence=[evidence], group_size=1)
        weights = looked[1][evidence][name]
        assert weights.shape == (2, channels)
        step = 1e-2 * np.abs(call(discriminator, variables, images, labels, group_size=1).features[name]).max()

        def score(size, evidence=evidence):
            taps = {name: jnp.zeros(shapes[name]).at[..., 0].set(size)}
            logits = call(discriminator, variables, images, labels, taps=taps, group_size=1).logits
            return logits if evidence == "real" else jax.nn.softplus(-logits)

        slope = (score(step) - score(-step)) / (2 * step) / (height * width)
        np.testing.assert_allclose(weights[:, 0], slope, rtol=0.1, atol=0.02 * np.abs(weights).max())


def test_evidence_for_fake_is_that_for_real_the_other_way():
    gan, _, variables = networks("stylegan2")
    images = jax.random.normal(jax.random.key(1), (3, *gan.generator.image_shape))
    out, weights = attention.look(gan.discriminator, variables, images, None, ["b8"], group_size=1)
    alone = call(gan.discriminator, variables, images, group_size=1)
    np.testing.assert_allclose(out.logits, alone.logits, rtol=1e-5)
    expected = -jax.nn.sigmoid(-out.logits)[:, None] * weights["real"]["b8"]
    np.testing.assert_allclose(weights["fake"]["b8"], expected, rtol=1e-3, atol=1e-7)


def test_every_architecture_has_maps():
    for architecture in ARCHITECTURES:
        classes = 3 if architecture == "biggan" else 0
        gan, _, variables = networks(architecture, classes)
        images = jnp.zeros((1, *gan.generator.image_shape))
        shapes = attention.feature_shapes(gan.discriminator, variables, images, jnp.zeros(1, int) if classes else None)
        assert any(len(shape) == 4 and min(shape[1:3]) > 1 for shape in shapes.values()), architecture
