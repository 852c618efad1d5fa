"""Progressive growing (Karras et al. 2018): which network is trained when, and how a state grows into the next one.

Everything follows from the number of real images seen. A network of a level is trained for `stable_kimg`; then the next
resolution fades in over `fade_kimg`, its share alpha rising from 0 to 1, and is stable from there on. Levels are
numbered 0 (4 px), 1 (8 px fading in), 2 (8 px), 3 (16 px fading in) ...
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.networks.build import level_resolution, stable_level


class Fade(NamedTuple):
    """A fade: from `start` images seen on, over so many `images`."""

    start: int
    images: int

    def alpha(self, images_seen: jax.Array) -> jax.Array:
        """Share of the new layers in [0, 1]."""
        return jnp.clip((images_seen - self.start).astype(jnp.float32) / self.images, 0.0, 1.0)


class Phase(NamedTuple):
    """A stretch of training on one network: level (None: the architecture does not grow), from `start` to `end`.

    `fade` is the whole fade, even where the run ends inside it; None while stable.
    """

    level: int | None
    start: int
    end: int
    fade: Fade | None = None


def phases(config: Mapping[str, Any], total: int) -> list[Phase]:
    """The phases of a resolved config, one after the other from 0 to `total` images."""
    growth = config["growth"]
    if not growth["start_resolution"]:
        return [Phase(None, 0, total)]
    level, last = stable_level(growth["start_resolution"]), stable_level(config["model"]["resolution"])
    found, start = [], 0
    while start < total:
        kimg = growth["fade_kimg"] if level % 2 else growth["stable_kimg"]
        end = start + math.ceil(kimg * 1000) if level < last else total
        if end > start:
            fade = Fade(start, end - start) if level % 2 else None
            found.append(Phase(level, start, min(end, total), fade))
        start, level = end, level + 1
    return found


def phase_config(config: Mapping[str, Any], phase: Phase) -> dict[str, Any]:
    """The config of a phase: batch size and learning rates are those of its resolution."""
    if phase.level is None:
        return dict(config)
    resolution = level_resolution(phase.level)
    batch = dict(config["growth"]["batch_size"]).get(resolution, config["batch_size"])
    rate = dict(config["growth"]["lr"]).get(resolution)
    optimizer = config["optimizer"] | ({} if rate is None else {"g_lr": rate, "d_lr": rate})
    return config | {"batch_size": batch, "optimizer": optimizer}


def grow(old: Any, fresh: Any, keep_moments: bool) -> Any:
    """A state for the next network: what `old` has of `fresh`'s leaves, by path; the other leaves are fresh.

    Layers that the next network no longer has are dropped. The average gains the leaves that the generator gains.

    Args:
        old: the TrainState of the network before.
        fresh: one of the next network, newly made.
        keep_moments: whether the optimisers' states go on; otherwise they start anew, as in the official code.
    """
    networks = {name: _merge(getattr(old, name), getattr(fresh, name)) for name in ("generator", "discriminator")}
    ema = _merge(old.ema, networks["generator"])
    moments = {name: getattr(fresh, name) for name in ("g_opt", "d_opt")}
    if keep_moments:
        moments = {name: _merge(getattr(old, name), state) for name, state in moments.items()}
    return old.replace(**networks, ema=ema, **moments)


def _merge(old: Any, new: Any) -> Any:
    known = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(old)}
    return jax.tree_util.tree_map_with_path(lambda path, leaf: known.get(jax.tree_util.keystr(path), leaf), new)
