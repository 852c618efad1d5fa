"""Fréchet distance between two sets of features, each summed up by its mean and covariance, in float64.

With the pooled features of the 2015 Inception network this is the FID of Heusel et al. 2017 (arXiv 1706.08500).
"""

from typing import NamedTuple

import numpy as np

_BLOCK = 4096  # rows turned to float64 at a time


class Moments(NamedTuple):
    """Mean [D], covariance [D, D] and count of a set of features."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance (divided by N, as NVIDIA's code does; NumPy's default is N - 1) of [N, D], in float64.

    Raises:
        ValueError: fewer than two rows, or another number of axes.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features of shape {features.shape}; at least two rows [N, D] are needed")
    mean = features.mean(0, dtype=np.float64)
    covariance = np.zeros((features.shape[1],) * 2)
    for start in range(0, len(features), _BLOCK):
        centred = features[start : start + _BLOCK].astype(np.float64) - mean
        covariance += centred.T @ centred
    return Moments(mean, covariance / len(features), len(features))


def distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), never below 0.

    tr (A B)^(1/2) is the sum of the square roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric: no
    complex numbers, no iteration that may fail, and rank-deficient covariances are as good as any.
    """
    root = _symmetric_root(a.covariance)
    overlap = _roots(np.linalg.eigvalsh(root @ b.covariance @ root)).sum()
    difference = a.mean - b.mean
    value = difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * overlap
    return max(float(value), 0.0)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The distance between two sets of features [N, D] and [M, D]."""
    return distance(moments(a), moments(b))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * _roots(values)) @ vectors.T


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots; what is 0 but for rounding counts as 0, because the root of rounding is no longer small."""
    least = eigenvalues.max() * len(eigenvalues) * np.finfo(np.float64).eps
    return np.sqrt(np.where(eigenvalues > max(least, 0.0), eigenvalues, 0.0))
