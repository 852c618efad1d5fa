"""What the benchmarks of EqGANs say of pictures that are known to follow, and of ones that do not."""

import numpy as np
import pytest

from benchmarks import alignment, dragging


def blobs(at, size=33, width=0.05):
    """uint8 images [N, size, size, 1] of a blob at points (y, x) [N, 2]."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij"), -1)
    squared = np.square(grid - np.asarray(at)[:, None, None]).sum(-1, keepdims=True)
    return np.round(255 * np.exp(-squared / width)).astype(np.uint8)


def drags(count=20):
    draw = np.random.default_rng(0)
    return draw.uniform(-0.5, 0.5, (2, count, 2))


@pytest.mark.parametrize("share", [1.0, 0.25, 0.0])
def test_a_picture_that_goes_a_share_of_the_way(share):
    start, end = drags()
    was, now = blobs(start), blobs(start + share * (end - start))
    shift = np.stack([dragging.centroid(b) - dragging.centroid(a) for a, b in zip(was, now)])
    assert dragging.slope(shift, end - start) == pytest.approx(share, abs=0.02)
    if share:
        r, off = dragging.correlation(shift, end - start)
        assert r > 0.99
        assert 0 < off < 0.01


def test_change_lies_near_what_moved_and_not_near_other_drags():
    start, end = drags()
    changed = np.abs(blobs(end).astype(float) - blobs(start)).mean(3)
    near, far = dragging.near_and_far(changed, start, end)
    others = dragging.near_and_far(changed, np.roll(start, 1, 0), np.roll(end, 1, 0))
    assert near > others[0] > 0
    assert far < 1 < others[1]


def test_attention_that_is_where_the_heatmaps_are():
    start, end = (blobs(at)[..., 0] / 255 for at in drags())
    np.testing.assert_allclose(alignment.correlations(start, 0.5 * start + 0.2), 1)
    assert np.abs(alignment.correlations(start, end)).mean() < 0.9
    np.testing.assert_array_equal(alignment.correlations(start, np.zeros_like(start)), 0)
    row = alignment.measured(start.astype(np.float32), start.astype(np.float32))
    own, others = (float(row[name].split()[0]) for name in ("loss", "loss, others"))
    assert own == 0 < others
