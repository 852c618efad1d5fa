"""Pickles of NVIDIA's PyTorch projects: StyleGAN2-ADA-PyTorch, and StyleGAN2 in the StyleGAN3 repository.

A snapshot is a dict with G, D and G_ema, each a module with its source code, which is never looked at. The weights are
read out of the modules' attributes, and so are the facts that shapes do not tell: clamps, half precision, groups.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.interchange import tensorflow
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.official import Source
from jaxgan.interchange.stylegan2 import Facts, assemble, number
from jaxgan.weights.unpickle import Object

NAME = "nvidia"
_ACTIVATIONS = ("lrelu", "linear")
_FILTER = "resample_filter"
_MAPPING_MULTIPLIER = 0.01


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a snapshot with a generator as a module."""
    return isinstance(tree, Mapping) and any(is_module(tree.get(key)) for key in ("G_ema", "G"))


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
                waiting.append((f"{name}.{key}" if name else str(key), inner))


def tensors(module: Object) -> dict[str, np.ndarray]:
    """Parameters and buffers by their dotted names; frozen layers keep their weights among the buffers."""
    found = {}
    for name, state in modules(module):
        for kind in ("_parameters", "_buffers"):
            for key, value in (state.get(kind) or {}).items():
                if isinstance(value, np.ndarray):
                    found[f"{name}.{key}" if name else str(key)] = value
    return found


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts.

    Raises:
        UserError: it is another network than StyleGAN2, or one that does not exist here; the module or tensor is named.
    """
    ema_name = "G_ema" if is_module(tree.get("G_ema")) else "G"
    ema = tree[ema_name]
    ema_tensors = tensors(ema)
    if "synthesis.b4.const" not in ema_tensors:
        kind = "StyleGAN3" if "synthesis.input.weight" in ema_tensors else f"no StyleGAN2 ({ema.kind})"
        raise UserError(f"{path}: {ema_name} is {kind}, whose network is not known here; give a StyleGAN2 file")
    raw = discriminator = None
    if ema_name == "G_ema" and is_module(tree.get("G")):
        raw = _source(path, "G", tree["G"])
    layers = dict(modules(ema))
    facts = Facts(
        conv_clamp=number(layers["synthesis.b4.conv1"].get("conv_clamp")),
        low_precision_levels=sum(state.get("use_fp16") is True for state in layers.values()),
    )
    if is_module(tree.get("D")):
        discriminator = _source(path, "D", tree["D"])
        group = number(dict(modules(tree["D"])).get("b4.mbstd", {}).get("group_size"), facts.mbstd_group)
        facts = facts._replace(mbstd_group=int(group))
    beside = [str(key) for key, value in tree.items() if key not in ("G", "D", "G_ema") and value is not None]
    return assemble(NAME, _source(path, ema_name, ema), raw, discriminator, facts, beside=beside)


def write(model: Any, path: str | Path) -> None:
    """Writes a model so that `legacy.load_network_pkl` of both projects opens it; see `tensorflow.write`."""
    tensorflow.write(model, path)


def _source(path: str | Path, name: str, module: Object) -> Source:
    """A network's tensors, its filters set aside and its layers' kinds checked."""
    _check(path, name, module)
    found = tensors(module)
    source = Source(path, name, found)
    source.leave_filters({key: value for key, value in found.items() if key.endswith(_FILTER)})
    return source


def _check(path: str | Path, network: str, module: Object) -> None:
    """Raises UserError for a layer that computes something else than the layer of its name here."""
    for name, state in modules(module):
        where = f"{path}: {network}: {name}"
        activation = state.get("activation", "linear")
        if activation not in _ACTIVATIONS:
            raise UserError(f"{where} has the activation {str(activation)[:50]!r}; only 'lrelu' is known")
        if name.startswith("mapping.fc"):
            multiplier = number(state.get("bias_gain"), _MAPPING_MULTIPLIER)
            if not math.isclose(multiplier, _MAPPING_MULTIPLIER, rel_tol=1e-6):
                raise UserError(f"{where} has the learning rate multiplier {multiplier:g}; only 0.01 is known")
        if "num_torgb" in state and state.get("architecture") != "skip":
            raise UserError(
                f"{where} belongs to a generator of the architecture {str(state.get('architecture'))[:50]!r}; only "
                "'skip' is known"
            )
