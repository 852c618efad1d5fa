"""Truncation: towards the mean, below a row, and never of a class's code."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import check_truncation, truncate
from tests.networks.test_contracts import CLASSES, networks


def test_rows_below_the_cutoff_move_and_codes_stay():
    generator = types.SimpleNamespace(label_dim=2)
    ws, mean = jnp.full((1, 3, 5), 4.0), jnp.zeros(5)
    moved = np.asarray(truncate(generator, mean, ws, 0.25, cutoff=2))
    np.testing.assert_array_equal(moved[0, :2], [[1, 1, 1, 4, 4]] * 2)
    np.testing.assert_array_equal(moved[0, 2], 4)
    np.testing.assert_array_equal(truncate(generator, mean, ws, 1.0), ws)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_code_of_a_class_is_at_the_end_of_its_rows(architecture):
    """Two classes differ in the last `label_dim` numbers and nowhere else, where there is no mapping network."""
    gan, variables, _ = networks(architecture, CLASSES[architecture])
    generator = gan.generator
    if hasattr(generator, "mapping_layers"):
        assert not hasattr(generator, "label_dim")
        return
    z = jnp.ones((2, generator.z_dim))
    ws = np.asarray(generator.apply(variables, z, jnp.asarray([0, 1]), method="map"))
    differs = (ws[0] != ws[1]).any(0)
    assert differs[-generator.label_dim :].any()
    assert not differs[: -generator.label_dim].any()


def test_a_generator_that_normalises_its_latent_is_not_truncated():
    generator = networks("pggan")[0].generator
    check_truncation(generator, 1.0)
    with pytest.raises(UserError, match="truncation changes nothing"):
        check_truncation(generator, 0.7)
    check_truncation(networks("stylegan2")[0].generator, 0.7)
