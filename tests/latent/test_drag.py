"""Dragging heatmaps: paths of placements, cached blocks, where an image changed, what cannot be dragged."""

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import drag as dragging
from jaxgan.latent.drag import Drag
from jaxgan.networks import heatmaps
from jaxgan.networks.build import init
from jaxgan.networks.gan import call
from tests.networks.test_contracts import networks


@pytest.fixture(scope="module")
def small():
    generator = networks("eqgan")[0].generator
    variables, _ = init(networks("eqgan")[0], jax.random.key(3))
    return generator, variables, call(generator, variables, jax.random.normal(jax.random.key(0), (1, 12)), method="map")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_frames_with_cached_blocks_are_those_without(small, level):
    path = dragging.placements(heatmaps.draw(jax.random.key(1), 1), Drag(level, 0, (-0.5, 0.0), (0.5, 0.2)), 5)
    plain = dragging.render(*small, path)
    assert plain.shape == (5, 32, 32, 3)
    cached = dragging.render(*small, path, level=level, batch=2)
    assert np.abs(cached.astype(int) - plain).max() <= 1  # a rounding
    assert np.abs(plain[0].astype(int) - plain[-1]).max() > 1


def test_a_path_is_straight_and_moves_one_centre():
    base = heatmaps.draw(jax.random.key(2), 1)
    path = dragging.placements(base, Drag(1, 1, (-0.5, 0.0), (0.5, 1.0)), 3)
    at = np.asarray(heatmaps.centres(path)[1])
    np.testing.assert_allclose(at[:, 1], [[-0.5, 0], [0, 0.5], [0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(at[:, 0], np.broadcast_to(heatmaps.centres(base)[1][:, 0], (3, 2)), atol=1e-6)
    np.testing.assert_allclose(path.centre, np.broadcast_to(base.centre, (3, 2)), atol=1e-6)


def test_where_an_image_changed():
    before = np.zeros((5, 5, 1), np.uint8)
    after = before.copy()
    after[0, 4] = 100
    centroid, size = dragging.change(before, after)
    np.testing.assert_allclose(centroid, [-1, 1])
    assert size == pytest.approx(100 / 255 / 25)
    assert dragging.change(before, before) == (None, 0.0)


@pytest.mark.parametrize(
    ("drag", "said"),
    [
        (Drag(3, 0, (0, 0), (0, 0)), "level 4 has no centre 0; centres are level 1: 1, level 2: 2, level 3: 4"),
        (Drag(1, 2, (0, 0), (0, 0)), "level 2 has no centre 2"),
        (Drag(0, 0, (0, 0), (0, 1.5)), "out of bounds at level 1"),
        (Drag(0, 0, (float("nan"), 0), (0, 0)), "out of bounds at level 1"),
    ],
)
def test_what_cannot_be_dragged(drag, said):
    with pytest.raises(UserError, match=said):
        dragging.check_drag(drag)


def test_finer_centres_may_lie_beyond_the_picture():
    dragging.check_drag(Drag(2, 0, (-1.16, 0), (0, 1.55)))
    with pytest.raises(
        UserError, match=r"to \(0.00, 1.30\) is out of bounds at level 2; give y,x between -1.15 and 1.15"
    ):
        dragging.check_drag(Drag(1, 0, (0, 0), (0, 1.3)))


def test_another_generator():
    with pytest.raises(UserError, match="takes no heatmaps"):
        dragging.check_generator(networks("stylegan2")[0].generator)
