"""What the realism benchmark makes of its points."""

import types

import numpy as np
import pytest

from benchmarks.realism import Bench, draw, grouped, stretched, tabled
from jaxgan.ops.sphere import angle_between
from tests.latent.test_realism import found


def point(seed, method, s, **found):
    return {"seed": seed, "method": method, "s": s, "angle": 10.0 * (0 if s == 0.0 else 1)} | found


POINTS = [
    point(0, "original", 0.0, FD=40.0, SWD=1.0),
    point(1, "original", 0.0, FD=42.0, SWD=3.0),
    point(0, "ours", 0.3, FD=38.0, SWD=2.0),
    point(0, "ours", 0.1, FD=39.0),  # measured with fewer metrics
    point(0, "random", "auto", FD=40.5),
]


def test_points_of_a_method_and_share_stand_together():
    found = [(key, len(group)) for key, group in grouped(POINTS)]
    assert found == [(("original", 0.0), 2), (("ours", 0.1), 1), (("ours", 0.3), 1), (("random", "auto"), 1)]


def test_the_table_has_medians_with_their_range():
    table = tabled(POINTS, ["FD"]).splitlines()
    assert table[2] == "| original | 0.0 | 0.0 | 41 (40 to 42) |"
    assert table[3] == "| ours | 0.1 | 10.0 | 39 |"
    assert len(tabled(POINTS, ["FD", "SWD"]).splitlines()) == 4  # what lacks one is left out


def test_the_figure_takes_points_with_fewer_metrics(tmp_path):
    pytest.importorskip("matplotlib")
    draw(POINTS, ["FD", "SWD"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_only_what_is_missing_is_measured(tmp_path):
    asked = []

    def meter(pictures, metrics):
        asked.append(list(metrics))
        return dict.fromkeys(metrics, 1.0)

    meter.metrics = ["FD", "SWD"]
    bench = types.SimpleNamespace(points=[], meter=meter, about={}, out=tmp_path, pictures=lambda codes: codes)
    x = np.eye(2, dtype=np.float32)
    Bench.measure(bench, 0, "ours", 0.3, x, x)
    bench.points[0].pop("SWD")
    Bench.measure(bench, 0, "ours", 0.3, x, x)
    Bench.measure(bench, 0, "ours", 0.3, x, x)
    assert asked == [["FD", "SWD"], ["SWD"]]
    assert len(bench.points) == 1


def test_every_method_moves_the_same_codes_by_the_same_angles():
    """s = 0 is the codes themselves; baselines turn image by image as ours does."""
    _, result = found()
    moved = {}

    def measure(seed, method, s, codes, x, more=None):
        np.testing.assert_array_equal(x, result.x)
        assert (method, s) not in moved
        moved[method, s] = np.asarray(codes)

    bench = types.SimpleNamespace(
        found=lambda seed, num: result,
        num=len(result.x),
        config=types.SimpleNamespace(select=types.SimpleNamespace(low=0.5, high=0.75)),
        measure=measure,
    )
    rng = np.random.default_rng(7)
    directions = {"mean": rng.standard_normal(result.x.shape[1]), "random": rng.standard_normal(result.x.shape)}
    Bench.sweep(bench, 0, [0.0, 0.1, 0.2], [0.2], ["mean", "random", "truncation"], directions)
    np.testing.assert_array_equal(moved["original", 0.0], result.x)
    np.testing.assert_array_equal(moved["selected", "auto"], result.code)
    assert {s for method, s in moved if method == "mean"} == {"auto", 0.2}
    for s, ours in (("auto", moved["selected", "auto"]), (0.2, moved["ours", 0.2])):
        angles = np.asarray(angle_between(result.x, ours))
        assert angles.min() > 0.02
        for baseline in directions:
            np.testing.assert_allclose(angle_between(result.x, moved[baseline, s]), angles, atol=2e-3)
    assert {s for method, s in moved if method == "truncation"} == {"auto", 0.2}  # by angles in test_baselines


def test_pictures_are_stretched_one_by_one():
    pictures = np.asarray([[10, 20, 30], [0, 128, 255], [7, 7, 7]], np.uint8).reshape(3, 1, 3, 1)
    np.testing.assert_array_equal(stretched(pictures).reshape(3, 3), [[0, 128, 255], [0, 128, 255], [0, 0, 0]])
