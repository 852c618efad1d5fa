"""Experiment configs: found by name or path, completed by rule from data and devices, checked before work starts.

A config is plain data (`ml_collections.ConfigDict` of numbers, strings and tuples), one file in `configs/` each. A
number that is -1 is left to a rule: `resolve` fills it in and the resolved config is what a run directory keeps.
"""

import ast
import difflib
import importlib.util
import json
import math
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxgan.configs import common
from jaxgan.errors import UserError

AUTO = -1
FOLDER = Path(__file__).parent / "configs"

REMATS = ("none", "blocks")
OBJECTIVES = ("nonsaturating", "wgan", "lsgan", "hinge", "relativistic")
AUGMENTATIONS = ("none", "ada", "diff")

# What may change when a run is continued; everything else would make it another run.
MUTABLE = (
    "total_kimg",
    "tick_kimg",
    "steps_per_dispatch",
    "fsdp",
    "checkpoint",
    "eval",
    "eval_every",
    "grid",
    "invert",
    "data.num_threads",
    "data.memory_map_gb",
    "data.source",
)

POSITIVE = (
    "batch_size",
    "accumulate",
    "total_kimg",
    "tick_kimg",
    "steps_per_dispatch",
    "fsdp",
    "model.mbstd_group",
    "model.kernel",
    "model.bn_epsilon",
    "model.width",
    "model.channel_base",
    "model.channel_max",
    "model.z_dim",
    "model.w_dim",
    "loss.critic_steps",
    "loss.g_batch_multiple",
    "loss.pl_interval",
    "loss.pl_batch_shrink",
    "loss.r1_interval",
    "loss.gp_target",
    "augment.kimg",
    "augment.interval",
    "growth.fade_kimg",
    "checkpoint.every_ticks",
    "checkpoint.keep",
    "grid.images",
    "invert.steps",
    "eval.num_samples",
    "eval.batch_size",
    "model.mapping_layers",
    "model.sel_hidden",
    "model.heatmap_features",
    "optimizer.g_lr",
    "optimizer.d_lr",
    "optimizer.eps",
)
NOT_NEGATIVE = (
    "seed",
    "data.num_threads",
    "data.memory_map_gb",
    "model.low_precision_levels",
    "model.conv_clamp",
    "loss.r1_gamma",
    "loss.r2_gamma",
    "loss.gp_weight",
    "loss.drift",
    "loss.class_weight_d",
    "loss.class_weight_d_fakes",
    "loss.class_weight_g",
    "loss.orthogonal",
    "loss.pl_weight",
    "loss.align_weight",
    "optimizer.l2",
    "optimizer.rampup_kimg",
    "optimizer.decay_kimg",
    "growth.stable_kimg",
    "ema.start_kimg",
    "ema.kimg",
    "ema.rampup",
    "checkpoint.milestone_kimg",
    "eval_every",
    "eval.seed",
    "invert.images",
)
SHARES = (
    "w_avg_beta",
    "model.leaky_slope",
    "loss.style_mixing_prob",
    "loss.pl_decay",
    "optimizer.beta1",
    "optimizer.beta2",
    "augment.p",
    "augment.target",
    "ema.decay",
)
_LARGEST = {"seed": 2**32 - 1, "eval.seed": 2**32 - 1, "total_kimg": 2e6}  # images seen are counted in 32 bits


def find(name: str) -> Path:
    """The file of `--config=NAME`: a path, or the name of a packaged config ("fashion").

    Raises:
        UserError: there is no such file; it lists the packaged names.
    """
    path = Path(name)
    if path.suffix == ".py" and path.exists():
        return path
    # configs/fashion.py resolves to the packaged copy when the current folder has no such file.
    packaged = FOLDER / f"{path.stem}.py"
    if packaged.exists() and path.suffix in ("", ".py") and path.parent.name in ("", "configs"):
        return packaged
    names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "common", "latent")))
    raise UserError(f"--config={name} is neither a file nor a packaged config; packaged: {names}")


