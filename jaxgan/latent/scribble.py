"""Scribbles to pictures: the latents whose images have given colours, edges or patches where something is drawn.

The plain program asks for the colours alone and starts at the mean. The revised one also asks for a likely latent that
the discriminator believes in, and starts from the best of several random ones; its terms are in `configs/scribble.py`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.features.networks import Network
from jaxgan.latent.invert import Inversion, invert
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.latent.stream import Job, Progress
from jaxgan.metrics.perceptual import perceptual_distance
from jaxgan.networks.gan import Gan
from jaxgan.report import to_uint8


def scribble(
    gan: Gan,
    generator: Any,
    discriminator: Any,
    colours: np.ndarray,
    masks: np.ndarray,
    config: Mapping[str, Any],
    *,
    sketches: np.ndarray | None = None,
    labels: Any = None,
    start: np.ndarray | None = None,
    stats: Statistics | None = None,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> Inversion:
    """Images for N scribbles.

    With `config["search"]["candidates"]` above 1, so many random latents a scribble are optimised for a while, all of
    them in one batch, the best few to the end, and the best of these is kept; its seconds and evaluations are those of
    all candidates.

    Args:
        gan, generator, discriminator: as in `jaxgan.latent.invert.invert`.
        colours: [N, H, W, C] in [-1, 1].
        masks: [N, H, W, 1] in [0, 1], where they count.
        config: as `configs/scribble.py` has it.
        sketches: [N, H, W, 1], where edges count ("hog"); as `masks` if None.
        labels: of the classes, [N] or one for all.
        start: ws [N, num_ws, w_dim], such as those of an inverted photograph; then nothing is searched.
        stats: of the generator, made here if None.
        folder, identity: of the work that can be continued, as in `jaxgan.latent.stream.Job`.
        progress: called with (steps of images done, in all).

    Raises:
        UserError: as `invert` does.
    """
    stats = statistics(gan.generator, generator) if stats is None else stats
    search, count = config["search"], len(colours)
    searching = search["candidates"] > 1 and start is None
    kept = min(search["kept"], search["candidates"]) if searching else 1
    first = count * search["candidates"] * search["steps"] if searching else 0
    total = first + count * kept * config["steps"]

    def run(config: Mapping[str, Any], repeats: int, name: str, before: int, **more: Any) -> Inversion:
        rows = np.repeat(np.arange(count), repeats)
        return invert(
            gan,
            generator,
            discriminator,
            colours[rows],
            config,
            masks=masks[rows],
            sketches=None if sketches is None else sketches[rows],
            labels=None if labels is None else np.broadcast_to(labels, count)[rows],
            stats=stats,
            job=None if folder is None else Job(folder / name, identity or {}, config["checkpoint_seconds"]),
            progress=lambda done, _: progress(min(before + done, total), total),
            **more,
        )

    if not searching:
        return run(config, 1, "finish", 0, start=start)
    short = {"start": "candidates", "candidates": 1, "steps": search["steps"], "snapshots": ()}
    tried = run({**config, **short}, search["candidates"], "search", 0)
    order = _best(tried.loss, count, kept)
    found = run(config, kept, "finish", first, codes=tried.code[order.ravel()])
    chosen = _best(found.loss, count, 1)[:, 0]
    result = taken(found, chosen)
    spent = tried.seconds.reshape(count, -1).sum(1) + found.seconds.reshape(count, -1).sum(1)
    evaluations = tried.evaluations.reshape(count, -1).sum(1) + found.evaluations.reshape(count, -1).sum(1)
    compiling = tried.compile_seconds + found.compile_seconds
    return result._replace(seconds=spent, evaluations=evaluations, compile_seconds=compiling)


def _best(loss: np.ndarray, count: int, kept: int) -> np.ndarray:
    """Rows of the lowest losses of each image's candidates, [count, kept]; what is not finite comes last."""
    by_image = np.where(np.isfinite(loss), loss, np.inf).reshape(count, -1)
    order = np.argsort(by_image, axis=1, kind="stable")[:, :kept]
    return order + by_image.shape[1] * np.arange(count)[:, None]


def taken(found: Inversion, rows: np.ndarray) -> Inversion:
    """Some of the images of an inversion."""
    second = {"losses", "snapshots"}
    picked = {}
    for name, value in found._asdict().items():
        if name == "noise":
            picked[name] = tuple(m[rows] for m in value)
        elif name == "terms":
            picked[name] = {k: v[rows] for k, v in value.items()}
        elif isinstance(value, np.ndarray):
            picked[name] = value[:, rows] if name in second else value[rows]
    return found._replace(**picked)


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest real image of each result.

    Attributes:
        distance: [N], perceptual.
        index: [N], which it is.
    """

    distance: np.ndarray
    index: np.ndarray


def nearest_real(images: np.ndarray, reals: np.ndarray, network: Network, shortlist: int = 32) -> Nearest:
    """How far results are from real images: the perceptual distance to the nearest of the `shortlist` ones whose pixels
    are nearest.

    Args:
        images: [N, H, W, C], uint8 or in [-1, 1].
        reals: uint8 [M, H, W, C].
        network: of the distance.
        shortlist: real images that the distance is taken to.
    """
    images, shortlist = to_uint8(images), min(shortlist, len(reals))
    flat = reals.reshape(len(reals), -1).astype(np.float32)
    squares = np.square(flat).sum(1)
    found, index = [], []
    for image in images:
        vector = image.reshape(-1).astype(np.float32)
        near = np.argsort(squares - 2 * flat @ vector, kind="stable")[:shortlist]
        distances = perceptual_distance(network, np.repeat(image[None], shortlist, 0), reals[near])
        found.append(distances.min())
        index.append(near[distances.argmin()])
    return Nearest(np.asarray(found), np.asarray(index))
