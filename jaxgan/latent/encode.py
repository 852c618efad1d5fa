"""Encodes images into spaces of maps: by way of W and W+, then coarse maps, then fine ones.

The recipe is our formulation; of the one of Sypetkowski 2023 (arXiv 2303.14552) nothing is known. Every stage is an
inversion of its own (`jaxgan.latent.invert`), begun with the result of the one before, whose images it starts from.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxgan.errors import UserError
from jaxgan.latent.invert import Inversion, batch_size, check_config, invert
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.latent.stream import Job, Progress
from jaxgan.networks.gan import Gan
from jaxgan.parallel import make_mesh

_OF_MAPS = ("roughness", "dependence")  # terms that vectors do not have


def staged(space: str) -> bool:
    """Whether a space is reached by stages: those of maps of w or of styles."""
    return ":" in space and not space.startswith("sz:")


def plan(config: Mapping[str, Any], start: np.ndarray | None = None) -> list[dict[str, Any]]:
    """The config of each stage.

    Args:
        config: as `configs/invert.py` describes it, with a space that is `staged`.
        start: ws that are given: the stages of vectors are left out, and for maps those of coarser ones.
    """
    started, maps_given = start is not None, start is not None and start.ndim == 5
    how, space = config["stages"], config["space"]
    kind, _, size = space.partition(":")
    # In all stages: vectors that are far from random ones would be what maps begin at. Of styles nothing is known.
    kept = {} if kind == "ss" else {"equalise": config["weights"].get("equalise", 0.0) or how["equalise"]}
    weights = {name: 0.0 if name in _OF_MAPS else weight for name, weight in config["weights"].items()} | kept
    vectors = dict(config) | {"weights": weights, "snapshots": (), "coordinates": "raw", "perturbation": 0.0}
    stages: list[dict[str, Any]] = []
    if not started and how["w_steps"]:
        stages.append(_stage(vectors, "w", how["w_steps"], how["w_lr"], perturbation=how["w_perturbation"]))
    if not started and kind != "sw" and how["wplus_steps"]:
        stages.append(_stage(vectors, "w+", how["wplus_steps"], how["wplus_lr"]))
    raw = kind == "ss" or config["prior_clamp"] > 0
    fine = dict(config) | {"coordinates": "raw" if raw else "whitened", "perturbation": 0.0}
    fine["weights"] = dict(config["weights"]) | kept
    steps = config["steps"]
    if kind in ("sw", "sw+") and ":" not in size and not maps_given:
        for coarse in _coarser(size):
            share = int(how["coarse"] * config["steps"])
            if share:
                stages.append(_stage(fine | {"snapshots": ()}, f"{kind}:{coarse}", share, how["lr"]))
                steps -= share
    return [*stages, _stage(fine, space, steps, how["lr"])]


def check_stages(config: Mapping[str, Any], generator: nn.Module) -> None:
    """Raises UserError for a config of which a stage cannot be run on this generator, before any is."""
    for stage in plan(config):
        check_config(stage, generator)


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
    noise: tuple[np.ndarray, ...] = (),
    extras: np.ndarray | None = None,
    stats: Statistics | None = None,
    job: Job | None = None,
    progress: Progress = lambda done, total: None,
) -> Inversion:
    """Finds maps of images; arguments and errors as in `jaxgan.latent.invert.invert`.

    Results are those of the last stage, seconds and steps those of all.
    """
    if not staged(config["space"]):
        raise UserError(f"config.space={config['space']} has no stages; use `invert`")
    stages = plan(config, start)
    stats = statistics(gan.generator, generator) if stats is None else stats
    rows = -(-len(images) // (size := batch_size(config["batch"], len(images), make_mesh().size))) * size
    beside: dict[str, Any] = {"noise": noise, "extras": extras}
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
            **beside,
            job=None if job is None else job.part_of(f"stage{number}"),
            progress=lambda now, _, done=done: progress(done + now, total),
        )
        start, done = found.ws, done + rows * stage["steps"]
        beside = {"noise": found.noise, "extras": found.extras}
        parts.append(found)
    names = ("seconds", "used", "evaluations", "compile_seconds")
    return parts[-1]._replace(**{name: sum(getattr(p, name) for p in parts) for name in names})
