"""Checkpoints of rosinality/stylegan2-pytorch: `g_ema`, `g`, `d` as state dicts, and `latent_avg` where it was kept."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.official import FILTER, W_AVG, Layout, Source, official
from jaxgan.interchange.stylegan2 import Facts, assemble
from jaxgan.interchange.tensors import named
from jaxgan.networks.layers import block_resolutions, num_channels
from jaxgan.report import write_atomic
from jaxgan.weights import torch_writer

NAME = "rosinality"
_BASES = (32_768, 16_384)  # of the channels, at the project's channel_multiplier 2 and 1
_LEAVES = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
_LAST = {"conv": ("final_conv.0", "final_conv.1"), "fc": ("final_linear.0",) * 2, "out": ("final_linear.1",) * 2}
_D_BLOCK = {"conv0": ("conv1.0", "conv1.1"), "conv1": ("conv2.1", "conv2.2"), "skip": ("skip.1", "")}
_KERNEL = ".kernel"


def _generator_name(of: str) -> str:
    if of == W_AVG:
        return "latent_avg"  # stands beside the generator
    if of == "synthesis.b4.const":
        return "input.input"
    if found := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", of):
        return f"style.{int(found[1]) + 1}.{found[2]}"
    found = re.fullmatch(r"synthesis\.b(\d+)\.(\w+)\.(\w+(?:\.\w+)?)", of)
    if found is None:
        return f"(no {of})"  # of conditional networks
    level, layer, leaf = int(found[1]).bit_length() - 4, found[2], found[3]  # 8 px: 0
    if leaf == "noise_const":
        return f"noises.noise_{2 * level + (1 if layer == 'conv0' else 2)}"
    if layer == "torgb":
        module = "to_rgb1" if level < 0 else f"to_rgbs.{level}"
        return f"{module}.{'bias' if leaf == 'bias' else _LEAVES[leaf]}"
    module = "conv1" if level < 0 else f"convs.{2 * level + (layer == 'conv1')}"
    return f"{module}.{_LEAVES[leaf]}"


def _generator_read(of: str, value: np.ndarray) -> np.ndarray:
    return value.reshape(_without_ones(of, value.shape))


def _without_ones(of: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if of.endswith("noise_strength"):
        return shape[1:]
    if of.endswith("noise_const"):
        return shape[2:]
    if of.endswith("torgb.bias"):
        return shape[1:2]
    return shape[1:] if of.endswith((".const", "conv0.weight", "conv1.weight", "torgb.weight")) else shape


def _generator_write(of: str, value: np.ndarray) -> np.ndarray:
    if of.endswith("noise_strength"):
        return value.reshape(1)
    if of.endswith("noise_const"):
        return value[None, None]
    if of.endswith("torgb.bias"):
        return value[None, :, None, None]
    return value[None] if of.endswith((".const", "conv0.weight", "conv1.weight", "torgb.weight")) else value


GENERATOR = Layout(_generator_name, _generator_read, _generator_write)


def discriminator_layout(resolution: int) -> Layout:
    """The discriminator's layout; its blocks are counted from the image's resolution down."""

    def name(of: str) -> str:
        found = re.fullmatch(r"b(\d+)\.(\w+)\.(\w+)", of)
        if found is None:
            return f"(no {of})"
        size, layer, leaf = int(found[1]), found[2], found[3]
        if size == 4 and layer in _LAST:
            modules = _LAST[layer]
        elif layer == "fromrgb":
            modules = ("convs.0.0", "convs.0.1") if size == resolution else ("(no fromrgb)",) * 2
        else:
            block = resolution.bit_length() - size.bit_length() + 1
            modules = tuple(f"convs.{block}.{part}" for part in _D_BLOCK[layer])
        return f"{modules[leaf == 'bias']}.{leaf}"

    return Layout(name, lambda _, value: value, lambda _, value: value)


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a checkpoint with a generator in this layout."""
    return isinstance(tree, Mapping) and any("style.1.weight" in named(tree.get(k)) for k in ("g_ema", "g"))


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts.

    Raises:
        UserError: a tensor has another shape than its network needs, or is missing.
    """
    ema = "g_ema" if "style.1.weight" in named(tree.get("g_ema")) else "g"
    generator = _source(path, ema, named(tree[ema]), GENERATOR)
    raw = discriminator = None
    if ema == "g_ema" and named(tree.get("g")):
        raw = _source(path, "g", named(tree["g"]), GENERATOR)
    if named(tree.get("d")):
        blocks = 0
        while f"to_rgbs.{blocks}.bias" in named(tree[ema]) and blocks < 16:
            blocks += 1
        discriminator = _source(path, "d", named(tree["d"]), discriminator_layout(4 << blocks))
    w_avg = tree.get("latent_avg")
    facts = Facts(w_avg=np.ravel(w_avg) if isinstance(w_avg, np.ndarray) else None)
    beside = [str(key) for key in tree if key not in ("g", "d", "g_ema", "latent_avg")]
    imported = assemble(NAME, generator, raw, discriminator, facts, beside=beside)
    if facts.w_avg is not None:
        imported.account.read["latent_avg"] = "w_avg"
    return imported


def _source(path: str | Path, name: str, tensors: dict[str, np.ndarray], layout: Layout) -> Source:
    source = Source(path, name, tensors, layout)
    source.leave_filters({key: value for key, value in tensors.items() if key.endswith(_KERNEL)})
    return source


def write(model: Any, path: str | Path) -> None:
    """Writes `g_ema`, `g`, `d` and `latent_avg`, which the project's generate.py and train.py open with their own code.

    The one generator of the model stands for both.

    Raises:
        UserError: the project cannot build such a network, or the file cannot be written.
    """
    settings = model.config.model
    _check(settings, path)
    size = settings.resolution
    generator = _state(official(model.variables["generator"]), GENERATOR) | _generator_filters(size)
    tree = {"g_ema": generator, "g": generator, "latent_avg": np.asarray(model.w_avg)}
    if model.variables.get("discriminator") is not None and settings.d_architecture == "resnet":
        judge = _state(official(model.variables["discriminator"]), discriminator_layout(size))
        tree["d"] = judge | _discriminator_filters(size)
    try:
        write_atomic(path, torch_writer.encode(tree))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def _check(settings: Any, path: str | Path) -> None:
    """Raises UserError, naming the field, for a network that the project's code cannot build."""
    if settings.architecture != "stylegan2":
        raise UserError(
            f"{path}: rosinality's networks are StyleGAN2, this one is {settings.architecture}; use --format=npz"
        )
    asked = {
        "num_classes": 0,
        "channels": 3,
        "base_shape": (4, 4),
        "z_dim": settings.w_dim,
    }
    for field, value in asked.items():
        given = tuple(settings[field]) if field == "base_shape" else settings[field]
        if given != value:
            raise UserError(
                f"{path}: rosinality's networks have {field} {value}, this one {given}; use --format=nvidia"
            )
    sizes = block_resolutions(settings.resolution)
    widths = [num_channels(r, settings.channel_base, settings.channel_max) for r in sizes]
    known = [[512 if r <= 32 else num_channels(r, base, 512) for r in sizes] for base in _BASES]
    if widths not in known:
        raise UserError(
            f"{path}: rosinality's networks have channel_base 32768 or 16384 and channel_max 512, this one "
            f"{settings.channel_base} and {settings.channel_max}; use --format=nvidia"
        )


def _state(tensors: Mapping[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    return {layout.name(of): layout.write(of, value) for of, value in tensors.items()}


def _generator_filters(size: int) -> dict[str, np.ndarray]:
    """The resampling filters, which the project keeps as buffers; for enlarging four times as large."""
    up = (4 * FILTER).astype(np.float32)
    blocks = range(len(block_resolutions(size)) - 1)
    names = [f"convs.{2 * i}.conv.blur{_KERNEL}" for i in blocks] + [f"to_rgbs.{i}.upsample{_KERNEL}" for i in blocks]
    return {name: up for name in names}


def _discriminator_filters(size: int) -> dict[str, np.ndarray]:
    down = FILTER.astype(np.float32)
    blocks = range(1, len(block_resolutions(size)))
    return {f"convs.{i}.{part}.0{_KERNEL}": down for i in blocks for part in ("conv2", "skip")}
