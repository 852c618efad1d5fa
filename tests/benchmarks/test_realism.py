"""What the realism benchmark makes of its points."""

import types

import numpy as np
import pytest

from benchmarks.realism import Bench, draw, grouped, tabled


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
