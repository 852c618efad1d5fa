"""Charts: what they draw, through the section of the report that holds them, and the numbers behind it."""

import numpy as np
import pytest

from jaxgan import charts, report
from jaxgan.errors import UserError
from tests.page import Page


@pytest.mark.parametrize(
    "ys",
    [
        [],
        [1.0],
        [0.0, 0.0],
        [np.nan, np.inf],
        [1.0, np.nan, -np.inf, 2.0],
        [1e-30, 1e30],
        [-1e30, 1e30],
        [1e-8, 2e-8],
        [5.0, 5.0 + 1e-12],
        list(np.random.default_rng(3).normal(size=5000)),
    ],
    ids=str,
)
def test_charts_draw_any_numbers(ys):
    section = report.chart_section("c", {"g": {"line": (range(len(ys)), ys)}})
    page = Page(section)
    assert "nan" not in section
    assert "inf" not in section.replace("non-finite", "")
    drawn = [path["d"] for path in page.all("path") if path.get("class") in ("line", "raw")]
    assert bool(drawn) == bool(np.isfinite(ys).any())
    assert all(len(d.split()) // 2 <= charts.MAX_POINTS for d in drawn)
    assert len(page.all("svg")) == 1 + bool(drawn)  # the key, and the chart


def test_charts_can_be_heard():
    section = report.chart_section("c", {"loss": {"G": ([0, 1], [1, 2]), "D": ([0, 1], [2, 1])}})
    chart = Page(section).all("svg")[0]
    assert chart["role"] == "img"
    assert chart["aria-label"] == "loss: G, D against images seen"
    assert "G 1 (images seen 0)\nD 2 (images seen 0)" in section


def test_log_axis_is_chosen_by_range_and_can_be_forced():
    wide, narrow = {"g": {"l": ([0, 1], [1e-3, 10.0])}}, {"g": {"l": ([0, 1], [0.0, 10.0])}}
    assert "log scale" in report.chart_section("c", wide)
    assert "log scale" not in report.chart_section("c", wide, log_y=False)
    assert "log scale" not in report.chart_section("c", narrow)
    assert "1 non-finite or non-positive point left out" in report.chart_section("c", narrow, log_y=True)


def test_curves_of_unequal_length_are_named():
    with pytest.raises(UserError, match="'bad'"):
        report.chart_section("c", {"g": {"bad": ([0, 1], [1.0])}})


def test_downsample_keeps_ends_and_spikes():
    ys = np.zeros(10_000)
    ys[1234] = 5.0
    ys[4321] = -5.0
    keep = charts.downsample(ys, 100)
    assert len(keep) <= 100
    assert {0, 1234, 4321, 9_999} <= set(keep.tolist())
    assert (np.diff(keep) > 0).all()


def test_smooth_keeps_lines_and_forgets_a_spike():
    np.testing.assert_allclose(charts.smooth(np.full(200, 3.0)), 3.0)
    np.testing.assert_allclose(charts.smooth(np.arange(200.0))[10:-10], np.arange(10.0, 190.0))
    spiked = np.ones(200)
    spiked[50] = 1e30
    np.testing.assert_allclose(charts.smooth(spiked)[100:], 1.0)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 2.5e6, ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M"]),
        (0, 50_000, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (1000, 1001, ["1000.0", "1000.2", "1000.4", "1000.6", "1000.8", "1001.0"]),
        (-0.01, 0.01, ["-0.010", "-0.005", "0", "0.005", "0.010"]),
        (0, 5e-6, ["0", "1e-06", "2e-06", "3e-06", "4e-06", "5e-06"]),
    ],
)
def test_ticks(low, high, labels):
    assert charts.tick_labels(charts.nice_ticks(low, high)) == labels
