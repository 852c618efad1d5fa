"""Pictures of any size: a tile is what the whole shows there, whatever the tiling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import canvas
from tests.devices import call_on_devices
from tests.networks.test_spatial import plain, trained


def test_a_tile_is_a_part_of_the_whole():
    generator, variables, _ = trained(resolution=16)
    key = jax.random.key(2)
    whole = canvas.tiles(generator.clone(base_shape=(12, 16)), variables, key, jnp.asarray([[-2, -3]]))[0]
    assert whole.shape == (48, 64, 3)
    small = canvas.tiles(generator.clone(base_shape=(3, 5)), variables, key, jnp.asarray([[0, 0], [5, 7]]))
    for tile, (row, column) in zip(small, ((2, 3), (7, 10))):
        there = whole[4 * row : 4 * row + 12, 4 * column : 4 * column + 20]
        np.testing.assert_allclose(tile, there, atol=1e-4 * float(jnp.abs(whole).max()))
    assert np.asarray(small).std() > 0.01


def test_the_tiling_changes_nothing():
    generator, variables, _ = trained(resolution=16)
    pictures = [
        canvas.paint(generator, variables, jax.random.key(1), (37, 90), tile=tile, batch=batch, w_avg=jnp.zeros(6))
        for tile, batch in ((16, 3), (40, 1), (512, 4))
    ]
    assert pictures[0].shape == (37, 90, 3)
    for picture in pictures[1:]:
        assert np.abs(picture.astype(int) - pictures[0]).max() <= 1
    moved = canvas.paint(generator, variables, jax.random.key(1), (20, 20), origin=(2, 3), w_avg=jnp.zeros(6))
    assert np.abs(moved.astype(int) - pictures[0][8:28, 12:32]).max() <= 1
    into = np.zeros((20, 20, 3), np.uint8)
    canvas.paint(generator, variables, jax.random.key(1), (20, 20), noise=False, out=into)
    assert into.any()


def test_a_tile_is_a_part_of_the_whole_in_bfloat16():
    """But for roundings, whose order may differ with a tile's size."""
    generator, variables, _ = trained(resolution=16)
    low = generator.clone(dtype=jnp.bfloat16, low_precision_levels=4)
    key = jax.random.key(2)
    whole = canvas.tiles(low.clone(base_shape=(12, 16)), variables, key, jnp.asarray([[-2, -3]]))[0]
    tile = canvas.tiles(low.clone(base_shape=(3, 5)), variables, key, jnp.asarray([[5, 7]]))[0]
    exact = canvas.tiles(generator.clone(base_shape=(3, 5)), variables, key, jnp.asarray([[5, 7]]))[0]
    largest = float(jnp.abs(exact).max())
    assert 1e-4 * largest < float(jnp.abs(tile - exact).max()) < 0.1 * largest
    np.testing.assert_allclose(tile, whole[28:40, 40:60], atol=0.01 * largest)


def paint_on_devices(out):
    """What a process with some devices paints; for the test below."""
    generator, variables, _ = trained(resolution=16)
    np.save(out, canvas.paint(generator, variables, jax.random.key(1), (37, 90), tile=16, batch=4))


def test_a_picture_does_not_depend_on_the_number_of_devices(tmp_path):
    out = tmp_path / "picture.npy"
    call_on_devices(3, paint_on_devices, out)
    paint_on_devices(tmp_path / "one.npy")
    picture, one = np.load(out), np.load(tmp_path / "one.npy")
    assert picture.std() > 1
    assert np.abs(picture.astype(int) - one).max() <= 1


def test_other_generators_have_one_size():
    generator, variables, _ = plain()
    with pytest.raises(UserError, match="makes 32x32; pictures of any size need"):
        canvas.paint(generator, variables, jax.random.key(0), (64, 64))
    generator, variables, _ = trained(base="constant")
    with pytest.raises(UserError, match="makes 32x32"):
        canvas.paint(generator, variables, jax.random.key(0), (64, 64))
    with pytest.raises(UserError, match="cannot be made"):
        canvas.check(trained()[0], (0, 64))
