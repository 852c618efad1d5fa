"""Pickles of NVIDIA's PyTorch projects: StyleGAN2-ADA-PyTorch, and StyleGAN2 in the StyleGAN3 repository.

A snapshot is a dict with G, D and G_ema, each a module with its source code, which is never looked at. The weights are
read out of the modules' attributes, and so are the facts that shapes do not tell: clamps, half precision, groups. State
dicts with the modules' names are read in their place, and a generator alone, as module or state dict, is a G_ema.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError, shown
from jaxgan.interchange import tensorflow
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.official import OFFICIAL, Layout, Source
from jaxgan.interchange.stylegan2 import Facts, assemble, number
from jaxgan.interchange.tensors import joined, named
from jaxgan.weights.unpickle import Object

NAME = "nvidia"
_NETWORKS = ("G_ema", "G", "D")
_ACTIVATIONS = ("lrelu", "linear")
_FILTER = "resample_filter"
_MAPPING_MULTIPLIER = 0.01


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a snapshot with a generator."""
    return not networks(tree).keys().isdisjoint(("G_ema", "G"))


def networks(tree: Any) -> dict[str, Any]:
    """Those of "G_ema", "G" and "D" that a file holds, each a module or a state dict."""
    if _is_network(tree):
        return {"G_ema": tree}
    return {key: tree[key] for key in _NETWORKS if _is_network(tree.get(key))} if isinstance(tree, Mapping) else {}


def _is_network(value: Any) -> bool:
    return is_module(value) or any(str(name).startswith(("synthesis.", "b4.")) for name in named(value))


def is_module(value: Any) -> bool:
    """Whether it is a network of these projects, as plain data."""
    return isinstance(value, Object) and isinstance(value.state.get("_modules"), Mapping)


def modules(module: Object, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted name, attributes) of a module and of all that are in it, each once."""
    waiting, seen = [(name, module)], set()
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module.state
        for key, inner in (module.state.get("_modules") or {}).items():
            if is_module(inner):
                waiting.append((joined(name, key), inner))


def tensors(network: Any) -> dict[str, np.ndarray]:
    """Parameters and buffers by their dotted names; frozen layers keep their weights among the buffers."""
    if not is_module(network):
        return named(network)
    found = {}
    for name, state in modules(network):
        for kind in ("_parameters", "_buffers"):
            for key, value in (state.get(kind) or {}).items():
                if isinstance(value, np.ndarray):
                    found[joined(name, key)] = value
    return found


def read(tree: Any, path: str | Path, format: str = NAME, layout: Layout = OFFICIAL) -> Imported:
    """The networks of a file that `recognises` accepts; of a project that added to these, by its name and layout.

    Raises:
        UserError: it is another network than StyleGAN2, or one that does not exist here; the module or tensor is named.
    """
    found = networks(tree)
    ema_name = "G_ema" if "G_ema" in found else "G"
    ema = found[ema_name]
    ema_tensors = tensors(ema)
    if "synthesis.b4.const" not in ema_tensors:
        what = ema.kind if is_module(ema) else "a state dict without synthesis.b4.const"
        kind = "StyleGAN3" if "synthesis.input.weight" in ema_tensors else f"no StyleGAN2 ({what})"
        raise UserError(f"{path}: {ema_name} is {kind}, whose network is not known here; give a StyleGAN2 file")
    raw = discriminator = None
    if ema_name == "G_ema" and "G" in found:
        raw = _source(path, "G", found["G"], layout)
    layers = _layers(ema)
    facts = Facts(
        conv_clamp=number(layers.get("synthesis.b4.conv1", {}).get("conv_clamp")),
        architecture="stylegan2" if format == NAME else format,
        low_precision_levels=sum(state.get("use_fp16") is True for state in layers.values()),
    )
    if "D" in found:
        discriminator = _source(path, "D", found["D"], layout)
        group = number(_layers(found["D"]).get("b4.mbstd", {}).get("group_size"), facts.mbstd_group)
        facts = facts._replace(mbstd_group=int(group))
    alone = found.get("G_ema") is tree
    beside = [] if alone else [str(key) for key in tree if key not in _NETWORKS and tree[key] is not None]
    imported = assemble(format, _source(path, ema_name, ema, layout), raw, discriminator, facts, beside=beside)
    if not is_module(ema):
        imported.account.made_up["config.model"] = (
            f"conv_clamp 0, low_precision_levels 0, mbstd_group {facts.mbstd_group}: state dicts do not say"
        )
    return imported


def write(model: Any, path: str | Path) -> None:
    """Writes a model so that `legacy.load_network_pkl` of both projects opens it; see `tensorflow.write`."""
    tensorflow.write(model, path)


def _layers(network: Any) -> dict[str, dict[str, Any]]:
    """The attributes of a module's layers by their dotted names; a state dict has none."""
    return dict(modules(network)) if is_module(network) else {}


def _source(path: str | Path, name: str, network: Any, layout: Layout) -> Source:
    """A network's tensors, its filters set aside and its layers' kinds checked."""
    _check(path, name, _layers(network))
    found = tensors(network)
    source = Source(path, name, found, layout)
    source.leave_filters({key: value for key, value in found.items() if key.endswith(_FILTER)})
    return source


def _check(path: str | Path, network: str, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError for a layer that computes something else than the layer of its name here."""
    for name, state in layers.items():
        where = f"{path}: {network}: {name}"
        activation = state.get("activation", "linear")
        if activation not in _ACTIVATIONS:
            raise UserError(f"{where} has the activation {shown(activation)}; only 'lrelu' is known")
        if name.startswith("mapping.fc"):
            multiplier = number(state.get("bias_gain"), _MAPPING_MULTIPLIER)
            if not math.isclose(multiplier, _MAPPING_MULTIPLIER, rel_tol=1e-6):
                raise UserError(f"{where} has the learning rate multiplier {multiplier:g}; only 0.01 is known")
        if "num_torgb" in state and state.get("architecture") != "skip":
            raise UserError(
                f"{where} belongs to a generator of the architecture {shown(state.get('architecture'))}; only "
                "'skip' is known"
            )
