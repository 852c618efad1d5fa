"""Encodes images into spaces of maps: by way of W and W+, then coarse maps, then fine ones.

The recipe is our formulation; of the one of Sypetkowski 2023 (arXiv 2303.14552) nothing is known. Every stage is an
inversion of its own (`jaxgan.latent.invert`), begun with the result of the one before, whose images it starts from.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.latent.invert import Inversion, batch_size, invert
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.latent.stream import Job, Progress
from jaxgan.networks.gan import Gan
from jaxgan.parallel import make_mesh

_OF_VECTORS = ("roughness",)  # terms that vectors do not have


def staged(space: str) -> bool:
    """Whether a space is reached by stages: those of maps of w or of styles."""
    return ":" in space and not space.startswith("sz:")


def plan(config: Mapping[str, Any], *, started: bool = False) -> list[dict[str, Any]]:
    """The config of each stage.

    Args:
        config: as `configs/invert.py` describes it, with a space that is `staged`.
        started: whether ws are given, so that the stages of vectors are left out.
    """
    how, space = config["stages"], config["space"]
    kind, _, size = space.partition(":")
    weights = {name: 0.0 if name in _OF_VECTORS else weight for name, weight in config["weights"].items()}
    vectors = dict(config) | {"weights": weights, "snapshots": (), "coordinates": "raw", "perturbation": 0.0}
    stages: list[dict[str, Any]] = []
    if not started and how["w_steps"]:
        stages.append(_stage(vectors, "w", how["w_steps"], how["w_lr"], perturbation=how["w_perturbation"]))
    if not started and kind != "sw" and how["wplus_steps"]:
        stages.append(_stage(vectors, "w+", how["wplus_steps"], how["wplus_lr"]))
    fine = dict(config) | {"coordinates": "raw" if kind == "ss" else "whitened", "perturbation": 0.0}
    steps = config["steps"]
    if kind in ("sw", "sw+") and ":" not in size:
        for coarse in _coarser(size):
            share = int(how["coarse"] * config["steps"])
            if share:
                stages.append(_stage(fine | {"snapshots": ()}, f"{kind}:{coarse}", share, how["lr"]))
                steps -= share
    return [*stages, _stage(fine, space, steps, how["lr"])]


def _stage(config: Mapping[str, Any], space: str, steps: int, lr: float, **more: Any) -> dict[str, Any]:
    return dict(config) | {"space": space, "steps": steps, "optimizer": config["optimizer"] | {"lr": lr}} | more


def _coarser(size: str) -> list[str]:
    """ "8" -> ["2", "4"]: a quarter and half of the cells a side, down to two."""
    sides = [int(n) for n in size.split("x")]
    return ["x".join(str(n // k) for n in sides) for k in (4, 2) if min(sides) // k >= 2]


def encode(
    gan: Gan,
    generator: Any,
    discriminator: Any,
    images: np.ndarray,
    config: Mapping[str, Any],
    *,
    labels: Any = None,
    start: np.ndarray | None = None,
    stats: Statistics | None = None,
    job: Job | None = None,
    progress: Progress = lambda done, total: None,
) -> Inversion:
    """Finds maps of images; arguments and errors as in `jaxgan.latent.invert.invert`.

    Results are those of the last stage, seconds and steps those of all.
    """
    if not staged(config["space"]):
        raise UserError(f"config.space={config['space']} has no stages; use `invert`")
    stages = plan(config, started=start is not None)
    stats = statistics(gan.generator, generator) if stats is None else stats
    rows = -(-len(images) // (size := batch_size(config["batch"], len(images), make_mesh().size))) * size
    total, done, parts = rows * sum(stage["steps"] for stage in stages), 0, []
    for number, stage in enumerate(stages):
        found = invert(
            gan,
            generator,
            discriminator,
            images,
            stage,
            labels=labels,
            start=start,
            stats=stats,
            job=None if job is None else job.part_of(f"stage{number}"),
            progress=lambda now, _, done=done: progress(done + now, total),
        )
        start, done = found.ws, done + rows * stage["steps"]
        parts.append(found)
    names = ("seconds", "used", "evaluations", "compile_seconds")
    return parts[-1]._replace(**{name: sum(getattr(p, name) for p in parts) for name in names})
