"""Scores of images that attributes are fitted to: measured on the pixels, or by a classifier of labelled images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from jaxgan.errors import UserError

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 images [N, H, W, C] -> [N]


def _grey(images: np.ndarray) -> np.ndarray:
    """[N, H, W] in [0, 1]."""
    return images.astype(np.float32).mean(-1) / 255


def _channel(number: int) -> Scorer:
    """How much more of a channel there is than of all."""
    return lambda images: (
        (images[..., number].astype(np.float32) - images.astype(np.float32).mean(-1)).mean((1, 2)) / 255
    )


def _figure(images: np.ndarray) -> np.ndarray:
    """[N, H, W]: how much each pixel differs from the picture's border, whose median is taken for the ground."""
    grey = _grey(images)
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    return np.abs(grey - np.median(border, axis=1)[:, None, None])


def _extent(axis: int) -> Scorer:
    """Deviation of the figure along an axis of the image (0 is vertical), as a share of its side."""

    def score(images: np.ndarray) -> np.ndarray:
        weight = _figure(images).sum(2 - axis) + 1e-6
        place = np.linspace(-0.5, 0.5, weight.shape[1])
        middle = (weight * place).sum(1) / weight.sum(1)
        return np.sqrt((weight * np.square(place - middle[:, None])).sum(1) / weight.sum(1))

    return score


PIXEL_SCORES: dict[str, tuple[str, Scorer]] = {
    "brightness": ("mean grey level", lambda images: _grey(images).mean((1, 2))),
    "contrast": ("deviation of grey levels", lambda images: _grey(images).std((1, 2))),
    "red": ("red beyond the mean of the channels", _channel(0)),
    "green": ("green beyond it", _channel(1)),
    "blue": ("blue beyond it", _channel(2)),
    "size": ("share of the picture that differs from its ground", lambda images: (_figure(images) > 0.1).mean((1, 2))),
    "height": ("vertical extent of the figure", _extent(0)),
    "width": ("horizontal extent of the figure", _extent(1)),
}


def pixel_scorer(name: str, channels: int) -> Scorer:
    """A scorer of `PIXEL_SCORES`.

    Raises:
        UserError: there is none of that name, or it needs colours.
    """
    if name not in PIXEL_SCORES:
        known = ", ".join(PIXEL_SCORES)
        raise UserError(
            f"--attribute={name} is not known; use one of {known}, class:NAME, pca:K, sefa:K or a .npy file"
        )
    if name in ("red", "green", "blue") and channels < 3:
        raise UserError(f"--attribute={name} needs colours, and this generator's images are grey; use brightness")
    return PIXEL_SCORES[name][1]


class Classifier(NamedTuple):
    """A logistic regression on features: logit = features @ weight + bias.

    Attributes:
        weight, bias: [D], scalar.
        accuracy: of held-out images, both kinds counting the same.
    """

    weight: np.ndarray
    bias: float
    accuracy: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Logits [N] of features [N, D]."""
        return features @ self.weight + self.bias


def fit_classifier(features: np.ndarray, positive: np.ndarray, *, ridge: float = 1e-2, seed: int = 0) -> Classifier:
    """Tells the images that are `positive` [N] from the others by features [N, D]; a fifth is held out.

    Raises:
        UserError: there are fewer than 20 of a kind.
    """
    positive = np.asarray(positive, bool)
    if min(positive.sum(), (~positive).sum()) < 20:
        raise UserError(
            f"a classifier of {positive.sum()} against {(~positive).sum()} images needs 20 of each; give more labels"
        )
    order = np.random.default_rng(seed).permutation(len(features))
    held, fitted = np.split(order, [len(order) // 5])
    mean, deviation = features[fitted].mean(0), features[fitted].std(0) + 1e-6
    x = ((features - mean) / deviation).astype(np.float64)
    sign = np.where(positive, 1.0, -1.0)
    each = np.where(positive, 0.5 / positive[fitted].mean(), 0.5 / (~positive[fitted]).mean())  # both kinds alike

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weight, margin = parameters[:-1], sign[fitted] * (x[fitted] @ parameters[:-1] + parameters[-1])
        slope = -each[fitted] * sign[fitted] / (1 + np.exp(np.clip(margin, -50, 50))) / len(fitted)
        value = (each[fitted] * np.logaddexp(0, -margin)).mean() + ridge * weight @ weight / 2
        return value, np.append(x[fitted].T @ slope + ridge * weight, slope.sum())

    found = optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    right = (x[held] @ found[:-1] + found[-1] > 0) == positive[held]
    kinds = [right[positive[held] == kind] for kind in (True, False)]
    accuracy = float(np.mean([k.mean() for k in kinds if len(k)]))
    weight = found[:-1] / deviation
    return Classifier(weight.astype(np.float32), float(found[-1] - mean @ weight), accuracy)
