"""Heatmaps: golden values, statistics of what is drawn, overriding and moving parts of a placement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.networks import heatmaps
from jaxgan.training.alignment import targets

CENTRE = jnp.array([[0.25, -0.5]])


def test_golden_values():
    one = heatmaps.gaussians(CENTRE[:, None], jnp.array([[0.75]]), (5, 5))[0, ..., 0]
    np.testing.assert_allclose(one[0], [0.099219, 0.134514, 0.099219, 0.042822, 0.016199], atol=2e-6)
    np.testing.assert_allclose(one[2], [0.669241, 0.930044, 0.669241, 0.252521, 0.055806], atol=2e-6)
    np.testing.assert_allclose(one[3], one[2], atol=1e-6)
    np.testing.assert_allclose(one[4], one[1], atol=1e-6)
    assert one.mean() == pytest.approx(0.329614, abs=2e-6)


def test_golden_values_of_two_centres():
    at = CENTRE[:, None] + jnp.array([[[0.3, -0.1], [-0.2, 0.4]]])
    two = heatmaps.gaussians(at, jnp.array([[0.5, 0.25]]), (5, 5))
    np.testing.assert_allclose(two.mean((0, 1, 2)), [0.222921, 0.135627], atol=2e-6)
    wanted = targets((two, two, two))[1][0]
    np.testing.assert_allclose(wanted[2], [0.357601, 0.868743, 1.0, 0.232547, 0.008996], atol=2e-6)
    assert wanted[0, 4] == 0


def test_statistics_of_drawn_ones():
    placement = heatmaps.draw(jax.random.key(0), 4000)
    maps = heatmaps.render(placement, (64, 64))
    # The reference's own figures come of as many draws; a third of their last digit's spread is allowed for.
    for level, (mean, deviation) in enumerate([(0.426, 0.279), (0.264, 0.282), (0.174, 0.252)]):
        assert maps[level].mean() == pytest.approx(mean, abs=0.008)
        assert maps[level].std() == pytest.approx(deviation, abs=0.008)
    for wanted, (mean, deviation) in zip(targets(maps)[1:], [(0.287, 0.276), (0.315, 0.279)]):
        assert wanted.mean() == pytest.approx(mean, abs=0.008)
        assert wanted.std() == pytest.approx(deviation, abs=0.008)
    centre = np.asarray(placement.centre)
    assert np.abs(centre).max() == 0.75
    assert (np.abs(centre) == 0.75).mean() == pytest.approx(0.023, abs=0.005)
    outside = [(np.abs(at) > 1).any(-1).mean() for at in heatmaps.centres(placement)]
    np.testing.assert_allclose(outside, [0, 0.016, 0.13], atol=0.01)


def test_the_coarsest_width_is_shared_where_asked():
    shared = heatmaps.draw(jax.random.key(1), 8, shared_width=True)
    own = heatmaps.draw(jax.random.key(1), 8)
    assert len(np.unique(shared.widths[0])) == 1
    assert len(np.unique(own.widths[0])) == 8
    assert len(np.unique(shared.widths[1])) == 16


def test_an_images_placement_is_its_own():
    keys = jax.vmap(jax.random.key)(jnp.arange(4, dtype=jnp.uint32))
    together, alone = heatmaps.draw_each(keys), heatmaps.draw_each(keys[2:3])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2:3], b), together, alone)


def test_numbers_and_back():
    placement = heatmaps.draw(jax.random.key(2), 3)
    numbers = heatmaps.pack(placement)
    assert numbers.shape == (3, heatmaps.NUMBERS)
    jax.tree.map(np.testing.assert_array_equal, heatmaps.unpack(numbers), placement)
    jax.tree.map(np.testing.assert_array_equal, heatmaps.within(placement), placement)
    inside = heatmaps.pack(heatmaps.within(heatmaps.unpack(numbers * 100)))
    assert np.abs(inside).max() <= 1


@pytest.mark.parametrize("linked", [True, False])
def test_moving_the_coarsest_centre(linked):
    placement = heatmaps.draw(jax.random.key(3), 2)
    moved = heatmaps.moved(placement, 0, 0, jnp.array([0.5, -0.25]), linked=linked)
    before, after = heatmaps.centres(placement), heatmaps.centres(moved)
    np.testing.assert_allclose(after[0][:, 0], [[0.5, -0.25]] * 2)
    for level in (1, 2):
        way = after[level] - before[level]
        wanted = jnp.array([0.5, -0.25]) - placement.centre if linked else jnp.zeros((2, 2))
        np.testing.assert_allclose(way, jnp.broadcast_to(wanted[:, None], way.shape), atol=1e-6)


def test_moving_a_finer_centre_moves_it_alone():
    placement = heatmaps.draw(jax.random.key(4), 2)
    moved = heatmaps.moved(placement, 2, 3, jnp.array([0.1, 0.2]), linked=True)
    before, after = heatmaps.centres(placement), heatmaps.centres(moved)
    np.testing.assert_allclose(after[2][:, 3], [[0.1, 0.2]] * 2, atol=1e-6)
    np.testing.assert_array_equal(after[2][:, :3], before[2][:, :3])
    np.testing.assert_array_equal(after[1], before[1])


def test_a_finer_level_s_centres_are_put_at_points():
    points = jnp.array([[[0.1, -0.2], [0.3, 0.4]]])
    put = heatmaps.placed(heatmaps.draw(jax.random.key(1), 3), 1, points)
    np.testing.assert_allclose(heatmaps.centres(put)[1], jnp.broadcast_to(points, (3, 2, 2)), atol=1e-6)


def test_what_training_draws_is_known_and_what_it_does_not_is_not():
    drawn = heatmaps.draw(jax.random.key(2), 50)
    assert heatmaps.known(drawn).all()
    moved = heatmaps.moved(drawn, 0, 0, jnp.array([0.9, 0.0]), linked=True)
    assert not heatmaps.known(moved).any()
    assert heatmaps.known(heatmaps.within(moved)).all()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"deltas": (jnp.zeros((3, 2, 2)), jnp.zeros((3, 2, 4)))}, r"deltas\[1\] of a placement is \(3, 2, 4\)"),
        ({"widths": (jnp.ones((3, 1)),) * 3}, r"widths\[1\] of a placement is \(3, 1\); give \(3, 2\)"),
        ({"centre": jnp.zeros((2, 2))}, "a placement of 2 images for 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, said):
    placement = heatmaps.middle(3).replace(**part)
    with pytest.raises(UserError, match=said):
        heatmaps.of(placement, "const", 3, (8, 8), shared_width=False)


def test_a_width_of_nothing_is_a_point():
    maps = heatmaps.gaussians(jnp.zeros((1, 2, 2)), jnp.array([[0.0, -0.1]]), (5, 5))
    assert np.isfinite(maps).all()
    assert maps[0, 2, 2, 0] == pytest.approx(1.01)
