"""The Fréchet distance of known Gaussians, and of samples."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.frechet import Moments, distance, frechet_distance, moments


def test_closed_form_of_commuting_gaussians():
    """Diagonal in one basis: |m|^2 + sum (sqrt a - sqrt b)^2."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((64, 64)))
    a, b = rng.uniform(0.1, 5, (2, 64))
    mean_a, mean_b = rng.standard_normal((2, 64))
    found = distance(Moments(mean_a, basis @ np.diag(a) @ basis.T, 1), Moments(mean_b, basis @ np.diag(b) @ basis.T, 1))
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert abs(found - expected) < 1e-8 * expected


def test_closed_form_of_gaussians_that_do_not_commute():
    """In two dimensions tr (A B)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))."""
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    zero = np.zeros(2)
    assert abs(distance(Moments(zero, a, 1), Moments(zero, b, 1)) - expected) < 1e-8


def test_symmetric_zero_and_rank_deficient():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 50)).astype(np.float32)  # fewer rows than columns
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    assert frechet_distance(x, y + 1) > frechet_distance(x, y) > 0


def test_moments_divide_by_n_in_float64():
    x = np.random.default_rng(0).standard_normal((9000, 3)).astype(np.float32) + 1000
    found = moments(x)
    np.testing.assert_allclose(found.covariance, np.cov(x.astype(np.float64).T, ddof=0), rtol=1e-9)
    assert found.count == 9000
    with pytest.raises(UserError, match="at least 2 rows"):
        moments(x[:1])


def test_ill_conditioned_covariances():
    """Eigenvalues over twelve orders of magnitude, as pooled features have them; the closed form again."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((96, 96)))
    a, b = 10.0 ** rng.uniform(-10, 2, (2, 96))
    mean = np.zeros(96)
    pair = [Moments(mean, (basis * x) @ basis.T, 1) for x in (a, b)]
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert distance(*pair) == pytest.approx(expected, rel=1e-6)
    assert distance(pair[0], pair[0]) < 1e-9 * a.sum()


def test_features_that_mean_nothing():
    x = np.random.default_rng(0).standard_normal((8, 4))
    with pytest.raises(UserError, match="NaN or infinite"):
        frechet_distance(x, np.where(x > 1, np.nan, x))
    with pytest.raises(UserError, match="4 and 3 features"):
        frechet_distance(x, x[:, :3])
    assert frechet_distance(x.tolist(), x + 1) == pytest.approx(4)
