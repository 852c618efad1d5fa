"""The score of Salimans et al. 2016 (arXiv 1606.03498): exp of the mean KL divergence of predictions from their mean.

With the logits (without bias) of the 2015 Inception network over 10 splits it is the Inception score.
"""

import numpy as np


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """(mean, standard deviation) over consecutive splits of logits [N, classes].

    Raises:
        ValueError: fewer rows than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} predictions; at least {splits} are needed, one a split")
    logits = np.asarray(logits, np.float64)
    logs = logits - logits.max(1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
    scores = []
    for part in np.array_split(logs, splits):
        mean = np.exp(part).mean(0)
        divergence = (np.exp(part) * (part - np.log(np.maximum(mean, 1e-300)))).sum(1).mean()
        scores.append(np.exp(divergence))
    return float(np.mean(scores)), float(np.std(scores))
