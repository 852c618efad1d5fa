"""What the benchmark of walks measures."""

import pytest
from ml_collections import ConfigDict

from benchmarks.walks import Bench, kinds_of, measure, random_stylegan2, table


@pytest.fixture(scope="module")
def model():
    return random_stylegan2(8, 32, 4)


def test_a_row_for_each_kind(model):
    values = ConfigDict({"kinds": ["linear", "mixing"], "pairs": 2, "frames": 3, "batch": 64, "rounds": 2})
    rows = measure("tiny", model, values)
    assert [row["kind"] for row in rows] == ["linear", "mixing"]
    for row in rows:
        rate = row["frames_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        assert 0 < row["latents_share"]["median"] < 1
        assert row["gflop_per_frame"] > 0
    assert table(rows).count("\n") == 3


def test_both_ways_make_all_frames(model):
    bench = Bench(model, "linear", pairs=3, frames=4, batch=64)
    assert bench.call(bench.together)["frames"] == 3 * 4
    assert bench.call(bench.singles[:1])["frames"] == 4


def test_a_spline_is_one_walk(model):
    bench = Bench(model, "spline", pairs=3, frames=4, batch=64)
    assert bench.call(bench.together)["frames"] == 3 * 3 + 1


def test_kinds(model):
    assert kinds_of(model, []) == ["linear"]
    assert kinds_of(model, ["slerp", "mixing"]) == ["slerp", "mixing"]
