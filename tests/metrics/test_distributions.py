"""Kernel distance, precision and recall, class score, path length and disequilibrium on cases with known answers."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.disequilibrium import disequilibrium
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kernel_distance, subset_images, unbiased_mmd
from jaxgan.metrics.perceptual_path import path_length
from jaxgan.metrics.precision_recall import density_coverage, manifold, nearest, precision_recall


def test_kernel_distance_is_unbiased_on_equal_distributions():
    rng = np.random.default_rng(0)
    values = [unbiased_mmd(*rng.standard_normal((2, 40, 8))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0 < max(values)


def test_kernel_distance_equals_the_definition():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 5, 3))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = np.mean([k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs])
    expected -= 2 * np.mean([k(a, b) for a in x for b in y])
    assert unbiased_mmd(x, y) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_grows_with_distance_and_has_a_spread():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 300, 8))
    near, far = (kernel_distance(x, y + shift, subsets=20, subset_size=100) for shift in (0.0, 1.0))
    assert far[0] > 10 * abs(near[0])
    assert near[1] > 0
    assert kernel_distance(x, y, seed=3) == kernel_distance(x, y, seed=3)
    with pytest.raises(UserError, match="at least 2 rows"):
        kernel_distance(x[:1], y)


def line(start: float, count: int) -> np.ndarray:
    """Points at distance 1 on a line."""
    return np.stack([start + np.arange(count, dtype=np.float32), np.zeros(count, np.float32)], 1)


def test_precision_and_recall_of_textbook_cases():
    reals = line(0, 20)
    assert precision_recall(reals, line(0.25, 20)) == (1.0, 1.0)
    assert precision_recall(reals, line(1000, 20)) == (0.0, 0.0)
    # Half of the fakes are far away; the near half covers all reals.
    half = np.concatenate([line(0.25, 20), line(1000, 20)])
    assert precision_recall(reals, half) == (0.5, 1.0)
    # All fakes are real, but from one end of the line: high precision, low recall.
    precision, recall = precision_recall(reals, line(0.1, 5))
    assert precision == 1.0
    assert recall < 0.5


def test_density_and_coverage_of_textbook_cases():
    reals = line(0, 20)
    density, coverage = density_coverage(reals, line(0.0, 20), k=2)
    assert coverage == 1.0
    assert density == pytest.approx(1.0, abs=0.6)
    assert density_coverage(reals, line(1000, 20), k=2) == (0.0, 0.0)
    _, coverage = density_coverage(reals, line(0, 5), k=1)
    assert coverage == pytest.approx(6 / 20)  # the five, and their neighbour whose ball reaches the fifth


def test_blocks_do_not_change_neighbours():
    """More rows than a block holds, not a multiple of it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2500, 4)).astype(np.float32)
    radii = manifold(x, 3).radii
    for i in (0, 1023, 1024, 2499):
        expected = np.sort(np.linalg.norm(x - x[i], axis=1))[3]
        assert radii[i] == pytest.approx(expected, rel=1e-3)
    index, distance = nearest(x[::-1][:1500], x)
    np.testing.assert_array_equal(index, np.arange(2499, 999, -1))
    assert distance.max() < 0.01
    with pytest.raises(UserError, match="at least 4 rows"):
        manifold(x[:3], 3)


def test_class_score():
    certain = np.eye(10)[np.arange(1000) % 10] * 1000
    assert inception_score(certain)[0] == pytest.approx(10)
    assert inception_score(np.zeros((100, 10)))[0] == pytest.approx(1)
    one_class = np.eye(10)[np.zeros(100, int)] * 1000
    assert inception_score(one_class) == (pytest.approx(1), pytest.approx(0))
    mean, spread = inception_score(np.random.default_rng(0).standard_normal((1000, 10)))
    assert mean > 1
    assert spread > 0
    with pytest.raises(UserError, match="at least 10 rows"):
        inception_score(certain[:9])


def test_path_length_leaves_out_the_ends():
    steps = np.concatenate([np.full(990, 2.0), [1e9] * 5, [-1e9] * 5])
    value, error = path_length(steps)
    assert value == 2.0
    assert error == 0.0
    with pytest.raises(UserError, match="finite"):
        path_length(np.array([1.0, np.nan]))


def test_disequilibrium():
    assert disequilibrium(np.array([2.0, 4.0]), np.array([-1.0])) == 4.0
    assert disequilibrium(np.array([1.0]), np.array([1.0])) == 0.0


def test_subsets_are_never_the_whole_set():
    assert subset_images(5000, 2000) == 1000
    assert subset_images(1000, 1000) == 500
    x, y = np.random.default_rng(0).standard_normal((2, 60, 4))
    assert kernel_distance(x, y, subsets=10)[1] > 0


@pytest.mark.parametrize("measure", [kernel_distance, precision_recall, density_coverage])
def test_features_that_mean_nothing(measure):
    x = np.random.default_rng(0).standard_normal((20, 4))
    with pytest.raises(UserError, match="NaN or infinite"):
        measure(x, x * np.inf)
    with pytest.raises(UserError, match="4 and 3 features"):
        measure(x, x[:, :3])
    with pytest.raises(UserError, match="NaN or infinite"):
        inception_score(x * np.nan)
    with pytest.raises(UserError, match="logits of fakes"):
        disequilibrium(np.ones(2), np.array([np.nan]))
