"""The pickles of StyleGAN2 and StyleGAN2-ADA for TensorFlow: a tuple of G, D and Gs, plain arrays by scope and name.

NVIDIA's PyTorch projects open this layout through their `legacy.load_network_pkl`, with their own code, so it is also
what `jaxgan export --format=nvidia` writes: their newer layout holds their source code, which is not ours to hand out.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError, shown
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.official import W_AVG, Layout, Source, official
from jaxgan.interchange.stylegan2 import Facts, assemble, number
from jaxgan.interchange.tensors import joined
from jaxgan.report import write_atomic
from jaxgan.weights.pickle_writer import Call, Global, dumps
from jaxgan.weights.unpickle import Object

NAME = "tensorflow"
_VERSION = 4
_SCOPED = re.compile(r"(synthesis\.)?b(\d+)\.(\w+)\.(\w+(?:\.\w+)?)")
_FIXED = {
    "synthesis.b4.const": "synthesis/4x4/Const/const",
    "mapping.embed.weight": "mapping/LabelEmbed/weight",
    "mapping.embed.bias": "mapping/LabelEmbed/bias",
    W_AVG: "dlatent_avg",
    "b4.fc.weight": "4x4/Dense0/weight",
    "b4.fc.bias": "4x4/Dense0/bias",
    "b4.out.weight": "Output/weight",
    "b4.out.bias": "Output/bias",
}
_GENERATOR_LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}
_DISCRIMINATOR_LAYERS = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip", "conv": "Conv"}
_LEAVES = {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}
_SHIFTED = "/mod_bias"
_IN_D = {"mapping/LabelEmbed/": "LabelEmbed/", "mapping/Dense": "Mapping"}  # its mapping is no network of its own


def name(of: str) -> str:
    """TensorFlow's name of an official one; of the discriminator's label mapping, as if it were the generator's."""
    if of in _FIXED:
        return _FIXED[of]
    if found := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", of):
        return f"mapping/Dense{found[1]}/{found[2]}"
    scope, size, layer, leaf = _SCOPED.fullmatch(of).groups()
    if leaf == "noise_const":
        level = int(math.log2(int(size)))
        return f"synthesis/noise{2 * level - (5 if layer == 'conv0' else 4)}"
    layers = _GENERATOR_LAYERS if scope else _DISCRIMINATOR_LAYERS
    called = "Conv" if (scope, size, layer) == ("synthesis.", "4", "conv1") else layers[layer]
    return f"{'synthesis/' if scope else ''}{size}x{size}/{called}/{_LEAVES.get(leaf, leaf)}"


