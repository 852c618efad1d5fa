"""The alignment loss: its truncation, and no gradient but to the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks import heatmaps
from jaxgan.networks.gan import call
from jaxgan.training.alignment import alignment_losses, truncated_l1
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
        out = call(gan.discriminator, variables, images)
        return sum(alignment_losses(gan.discriminator, variables, images, None, out, maps).values())

    value, gradient = jax.value_and_grad(total)(jnp.zeros((2, 32, 32, 3)))
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient, 0)
