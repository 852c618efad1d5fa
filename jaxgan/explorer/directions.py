"""The directions that the page has sliders for: attributes scored on random samples, PCA, SeFa, those of z, files."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.experiment import Model
from jaxgan.latent.attributes import Direction, factor, from_file, mean_shown, principal
from jaxgan.latent.scores import PIXEL_SCORES
from jaxgan.latent.space import has_mapping
from jaxgan.movie import shrink
from jaxgan.networks.gan import draw_extras, draw_z
from jaxgan.report import to_uint8

SAMPLES = 1000
_BATCH = 50
_FOUND = 8  # components, and factors
_WEAKEST = 0.15  # correlation of a score with what w says of it, below which it is left out
_SEEN = 16  # px a side at most, of pictures whose changes are looked at


def find(model: Model, files: Sequence[str] = ()) -> dict[str, Direction]:
    """{name: direction}, each as long as random latents deviate along it; [w_dim], or a row for each of ws.

    An attribute's is the mean of w per deviation of its score, over random samples (InterFaceGAN has a boundary's
    normal in its place): what else goes with the attribute goes with it. A generator without a mapping network, whose
    w has no principal components, has in their place those directions of z along which its pictures change most.

    Raises:
        UserError: a file that is no direction of this generator.
    """
    generator = model.gan.generator
    found: dict[str, Direction] = {}
    cells, codes, images = _samples(model)
    for name, (about, score) in PIXEL_SCORES.items():
        if images.shape[-1] < 3 and name in ("red", "green", "blue"):
            continue
        direction = _towards(codes, score(images), about)
        if direction is not None:
            found[name] = direction
    count = min(_FOUND, codes.shape[1])
    if has_mapping(generator):
        found |= {f"pca:{k}": principal(cells, k) for k in range(count)}
        if _styled(model.variables["generator"]):
            found |= {f"sefa:{k}": factor(model.variables["generator"], cells, k) for k in range(count)}
    else:
        found |= {f"z:{k}": direction for k, direction in enumerate(_seen(codes, images, count))}
        found = {name: direction._replace(rows=_of_z(model, direction.rows)) for name, direction in found.items()}
    for path in files:
        direction = from_file(path, generator)
        found[direction.about.removeprefix("the file ").removesuffix(".npy")] = direction
    if any(len(name) > 40 for name in found):
        raise UserError("a direction's name has more than 40 letters; rename its file")
    return found


def rows_of(direction: Direction, num_ws: int) -> np.ndarray:
    """[num_ws, w_dim]."""
    return np.broadcast_to(direction.rows, (num_ws, direction.rows.shape[-1]))


def _samples(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(random w [M, w_dim], a code of each image [N, D], the images, uint8).

    The code is the image's mean w, or z where there is no mapping network.
    """
    generator = model.gan.generator
    cells, codes, images = [], [], []
    for number in range(SAMPLES // _BATCH):
        key = jax.random.fold_in(jax.random.key(0xD1), number)
        labels = jnp.arange(_BATCH) % generator.num_classes if generator.num_classes else None
        z = draw_z(generator, key, _BATCH)
        ws = model.map(z, labels)
        made = model.synthesize(ws, **draw_extras(generator, jax.random.split(key, _BATCH)))
        row = np.asarray(ws[:, 0])
        cells.append(row.reshape(-1, row.shape[-1]))
        codes.append(mean_shown(generator, row) if has_mapping(generator) else np.asarray(z))
        images.append(to_uint8(np.asarray(made)))
    return tuple(np.concatenate(parts) for parts in (cells, codes, images))


def _towards(w: np.ndarray, scores: np.ndarray, about: str) -> Direction | None:
    """The mean of w per deviation of a score; None where w hardly knows it."""
    if not np.isfinite(scores).all() or scores.std() == 0:
        return None
    standard = (scores - scores.mean()) / scores.std()
    centred = w - w.mean(0)
    rows = (centred * standard[:, None]).mean(0)
    along = centred @ rows
    fit = float(np.corrcoef(along, standard)[0, 1]) if along.std() else 0.0
    if not fit > _WEAKEST:
        return None
    return Direction(rows.astype(np.float32), f"{about} (correlation {fit:.2f} with w)")


def _seen(z: np.ndarray, images: np.ndarray, count: int) -> list[Direction]:
    """The directions of z [N, z_dim], a deviation long, along which the mean picture changes most."""
    small = shrink(images, _SEEN).reshape(len(images), -1).astype(np.float64)
    change = (z - z.mean(0)).T @ (small - small.mean(0)) / len(z)
    directions, sizes, _ = np.linalg.svd(change, full_matrices=False)
    shares = np.square(sizes) / np.square(sizes).sum()
    found = []
    for direction, share in list(zip(directions.T, shares))[:count]:
        direction = direction * np.sign(direction[np.abs(direction).argmax()]) * (z @ direction).std()
        found.append(Direction(direction.astype(np.float32), f"{share:.0%} of how the mean picture changes with z"))
    return found


def _of_z(model: Model, direction: np.ndarray) -> np.ndarray:
    """The rows of ws [num_ws, w_dim] that a step of z moves, where ws are parts of z; its class stays."""
    z = jnp.stack([jnp.zeros(len(direction)), jnp.asarray(direction, jnp.float32)])
    labels = jnp.zeros(2, jnp.int32) if model.gan.generator.num_classes else None
    start, end = np.asarray(model.map(z, labels))
    return end - start


def _styled(variables: Any) -> bool:
    """Whether it is a StyleGAN2, whose affine layers SeFa factors."""
    blocks = variables["params"].get("synthesis", {})
    return any("affine" in layer for block in blocks.values() if isinstance(block, dict) for layer in block.values())
