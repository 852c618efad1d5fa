"""The score of Salimans et al. 2016 (arXiv 1606.03498): exp of the mean KL divergence of predictions from their mean.

With the logits (without bias) of the 2015 Inception network over 10 splits it is the Inception score.
"""

import numpy as np

from jaxgan.features.extract import check_features


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """(mean, standard deviation) over consecutive splits of logits [N, classes].

    Raises:
        UserError: fewer rows than splits, or numbers that are not finite.
    """
    logits = check_features(logits, least=splits).astype(np.float64)
    logs = logits - logits.max(1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
    scores = []
    for part in np.array_split(logs, splits):
        mean = np.exp(part).mean(0)
        divergence = (np.exp(part) * (part - np.log(np.maximum(mean, 1e-300)))).sum(1).mean()
        scores.append(np.exp(divergence))
    return float(np.mean(scores)), float(np.std(scores))
