"""This library's own file of a trained pair of networks, as a model: `jaxgan export` wrote it."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.interchange import archive, bounds
from jaxgan.interchange.imported import Account, Imported
from jaxgan.networks.build import build, init

_MOST_IMAGES = 2**31 - 1  # they are counted in 32 bits
_NO_NETWORK = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read(path: str | Path) -> tuple[Imported, str]:
    """(the model of a file, "ema" or "raw": which weights of its generator it holds); raw ones stand in as average.

    Raises:
        UserError: there is no such file, it is none of ours, its config makes no network or one of an absurd size, or
            its tensors are not that network's; what is wrong is named.
    """
    path = Path(path)
    tree, about = archive.read(path)
    _check_about(about, path)
    config, shapes = _network(about, path)
    if "discriminator" not in tree:  # imported and exported again, from a file that had none
        shapes["discriminator"] = None
    found = archive.fitted(tree, shapes, path)
    made_up = {}
    generator, raw = found["generator"], None
    if about["weights"] == "raw":
        raw = generator
        made_up["ema"] = "the raw weights: the file holds no average"
    else:
        made_up["raw"] = "none: the averaged weights stand in where training goes on"
    if found["discriminator"] is None:
        made_up["discriminator"] = "none: the file holds a generator alone"
    names = {name: name.replace("generator/", f"{about['weights']}/", 1) for name in archive.flat(tree)}
    imported = Imported(
        path.suffix[1:],
        config,
        generator,
        raw,
        found["discriminator"],
        found["w_avg"],
        about["level"],
        about["images_seen"],
        Account(names, {}, made_up),
    )
    return imported, about["weights"]


def _check_about(about: dict[str, Any], path: Path) -> None:
    """Raises UserError where what a file says of itself is not of the kinds that `jaxgan export` writes."""
    level, seen = about.get("level"), about.get("images_seen")
    known = about.get("weights") in ("ema", "raw") and isinstance(about.get("config"), dict)
    if not known or type(seen) is not int or not 0 <= seen <= _MOST_IMAGES or not (level is None or type(level) is int):
        raise UserError(
            f"{path} says nothing usable of its weights, config, level or images_seen; export the run again"
        )


def _network(about: dict[str, Any], path: Path) -> tuple[ConfigDict, dict[str, Any]]:
    """(config, shapes of all that the file must hold); nothing of those shapes is made."""
    try:
        config = configs.complete(configs.from_json(json.dumps(about["config"])))
        model, level = config.model.to_dict(), about["level"]
        bounds.check(model, "its config")
        if level is not None:
            bounds.check_level(level, model["resolution"], "it")
        gan = build(model, level)
        g_shapes, d_shapes = jax.eval_shape(lambda: init(gan, jax.random.key(0)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _NO_NETWORK as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: its config makes no network ({reason}); export the run again") from error
    w_avg = jax.ShapeDtypeStruct((gan.generator.w_dim,), jnp.float32)
    return config, {"generator": g_shapes, "discriminator": d_shapes, "w_avg": w_avg}