def load(name: str) -> ConfigDict:
    """The config of a file or of a packaged name, as its `get_config()` returns it.

    Raises:
        UserError: there is no such file, or running it fails; the line is named.
    """
    path = find(name)
    spec = importlib.util.spec_from_file_location(f"jaxgan_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "get_config", None)
        if make is not None:
            return make()
    except Exception as error:  # the file is the user's: whatever it raises is a fault in it
        raise UserError(
            f"{path}, line {_line(error, path)}: {type(error).__name__}: {error}; mend that line"
        ) from error
    raise UserError(f"{path} defines no get_config(); start from a copy of {FOLDER / 'fashion.py'}")


def _line(error: Exception, path: Path) -> int | str:
    """The last line of a file that an error passed through."""
    if isinstance(error, SyntaxError):
        return error.lineno or "?"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return lines[-1] if lines else "?"


def override(config: ConfigDict, assignments: list[str]) -> None:
    """Applies `field.sub=value` texts in place; values are read as the type that the field has.

    Raises:
        UserError: a field that does not exist (the nearest one is named) or a value of another type.
    """
    for text in assignments:
        name, separator, value = text.partition("=")
        *path, last = name.split(".")
        part = config
        for key in path:
            part = part[key] if isinstance(part, ConfigDict) and key in part else None
        if not separator:
            raise UserError(f"--config.{text} has no value; write --config.{text}=VALUE")
        if not isinstance(part, ConfigDict) or last not in part or isinstance(part[last], ConfigDict):
            near = difflib.get_close_matches(name, _names(config), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(_names(config))}"
            raise UserError(f"config has no field {name}; {hint}")
        part[last] = _read(name, value, part[last])


def _names(config: ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for key, value in config.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [f"{prefix}{key}"]
    return names


def _read(name: str, text: str, old: Any) -> Any:
    """A value of the type of the one that it replaces."""
    if isinstance(old, str):
        return text
    if isinstance(old, tuple) and old and isinstance(old[0], str):
        return tuple(text.split(","))
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    sized = isinstance(old, tuple) and AUTO in old  # of the data; other tuples are lists of any length
    if type(value) is not type(old) or (sized and len(value) != len(old)):
        raise UserError(f"--config.{name}={text} is not of the type of {old!r} ({type(old).__name__})")
    return value


def to_json(config: Mapping[str, Any]) -> str:
    """A config as JSON, fields in a fixed order."""
    data = config.to_dict() if isinstance(config, ConfigDict) else config
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """The inverse of `to_json`; JSON's lists become tuples."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: tuples(v) for k, v in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return ConfigDict(tuples(json.loads(text)))


def complete(config: ConfigDict) -> ConfigDict:
    """A saved config with the fields that later versions have added, at its architecture's defaults."""

    def merged(default: dict, given: dict) -> dict:
        inner = {k: merged(default[k], v) for k, v in given.items() if isinstance(v, dict) and k in default}
        return default | given | inner

    base = common.BASES.get(config.model.architecture, common.base)
    return ConfigDict(merged(base().to_dict(), config.to_dict()))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the fields whose values differ, without those that a continued run may change.

    What the old config leaves to a rule, as that of an imported model does, is filled in when it is first trained.
    """
    found = []
    for key in sorted(set(old) | set(new)):
        name = f"{prefix}{key}"
        a, b = old.get(key), new.get(key)
        if name in MUTABLE:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{name}.")
        elif a != b and a not in (AUTO, (AUTO, AUTO)):
            found.append(f"config.{name} ({a} in the run, {b} asked for)")
    return found


def shape_rule(height: int, width: int) -> tuple[int, tuple[int, int]]:
    """(resolution, base grid) for images of a size: the base grid's shorter side is 4 to 7, the rest a power of two.

    Raises:
        UserError: no power of two from 8 px leads there.
    """
    scale = 1
    while min(height, width) >= 8 * scale and height % (2 * scale) == 0 and width % (2 * scale) == 0:
        scale *= 2
    base = (height // scale, width // scale)
    if scale < 2 or max(base) > 64 or min(base) > 7:
        raise UserError(
            f"images of {height}x{width} do not fit: both sides must be a small grid times a power of two; "
            "prepare them with `jaxgan dataset --resolution=64` (or 64x96 and the like)"
        )
    return 4 * scale, base


def resolve(
    config: ConfigDict,
    *,
    num_images: int,
    image_shape: tuple[int, int, int],
    num_classes: int,
    devices: int,
    backend: str = "cpu",
) -> ConfigDict:
    """A copy with every value that was left to a rule filled in.

    Args:
        config: an experiment's config.
        num_images: in the training set; kept, so that a run is only ever continued on the same set.
        image_shape: (height, width, channels) of the training images.
        num_classes: of the data set, 0 without labels.
        devices: over all processes; StyleGAN2-ADA's "auto" rule depends on it.
        backend: JAX's; "auto" computes in float32 on "cpu" and in bfloat16 elsewhere.

    Raises:
        UserError: the config asks for another shape than the data has, or for labels that are not there.
    """
    c = ConfigDict(config.to_dict())
    _check_positive(c, but=AUTO)
    if c.data.num_images not in (AUTO, num_images):
        raise UserError(
            f"{c.data.source} has {num_images} images and config.data.num_images={c.data.num_images}; "
            f"give the set the run was started with, or leave it at {AUTO}"
        )
    c.data.num_images = num_images
    height, width, channels = image_shape
    resolution, base = shape_rule(height, width)
    asked = {"resolution": resolution, "channels": channels, "base_shape": base}
    for name, value in asked.items():
        given = c.model[name] if name != "base_shape" else tuple(c.model[name])
        if given in (AUTO, (AUTO, AUTO)):
            c.model[name] = value
        elif given != value:
            raise UserError(
                f"config.model.{name}={given} does not fit the {height}x{width}x{channels} images of "
                f"{c.data.source} (it would be {value}); prepare them with `jaxgan dataset` or leave it at {AUTO}"
            )
    if c.data.use_labels and not num_classes:
        raise UserError(f"config.data.use_labels needs labels, and {c.data.source} has none; set it to False")
    classes = num_classes if c.data.use_labels else 0
    if c.model.num_classes not in (0, AUTO, classes):
        raise UserError(
            f"config.model.num_classes={c.model.num_classes} does not fit the {classes} classes of {c.data.source} "
            f"(config.data.use_labels={c.data.use_labels}); leave it at 0"
        )
    c.model.num_classes = classes
    if c.model.dtype == "auto":
        c.model.dtype = "float32" if backend == "cpu" else "bfloat16"
    _fill(c, "batch_size", max(min(devices * min(4096 // resolution, 32), 64), devices))
    _fill(c.model, "mbstd_group", min(max(c.batch_size // devices, 1), 4))
    if "channel_base" in c.model:
        _fill(c.model, "channel_base", 32768 if resolution >= 512 else 16384)
    for lr in ("g_lr", "d_lr"):
        _fill(c.optimizer, lr, 0.002 if resolution >= 1024 else 0.0025)
    _fill(c.loss, "r1_gamma", 0.0002 * resolution**2 / c.batch_size)
    _fill(c.ema, "kimg", c.batch_size * 10 / 32)
    _fill(c.eval, "num_samples", default_samples(backend))
    return c


def default_samples(backend: str) -> int:
    """Generated images that an evaluation takes where it is not told: the usual 50,000, on CPU 5,000."""
    return 5_000 if backend == "cpu" else 50_000


def _fill(part: ConfigDict, name: str, value: float) -> None:
    if part[name] == AUTO:
        part[name] = type(part[name])(value)


def check(config: Mapping[str, Any], *, devices: int) -> None:
    """Raises UserError for a resolved config that cannot be trained on so many devices."""
    _check_ranges(config)
    loss = config["loss"]
    if loss["objective"] not in OBJECTIVES:
        raise UserError(f"config.loss.objective={loss['objective']!r} is not known; use one of {', '.join(OBJECTIVES)}")
    if loss["objective"] == "relativistic" and loss["g_batch_multiple"] > 1:
        raise UserError(
            f"config.loss.g_batch_multiple={loss['g_batch_multiple']}: the relativistic objective pairs each generated "
            "image with a real one; set it to 1"
        )
    if config["augment"]["kind"] not in AUGMENTATIONS:
        raise UserError(
            f"config.augment.kind={config['augment']['kind']!r} is not known; use one of {', '.join(AUGMENTATIONS)}"
        )
    if config["remat"] not in REMATS:
        raise UserError(f"config.remat={config['remat']!r} is not known; use one of {', '.join(REMATS)}")
    _check_batch("batch_size", config["batch_size"], config, devices)
    growth, resolution = config["growth"], config["model"]["resolution"]
    start = growth["start_resolution"]
    if growth["optimizer"] not in ("reset", "keep"):
        raise UserError(f"config.growth.optimizer={growth['optimizer']!r} is not known; use reset or keep")
    if not start:
        return
    if start < 4 or start & (start - 1) or start > resolution:
        raise UserError(
            f"config.growth.start_resolution={start} is no power of two from 4 to the images' {resolution}; use 4 or 8"
        )
    for name, kinds in (("batch_size", (int,)), ("lr", (int, float))):
        for pair in growth[name]:
            if not _is_setting(pair, kinds):
                raise UserError(
                    f"config.growth.{name}={growth[name]} is no tuple of pairs (power of two from 4, value above 0)"
                )
    for at, batch in growth["batch_size"]:
        if start <= at <= resolution:
            _check_batch(f"growth.batch_size[{at}]", batch, config, devices)


def _is_setting(pair: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is (resolution, value): what an entry of growth.batch_size and growth.lr must be."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], int) or type(pair[1]) not in kinds:
        return False
    return pair[0] >= 4 and pair[0] & (pair[0] - 1) == 0 and pair[1] > 0


def _check_batch(name: str, batch: int, config: Mapping[str, Any], devices: int) -> None:
    rounds, group = config["accumulate"], config["model"]["mbstd_group"]
    fits = _next_multiple(batch, rounds * devices * group)
    group = min(group, max(batch // rounds, 1))  # a batch smaller than a group is one group
    if batch % rounds:
        raise UserError(f"config.accumulate={rounds} does not divide config.{name}={batch}; use config.{name}={fits}")
    if (batch // rounds) % devices:
        raise UserError(
            f"config.{name}={batch} over {rounds} accumulation round(s) is no multiple of the {devices} devices; "
            f"use config.{name}={fits}"
        )
    shard = batch // rounds // devices
    if shard % group:
        raise UserError(
            f"config.model.mbstd_group={group} does not divide the {shard} images that each of {devices} device(s) "
            f"holds per round; use config.{name}={fits} or config.model.mbstd_group={math.gcd(shard, group)}"
        )


def _check_positive(config: Mapping[str, Any], but: int | None = None) -> None:
    for name in POSITIVE:
        part, _, field = name.rpartition(".")
        value = (config[part] if part else config).get(field, 1)  # not every architecture has every field
        if value <= 0 and value != but:
            raise UserError(f"config.{name}={value} must be above 0")


def _check_ranges(config: Mapping[str, Any]) -> None:
    """Raises UserError for the first number that is out of its range."""

    def numbers(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
        for key, value in part.items():
            if isinstance(value, Mapping):
                yield from numbers(value, f"{prefix}{key}.")
            elif isinstance(value, int | float):
                yield f"{prefix}{key}", value

    _check_positive(config)
    for name, value in numbers(config):
        if not math.isfinite(value) or value > _LARGEST.get(name, math.inf):
            raise UserError(f"config.{name}={value} must be a number of at most {_LARGEST.get(name, 1e30):.10g}")
        if value < 0 and name in NOT_NEGATIVE:
            raise UserError(f"config.{name}={value} must be 0 or more")
        if name in SHARES and not 0 <= value <= 1:
            raise UserError(f"config.{name}={value} must lie between 0 and 1")


def _next_multiple(n: int, of: int) -> int:
    return max(-(-n // of), 1) * of
