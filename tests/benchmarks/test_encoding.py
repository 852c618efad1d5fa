"""What the benchmark of encodings counts alike in every space, and how it compares them."""

import numpy as np
import pytest

from benchmarks import encoding
from jaxgan import config as configs
from jaxgan.latent.encode import plan, staged


@pytest.mark.parametrize("space", ["w", "w+", "sw:1", "sw:4", "sw+:1", "sw+:8", "pyramid:8", "ss:4"])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_every_space_gets_the_same_steps(space, weight):
    bench = encoding.Bench.__new__(encoding.Bench)
    bench.config, bench.steps = configs.load("invert"), 600
    config = bench.config_of(space, weight)
    stages = plan(config) if staged(space) else [config]
    assert sum(stage["steps"] for stage in stages) == 600
    if not space.startswith("ss"):
        assert stages[-1]["weights"]["equalise"] == weight


def test_a_gain_is_paired():
    base = np.array([1.0, 2.0, 3.0, 6.0])
    assert encoding.gain(0.7 * base, base) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12))
    share, error = encoding.gain(base[::-1] * 0.7, base)
    assert share == pytest.approx(0.3)
    assert error > 0.3
    rows = [{"space": "w+", "weight of R_eq": 0.0}, {"space": "sw:4", "weight of R_eq": 0.1}]
    found = encoding.with_gains(rows, [base, base / 2])
    assert found[1]["gain over w+"] == pytest.approx(0.5)
    assert found[1]["gain over sw+:1"] is None


def test_layouts_show_the_image_in_other_places():
    image = np.arange(100, dtype=np.uint8).reshape(1, 10, 10, 1)
    images = np.concatenate([image, 255 - image])
    moved = encoding.laid_out(images, "shifted")
    np.testing.assert_array_equal(moved[:, :, 2:], images[:, :, :-2])
    np.testing.assert_array_equal(moved[:, :, 0], images[:, :, 0])
    two = encoding.laid_out(images, "two")
    assert two.shape == images.shape
    np.testing.assert_array_equal(two[0, :, 5:], two[1, :, :5])
    tiled = encoding.laid_out(images, "tiled")
    np.testing.assert_array_equal(tiled[:, :5, :5], tiled[:, 5:, 5:])
