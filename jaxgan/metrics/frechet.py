"""Fréchet distance between two sets of features, each summed up by its mean and covariance, in float64.

With the pooled features of the 2015 Inception network this is the FID of Heusel et al. 2017 (arXiv 1706.08500).
"""

from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.features.extract import check_features

_BLOCK = 4096  # rows turned to float64 at a time


class Moments(NamedTuple):
    """Mean [D], covariance [D, D] and count of a set of features."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance (divided by N, as NVIDIA's code does; NumPy's default is N - 1) of [N, D], in float64.

    Raises:
        UserError: fewer than two rows, another number of axes, or numbers that are not finite.
    """
    features = check_features(features, least=2)
    mean = features.mean(0, dtype=np.float64)
    covariance = np.zeros((features.shape[1],) * 2)
    for start in range(0, len(features), _BLOCK):
        centred = features[start : start + _BLOCK].astype(np.float64) - mean
        covariance += centred.T @ centred
    return Moments(mean, covariance / len(features), len(features))


def distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), never below 0.

    tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2): no complex numbers, no iteration that may fail,
    rank-deficient covariances are as good as any, and no root is taken of what the product has rounded.

    Raises:
        UserError: the numbers of features differ.
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(f"{len(a.mean)} and {len(b.mean)} features do not compare; take both of one network")
    roots = _symmetric_root(a.covariance), _symmetric_root(b.covariance)
    overlap = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    difference = a.mean - b.mean
    value = difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * overlap
    return max(float(value), 0.0)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The distance between two sets of features [N, D] and [M, D]."""
    return distance(moments(a), moments(b))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    # What is 0 but for rounding counts as 0, because the root of rounding is no longer small.
    least = values.max() * len(values) * np.finfo(np.float64).eps
    return (vectors * np.sqrt(np.where(values > max(least, 0.0), values, 0.0))) @ vectors.T
