"""What a config of the realism direction may say, and the scale of the critic that it is run with."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.latent.critic import Critic, make_critic
from jaxgan.networks.gan import Gan

METHODS = {"prototype": ("grid", "forward", "recursion", "walk"), "select": ("grid", "forward", "fixed")}
_FAR = 3.0  # deviations of the scores of random images: a target beyond them is spoken of
_BEST = 0.9  # without real images: the score that so many random ones do not reach


def check_config(config: Mapping[str, Any], gan: Gan, discriminator: Any) -> Critic:
    """The critic that a config asks for.

    Raises:
        UserError: the config cannot be run on these networks.
    """
    critic = make_critic(gan, config["space"], tuple(config["features"]), discriminator)
    for name in ("batch", "chunk", "candidates", "mean_of"):
        if config[name] < 1:
            raise UserError(f"config.{name}={config[name]} must be 1 or more")
    for part, fields in {
        "recover": ("steps", "lr", "pixels", "radius", "change"),
        "prototype": ("steps", "lr", "away", "change", "points"),
        "select": ("steps", "lr", "change", "points"),
    }.items():
        for name in fields:
            value, least = config[part][name], {"steps": 1, "points": 2}.get(name, 0)
            if name == "lr" and not 0 < value < math.inf:
                raise UserError(f"config.{part}.lr={value} must be a number above 0")
            if not least <= value < math.inf:
                raise UserError(f"config.{part}.{name}={value} must be a number of {least} or more")
    for part, methods in METHODS.items():
        if config[part]["method"] not in methods:
            raise UserError(f"config.{part}.method={config[part]['method']!r} is not known; use {' or '.join(methods)}")
    if config["prototype"]["both_sides"] and config["prototype"]["method"] != "grid":
        raise UserError("config.prototype.both_sides=True is for config.prototype.method=grid")
    low, start, high = (config["select"][name] for name in ("low", "start", "high"))
    if not 0 <= low <= start <= high <= 1:
        raise UserError(f"config.select: low={low}, start={start}, high={high} must rise within [0, 1]")
    if not 0 < config["min_angle"] < config["prototype"]["largest"] < 180:
        raise UserError(
            f"config.min_angle={config['min_angle']}, config.prototype.largest={config['prototype']['largest']} must "
            "rise between 0 and 180 degrees"
        )
    if config["critic"]["units"] not in ("spread", "raw"):
        raise UserError(f"config.critic.units={config['critic']['units']!r} is not known; use spread or raw")
    read_target(config)
    return critic


def read_target(config: Mapping[str, Any]) -> float | None:
    """The score that the selection aims at, as the config has it; None is that of real images.

    Raises:
        UserError: it is no number.
    """
    text = str(config["critic"]["target"])
    if text == "real":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"config.critic.target={text!r} is no score; give a number, or real")
    return value


def calibrate(
    config: Mapping[str, Any], logits: np.ndarray, real_logits: np.ndarray | None
) -> tuple[dict[str, float], str]:
    """(the critic's "offset", "scale" and, in those units, "target"; how they were found, in words).

    A critic of the WGAN kind is counted as it is and 0 means as much for all of them. Every other has a scale of its
    own, so that with config.critic.units "spread" scores are counted from their mean over random images, in their
    deviations.

    Args:
        config: as `configs/realism.py` describes it.
        logits: raw scores of random images.
        real_logits: of real ones, or None: the selection then aims at the score that one of ten random images reaches.

    Raises:
        UserError: scores are not finite, or all the same.
    """
    given = logits if real_logits is None else np.concatenate([logits, real_logits])
    if not np.isfinite(given).all():
        raise UserError("the discriminator's scores are not finite; load an earlier checkpoint")
    mean, spread = float(logits.mean(dtype=np.float64)), float(logits.std(dtype=np.float64))
    if not spread > 1e-6 * abs(mean):  # what float32 leaves of no difference
        raise UserError(f"the discriminator gives every image the score {mean:.4g}; load another checkpoint")
    offset, scale = (0.0, 1.0) if config["critic"]["units"] == "raw" else (mean, spread)
    target = read_target(config)
    if target is not None:
        said = "the config's"
    elif real_logits is None:
        target, said = float(np.quantile(logits, _BEST)), "that of the best tenth of them: no real images are at hand"
        target = (target - offset) / scale
    else:
        target, said = float(np.mean(real_logits, dtype=np.float64)), "the mean of the real ones"
        target = (target - offset) / scale
    note = f"{len(logits)} random images score {mean:.4g}, deviation {spread:.4g}; "
    if real_logits is not None:
        note += f"{len(real_logits)} real ones {real_logits.mean(dtype=np.float64):.4g}; "
    aimed = target * scale + offset
    if config["select"]["method"] == "fixed":
        note += "the share is fixed, so no score is aimed at"
    else:
        note += f"the selection aims at {aimed:.4g}, {said}"
        if abs(aimed - mean) > _FAR * spread:
            note += (
                f", {abs(aimed - mean) / spread:.3g} deviations away: a critic of another kind has other scores, see "
                "config.critic"
            )
    return {"offset": offset, "scale": scale, "target": target}, note