def _read(of: str, value: np.ndarray) -> np.ndarray:
    if of.endswith(".const"):
        return value[0]
    if of.endswith("noise_const"):
        return value[0, 0]
    if value.ndim == 4:
        value = value[::-1, ::-1] if _is_up(of) else value
        return value.transpose(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value


def _write(of: str, value: np.ndarray) -> np.ndarray:
    if of.endswith(".const"):
        return value[None]
    if of.endswith("noise_const"):
        return value[None, None]
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return value[::-1, ::-1] if _is_up(of) else value
    return value.T if value.ndim == 2 else value


def _is_up(of: str) -> bool:
    return of.startswith("synthesis.") and of.endswith("conv0.weight")


def _d_name(of: str) -> str:
    found = name(of)
    for theirs, here in _IN_D.items():
        if found.startswith(theirs):
            return here + found.removeprefix(theirs)
    return found


GENERATOR = Layout(name, _read, _write)
DISCRIMINATOR = Layout(_d_name, _read, _write)


def recognises(tree: Any) -> bool:
    """Whether what a file holds are three networks of dnnlib's TensorFlow part."""
    return (
        isinstance(tree, list) and len(tree) == 3 and all(isinstance(n, Object) and n.kind == "Network" for n in tree)
    )


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts.

    Raises:
        UserError: they are older than StyleGAN2, or a network that does not exist here; the field or tensor is named.
    """
    names = ("G", "D", "Gs")
    networks = {key: _Network(path, key, network.state) for key, network in zip(names, tree)}
    generator, judge = networks["Gs"], networks["D"]
    generator.expect("mapping_nonlinearity", "lrelu")
    generator.expect("mapping_lrmul", 0.01)
    generator.expect("architecture", "skip")
    for network in networks.values():
        network.expect("nonlinearity", "lrelu")
        network.expect("resample_kernel", [1, 3, 3, 1])
    facts = Facts(
        conv_clamp=number(generator.settings.get("conv_clamp")),
        low_precision_levels=int(number(generator.settings.get("num_fp16_res"))),
        mbstd_group=int(number(judge.settings.get("mbstd_group_size"), 4)),
    )
    discriminator, left_out = judge.source(DISCRIMINATOR), ""
    if judge.settings.get("label_size") and judge.settings.get("mapping_lrmul", 0.1) != 0.01:
        left_out = "its discriminator maps labels with another learning rate multiplier than 0.01"
    raw = networks["G"].source(GENERATOR)
    return assemble(NAME, generator.source(GENERATOR), raw, discriminator, facts, left_out=left_out)


class _Network:
    """A network as plain data: `settings` are the arguments that it was made with."""

    def __init__(self, path: str | Path, name: str, state: Mapping[str, Any]):
        self._path, self._name, self._state = path, name, state
        self.settings = state.get("static_kwargs")
        if not isinstance(self.settings, Mapping) or not isinstance(state.get("version"), int):
            raise UserError(f"{path}: {name} has no version and settings; give a StyleGAN2 snapshot")
        if state["version"] < _VERSION:
            raise UserError(
                f"{path}: {name} has version {state['version']}, StyleGAN2's is {_VERSION}; older pickles hold other "
                "networks, give a StyleGAN2 snapshot"
            )

    def expect(self, setting: str, value: Any) -> None:
        """Raises UserError if a setting is there and has another value."""
        found = self.settings.get(setting)
        if found is not None and (type(found) is not type(value) or found != value):
            raise UserError(f"{self._path}: {self._name} has {setting}={shown(found)}; only {value} is known")

    def source(self, layout: Layout) -> Source:
        """The tensors; the level of detail of a growing network, which StyleGAN2 is not, is set aside."""
        found = _variables(self._state)
        source = Source(self._path, self._name, found, layout)
        source.tensors.leave("no part of the network", *(f"{self._name}: {n}" for n in found if n.endswith("lod")))
        return source


def _variables(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by scope and name, of a network and those inside it. Biases of styles, stored without their 1, get it."""
    found, waiting, seen = {}, [("", state)], set()
    while waiting:
        prefix, state = waiting.pop()
        if id(state) in seen:
            continue
        seen.add(id(state))
        for called, value in state.get("variables") or []:
            if isinstance(value, np.ndarray | float | int):
                value = np.asarray(value) + 1 if called.endswith(_SHIFTED) else np.asarray(value)
                found[joined(prefix, called, "")] = value
        for key, inner in (state.get("components") or {}).items():
            if isinstance(inner, Object):
                waiting.append((joined(prefix, f"{key}/", ""), inner.state))
    return found


def write(model: Any, path: str | Path) -> None:
    """Writes a model in this layout; its one generator stands as G and as Gs.

    Raises:
        UserError: the network has no place in it, or the file cannot be written.
    """
    settings = model.config.model
    if settings.architecture != "stylegan2" or tuple(settings.base_shape) != (4, 4):
        raise UserError(f"{path}: only square StyleGAN2 networks have a place in NVIDIA's files; use --format=npz")
    if model.variables.get("discriminator") is None:
        raise UserError(f"{path}: NVIDIA's files hold a discriminator and this model has none; use --format=npz")
    if settings.channel_base % 2:
        raise UserError(f"{path}: NVIDIA's files hold half of channel_base={settings.channel_base}; use --format=npz")
    shared = {
        "num_channels": settings.channels,
        "resolution": settings.resolution,
        "label_size": settings.num_classes,
        "fmap_base": settings.channel_base // 2,
        "fmap_max": settings.channel_max,
        "num_fp16_res": settings.low_precision_levels if settings.conv_clamp else 0,
        "conv_clamp": settings.conv_clamp or None,
    }
    arrays = official(model.variables["generator"]) | {W_AVG: np.asarray(model.w_avg)}
    named = {GENERATOR.name(n): GENERATOR.write(n, v) for n, v in arrays.items()}
    inner = {
        key: _network({}, {n.removeprefix(f"{key}/"): v for n, v in named.items() if n.startswith(f"{key}/")}, {})
        for key in ("mapping", "synthesis")
    }
    g_settings = shared | {
        "latent_size": settings.z_dim,
        "dlatent_size": settings.w_dim,
        "mapping_layers": settings.mapping_layers,
    }
    outer = {n: v for n, v in named.items() if not n.startswith(tuple(f"{key}/" for key in inner))}
    generator = _network(g_settings, outer, inner)
    judge = official(model.variables["discriminator"])
    d_settings = shared | {
        "architecture": settings.d_architecture,
        "mapping_layers": 8 if settings.num_classes else 0,
        "mapping_lrmul": 0.01,
        "mbstd_group_size": settings.mbstd_group,
        "mbstd_num_features": 1,
    }
    discriminator = _network(
        d_settings, {DISCRIMINATOR.name(n): DISCRIMINATOR.write(n, v) for n, v in judge.items()}, {}
    )
    try:
        write_atomic(path, dumps((generator, discriminator, generator), protocol=3))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def _network(settings: dict[str, Any], variables: Mapping[str, np.ndarray], components: dict[str, Call]) -> Call:
    state = {
        "version": _VERSION,
        "static_kwargs": settings,
        "variables": [(n, _stored(n, v)) for n, v in variables.items()],
        "components": components,
    }
    return Call(Global("dnnlib.tflib.network", "Network"), (), state)


def _stored(called: str, value: np.ndarray) -> np.ndarray:
    # In double precision, so that adding 1 gives the same number again.
    return value.astype(np.float64) - 1 if called.endswith(_SHIFTED) else value
