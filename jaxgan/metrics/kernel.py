"""Kernel distance: the unbiased squared MMD between features under the cubic kernel (x.y / D + 1)^3.

With the pooled features of the 2015 Inception network this is the KID of Bińkowski et al. 2018 (arXiv 1801.01401).
"""

import numpy as np

from jaxgan.features.extract import check_pair


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """(mean, standard deviation) over random subsets of two sets of features [N, D] and [M, D].

    Subsets are drawn without replacement, each of `subset_images` rows.

    Raises:
        UserError: a set has fewer than two rows, numbers that are not finite, or another number of features.
    """
    a, b = check_pair(a, b, least=2)
    size = subset_images(len(a), len(b), subset_size)
    rng = np.random.default_rng(seed)
    values = [
        unbiased_mmd(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def subset_images(a: int, b: int, subset_size: int = 1000) -> int:
    """Rows in a subset of two sets of so many: `subset_size`, or half of the smaller set where that has no more.

    Subsets as large as the set would all be one and the same, and their spread no spread.
    """
    smaller = min(a, b)
    return subset_size if smaller > subset_size else max(smaller // 2, 2)


def unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate for two sets of one size n: within-set means without the diagonal, minus twice across."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m, width = len(x), len(y), x.shape[1]

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (p @ q.T / width + 1.0) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2.0 * kernel(x, y).mean())
