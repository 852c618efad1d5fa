"""What the benchmark of local edits says lies beyond a mask's reach is what layers cannot change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import local_edits
from jaxgan.latent import edit, maps
from jaxgan.networks import stylegan2


def test_rows_from_a_size_on():
    assert [local_edits.first_row(2**i) for i in range(2, 7)] == [0, 1, 3, 5, 7]


@pytest.mark.parametrize(("grid", "pixels", "changes"), [(8, 16, True), (8, 8, False), (4, 32, True), (16, 16, True)])
def test_nothing_changes_beyond_the_reach(grid, pixels, changes):
    box, resolution = (0.0, 0.0, 0.25, 0.25), 32
    generator = stylegan2.Generator(resolution, channels=1, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
    keys = jax.random.split(jax.random.key(0), 3)
    variables = generator.init({"params": keys[0], "noise": keys[0]}, jnp.zeros((1, 8)))
    given = maps.resized(jax.random.normal(keys[1], (2, generator.num_ws, 8)), (grid, grid))
    mask = np.zeros((resolution, resolution), np.float32)
    mask[:8, :8] = 1
    rows = jnp.arange(generator.num_ws)[:, None, None, None] >= local_edits.first_row(pixels)
    layers = range(local_edits.first_row(pixels), generator.num_ws)
    moved = given + rows * edit.masks_of(given, mask) * jax.random.normal(keys[2], (8,))
    before, after = (generator.apply(variables, ws, method="synthesize") for ws in (given, moved))
    changed = np.abs(np.asarray(after - before)).max((0, 3))
    far = local_edits.beyond(box, grid, edit.reach(resolution, resolution / grid, layers), resolution)
    assert far.any() == changes  # at 8 px layers carry a change across the picture
    assert changed[~far].max() > 0.01
    if changes:
        assert changed[far].max() == 0
