"""Attributes of a generator's images as functions of w, and directions that change them.

An attribute model is fitted to random w and the scores of their images. It reads whitened w, so that it applies to
every part of a latent whose parts have the distribution of random w (our formulation; that Sypetkowski 2023, arXiv
2303.14552, has an attribute model and takes directions made beforehand is all that its abstract says). Directions that
need no scores: principal components (GANSpace, arXiv 2004.02546), factors of the affine layers (SeFa, arXiv
2007.06600), a file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.errors import UserError
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import to_prior
from jaxgan.networks.gan import image_box

_HELD_OUT = 0.2
_RIDGE = 1e-3  # of a linear model, in units of the mean square of v, which is 1
_SEFA_LAYERS = ("conv0", "conv1")


class Linear(NamedTuple):
    """a(v) = v @ normal + bias, in deviations of the score from its mean over random images.

    Attributes:
        normal: [w_dim], of whitened w; 0 in components that random w do not vary in.
        bias: about 0.
        fit: correlation of the prediction with the scores of held-out images.
        mean, deviation: of the scores.
    """

    normal: jax.Array
    bias: jax.Array
    fit: float
    mean: float
    deviation: float

    def __call__(self, v: jax.Array) -> jax.Array:
        """Predicted scores [...] of whitened w [..., w_dim]."""
        return v @ self.normal + self.bias


class Mlp(NamedTuple):
    """A network of one hidden layer; attributes otherwise as in `Linear`."""

    params: Mapping[str, jax.Array]
    fit: float
    mean: float
    deviation: float

    def __call__(self, v: jax.Array) -> jax.Array:
        """Predicted scores [...] of whitened w [..., w_dim]."""
        return mlp(self.params, v)


AttributeModel = Linear | Mlp


def mlp(params: Mapping[str, jax.Array], v: jax.Array) -> jax.Array:
    """[..., w_dim] -> [...]; only the components that the first layer has weights for are read."""
    hidden = jnp.tanh(v[..., : params["w1"].shape[0]] @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def _split(scores: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """(rows to fit, rows held out, standardised scores, mean, deviation).

    Raises:
        UserError: too few, not finite, or all the same.
    """
    if len(scores) < 100 or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        raise UserError(f"{len(scores)} scores: an attribute needs 100 or more, finite, not all alike; score more")
    held, fitted = np.split(np.random.default_rng(seed).permutation(len(scores)), [int(_HELD_OUT * len(scores))])
    mean, deviation = float(scores[fitted].mean()), float(scores[fitted].std())
    return fitted, held, ((scores - mean) / deviation).astype(np.float32), mean, deviation


def fit_linear(v: np.ndarray, scores: np.ndarray, kept: int, seed: int = 0) -> Linear:
    """Ridge regression of scores [N] on whitened w [N, w_dim], of which the first `kept` components are used."""
    fitted, held, y, mean, deviation = _split(scores, seed)
    x = np.c_[v[:, :kept], np.ones(len(v))].astype(np.float64)
    penalty = _RIDGE * len(fitted) * np.diag(np.r_[np.ones(kept), 0.0])
    solved = np.linalg.solve(x[fitted].T @ x[fitted] + penalty, x[fitted].T @ y[fitted])
    fit = float(np.corrcoef(x[held] @ solved, y[held])[0, 1])
    normal = np.zeros(v.shape[1], np.float32)
    normal[:kept] = solved[:-1]
    return Linear(jnp.asarray(normal), jnp.float32(solved[-1]), fit, mean, deviation)


def fit_mlp(v: np.ndarray, scores: np.ndarray, kept: int, seed: int = 0, *, hidden: int = 64, steps: int = 2000) -> Mlp:
    """A small network, Adam on batches of 256; arguments as in `fit_linear`."""
    fitted, held, y, mean, deviation = _split(scores, seed)
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "w1": jax.random.normal(keys[0], (kept, hidden)) / kept**0.5,
        "b1": jnp.zeros(hidden),
        "w2": jax.random.normal(keys[1], (hidden,)) / hidden**0.5,
        "b2": jnp.float32(0),
    }
    optimizer = optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=1e-3)
    x, wanted = jnp.asarray(v[fitted]), jnp.asarray(y[fitted])

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, state = carry
        rows = jax.random.randint(key, (256,), 0, len(x))
        gradient = jax.grad(lambda p: jnp.square(mlp(p, x[rows]) - wanted[rows]).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda params, keys: jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0])
    params = run(params, jax.random.split(keys[2], steps))
    fit = float(np.corrcoef(np.asarray(mlp(params, jnp.asarray(v[held]))), y[held])[0, 1])
    return Mlp(params, fit, mean, deviation)


def without(model: Linear, others: list[Linear]) -> Linear:
    """The model whose normal changes none of the others' predictions: less its projection on their span.

    Raises:
        UserError: nothing is left of it.
    """
    if not others:
        return model
    basis, _ = np.linalg.qr(np.stack([np.asarray(o.normal) for o in others], 1))
    normal = np.asarray(model.normal)
    left = normal - basis @ (basis.T @ normal)
    if np.linalg.norm(left) < 0.05 * np.linalg.norm(normal):
        raise UserError("--keep: of the attribute's direction nothing is left without those; keep fewer")
    return model._replace(normal=jnp.asarray(left))


class Direction(NamedTuple):
    """A direction of w: [w_dim], or a row for each layer, and the words that a report has for it."""

    rows: np.ndarray
    about: str


def principal(w: np.ndarray, number: int) -> Direction:
    """GANSpace: a principal component of random w [N, w_dim]; its length is their deviation along it.

    Raises:
        UserError: there are fewer components.
    """
    if not 0 <= number < w.shape[1]:
        raise UserError(f"--attribute=pca:{number}: w has components 0 to {w.shape[1] - 1}")
    variances, directions = np.linalg.eigh(np.cov(w.astype(np.float64).T))
    variance, direction = variances[::-1][number], directions[:, ::-1][:, number]
    share = variance / variances.sum()
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    return Direction((direction * variance**0.5).astype(np.float32), f"component {number}, {share:.1%} of w's variance")


def factor(variables: Any, w: np.ndarray, number: int, layers: range | None = None) -> Direction:
    """SeFa: a direction of w that the affine layers answer to most; its length is the deviation of w along it.

    Args:
        variables: of a StyleGAN2.
        w: random ones, [N, w_dim].
        number: 0 the strongest.
        layers: rows of ws whose layers are looked at; all by default.

    Raises:
        UserError: there are fewer directions.
    """
    if not 0 <= number < w.shape[1]:
        raise UserError(f"--attribute=sefa:{number}: w has directions 0 to {w.shape[1] - 1}")
    blocks = variables["params"]["synthesis"]
    # Row i of ws feeds convolution i; the last row feeds a ToRGB alone.
    weights = [
        np.asarray(blocks[name][layer]["affine"]["weight"], np.float64)
        for name in sorted(blocks, key=lambda name: int(name[1:]))
        for layer in _SEFA_LAYERS
        if layer in blocks[name]
    ]
    if layers is not None:
        weights = [weight for row, weight in enumerate(weights) if row in layers]
    if not weights:
        raise UserError("--attribute=sefa: those rows feed no convolution; give coarser --layers")
    matrix = np.concatenate(weights, 1)
    matrix = matrix / np.linalg.norm(matrix, axis=0, keepdims=True)  # as the release: every style counts the same
    _, directions = np.linalg.eigh(matrix @ matrix.T)
    direction = directions[:, ::-1][:, number]
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    length = float((w @ direction).std())
    return Direction((direction * length).astype(np.float32), f"factor {number} of the affine layers")


def from_file(path: str, generator: nn.Module) -> Direction:
    """A direction of a .npy file: [w_dim], [1, w_dim] or [num_ws, w_dim].

    Raises:
        UserError: it cannot be read, or does not fit the generator.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"--attribute={path} cannot be read; give a .npy file of a direction of w") from error
    wanted = ((generator.w_dim,), (1, generator.w_dim), (generator.num_ws, generator.w_dim))
    if not isinstance(rows, np.ndarray) or rows.shape not in wanted or not np.isfinite(rows).all():
        raise UserError(
            f"--attribute={path} holds {getattr(rows, 'shape', type(rows))}; a direction of this generator is finite "
            f"and [{generator.w_dim}] or [{generator.num_ws}, {generator.w_dim}]"
        )
    rows = rows[0] if rows.shape == (1, generator.w_dim) else rows
    return Direction(rows.astype(np.float32), f"the file {Path(path).name}")


def whitened(generator: nn.Module, statistics: Statistics, ws: np.ndarray) -> np.ndarray:
    """[N, w_dim]: random w [N, w_dim] as attribute models read them; of maps [N, h, w, w_dim] the image's mean."""
    return mean_shown(generator, np.asarray(to_prior(generator, statistics, jnp.asarray(ws))))


def mean_shown(generator: nn.Module, w: np.ndarray) -> np.ndarray:
    """[N, w_dim]: w [N, w_dim] itself, or of maps [N, h, w, w_dim] the mean of the part that the image shows."""
    if w.ndim == 2:
        return w
    top, left, bottom, right = image_box(generator)
    height, width = w.shape[1:3]
    inside = w[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    return inside.mean((1, 2))
