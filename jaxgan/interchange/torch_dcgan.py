"""DCGANs in the layout of PyTorch's tutorial: `main.0.weight`, `main.1.running_mean` ... in an nn.Sequential each.

The generator is a 4x4 transposed convolution of z, then transposed convolutions (kernel 4, stride 2, padding 1) that
double the resolution, with batch normalisation and ReLU between them and tanh at the end; the discriminator mirrors it
with convolutions, leaky ReLU and a sigmoid, which is no part of the logits here. So a layer counts three in the
Sequential. 64 px is the tutorial's; every other power of two is read from the number of layers.

A file holds one network's state dict, or several by name (`netG_state_dict` ...). Where a file `netG...` holds a
generator alone and `netD...` lies beside it, as the tutorial's examples save them, both are read. A discriminator that
is not the mirror of its generator is left out, whichever file it is in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.configs import common
from jaxgan.errors import UserError
from jaxgan.interchange import bounds
from jaxgan.interchange.imported import Account, Imported
from jaxgan.interchange.tensors import Tensors, named
from jaxgan.networks.layers import block_resolutions
from jaxgan.weights import torch_file

_GENERATORS = ("netG_state_dict", "netG", "generator_state_dict", "generator", "G_state_dict", "G")
_FIRST = "main.0.weight"
_WRAPPED = "module."  # what nn.DataParallel puts before every name


def recognises(tree: Any) -> bool:
    """Whether what a file holds are networks in this layout."""
    return any(_FIRST in state for state in _networks(tree).values())


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts; a discriminator that does not fit is left out with its reason.

    Raises:
        UserError: there is no generator, or one of its tensors has another shape than its network needs.
    """
    states = _networks(tree)
    path = Path(path)
    if "G" not in states:
        raise UserError(f"{path} holds a discriminator alone; give the generator's file")
    generator = Tensors(path, states["G"])
    config = _config(generator)
    made_up: dict[str, str] = {}
    account = Account(generator.read, generator.unused, made_up)
    ema = _generator(generator, config.model, made_up)
    place, state, why = path, states.get("D", {}), "the file holds a generator alone"
    beside = path.with_name(path.name.replace("netG", "netD"))
    if not state and beside != path and beside.is_file():
        place, (state, why) = beside, _beside(beside)
    discriminator = None
    if state:
        discriminator, why = _judge(Tensors(place.name, state), config.model, account)
    if discriminator is None:
        made_up["discriminator"] = f"none: {why}"
    w_avg = np.zeros(config.model.z_dim, np.float32)
    return Imported("torch_dcgan", config, ema, None, discriminator, w_avg, None, 0, account)


def _beside(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """(a discriminator's tensors, "") of the file beside the generator's, or ({}, why there are none)."""
    try:
        state = _networks(torch_file.read(path)).get("D", {})
    except UserError as error:
        return {}, str(error)
    return state, "" if state else f"{path.name} holds no discriminator in this layout"


def _judge(tensors: Tensors, model: ConfigDict, account: Account) -> tuple[dict[str, Any] | None, str]:
    """(the discriminator's variables, ""), or (None, why it is not the generator's); what becomes of it is noted."""
    made_up: dict[str, str] = {}
    names = tensors.names()
    try:
        found = _discriminator(tensors, model, made_up)
    except UserError as error:
        account.unused.update({f"D: {name}": "its discriminator is left out" for name in names})
        return None, str(error)
    account.read.update({f"D: {name}": ours for name, ours in tensors.read.items()})
    account.made_up.update(made_up)
    return found, ""


def _networks(tree: Any) -> dict[str, dict[str, np.ndarray]]:
    """{"G", "D"} -> tensors by name, of what a file holds."""
    if not isinstance(tree, Mapping):
        return {}
    if any(isinstance(name, str) and name.removeprefix(_WRAPPED) == _FIRST for name in tree):
        state = _unwrapped(tree)
        # A generator normalises what its first layer makes, a discriminator does not.
        return {"G" if "main.1.weight" in state else "D": state}
    found = {}
    for name in _GENERATORS:
        for part, key in (("G", name), ("D", name.replace("G", "D").replace("generator", "discriminator"))):
            state = _unwrapped(tree.get(key))
            if _FIRST in state or (part == "D" and state):  # a discriminator of another layout is left out, and said
                found.setdefault(part, state)
    return found


def _unwrapped(state: Any) -> dict[str, np.ndarray]:
    return {name.removeprefix(_WRAPPED): value for name, value in named(state).items()}


def _config(tensors: Tensors) -> ConfigDict:
    """The experiment that the generator's shapes belong to."""
    z_dim, width, *_ = tensors.shape(_FIRST, 4)
    layers = 1
    while f"main.{3 * layers}.weight" in tensors:
        layers += 1
    bounds.check_layers(layers, tensors.path)
    config = configs.complete(common.small_float32(common.dcgan()))
    channels = tensors.shape(f"main.{3 * layers - 3}.weight", 4)[1]
    config.data.source = ""
    config.model.update(
        resolution=2 << layers,
        base_shape=(4, 4),
        channels=channels,
        z_dim=z_dim,
        channel_base=4 * width,
        channel_max=width,
        kernel=4,
        bn_epsilon=1e-5,
        unit_norm=False,
    )
    bounds.check(config.model.to_dict(), tensors.path)
    config.optimizer.l2 = 0.0  # as in the tutorial
    return config


def _generator(tensors: Tensors, model: ConfigDict, made_up: dict[str, str]) -> dict[str, Any]:
    width = model.channel_base // 4
    first = tensors.take(_FIRST, (model.z_dim, width, 4, 4), "generator/params/fc/weight")
    params: dict[str, Any] = {"fc": {"weight": first.transpose(0, 2, 3, 1).reshape(model.z_dim, -1)}}
    buffers: dict[str, Any] = {}
    for layer, resolution in enumerate(block_resolutions(model.resolution)):
        if layer:
            last = resolution == model.resolution
            features = model.channels if last else model.channel_base // resolution
            name = f"conv{resolution}"
            kernel = tensors.take(f"main.{3 * layer}.weight", (width, features, 4, 4), f"generator/params/{name}")
            # A transposed convolution is a plain one of the dilated input with the kernel turned round.
            params[name] = {"weight": np.ascontiguousarray(kernel[:, :, ::-1, ::-1].transpose(2, 3, 0, 1))}
            width = features
        if resolution < model.resolution:
            _norm(tensors, 3 * layer + 1, width, "generator", f"norm{resolution}", params, buffers, made_up)
    tensors.none_left()
    return {"params": params, "buffers": buffers}


def _discriminator(tensors: Tensors, model: ConfigDict, made_up: dict[str, str]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    buffers: dict[str, Any] = {}
    inputs = model.channels
    width, ngf = tensors.shape(_FIRST, 4)[0], model.channel_base * 2 // model.resolution
    if width != ngf:
        raise UserError(f"{tensors.path} has ndf={width} where its generator has ngf={ngf}; only equal ones are known")
    resolutions = block_resolutions(model.resolution)[:0:-1]
    for layer, resolution in enumerate(resolutions):
        # The first layer has no normalisation, so it counts two in the Sequential.
        index = 3 * layer - 1 if layer else 0
        features = model.channel_base * 2 // resolution
        kernel = tensors.take(
            f"main.{index}.weight", (features, inputs, 4, 4), f"discriminator/params/conv{resolution}"
        )
        params[f"conv{resolution}"] = {"weight": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))}
        inputs = features
        if layer:
            _norm(tensors, index + 1, inputs, "discriminator", f"norm{resolution}", params, buffers, made_up)
    last = tensors.take(f"main.{3 * len(resolutions) - 1}.weight", (1, inputs, 4, 4), "discriminator/params/out/weight")
    params["out"] = {"weight": last.transpose(2, 3, 1, 0).reshape(-1, 1)}
    tensors.none_left()
    return {"params": params, "buffers": buffers}


def _norm(
    tensors: Tensors,
    index: int,
    width: int,
    network: str,
    name: str,
    params: dict[str, Any],
    buffers: dict[str, Any],
    made_up: dict[str, str],
) -> None:
    """Reads one batch normalisation into both trees."""

    def take(theirs: str, kind: str, ours: str) -> np.ndarray:
        return tensors.take(f"main.{index}.{theirs}", (width,), f"{network}/{kind}/{name}/{ours}")

    params[name] = {"weight": take("weight", "params", "weight"), "bias": take("bias", "params", "bias")}
    buffers[name] = {
        "mean": take("running_mean", "buffers", "mean"),
        "variance": take("running_var", "buffers", "variance"),
    }
    count = f"main.{index}.num_batches_tracked"
    if count in tensors:
        buffers[name]["count"] = tensors.take(count, (), f"{network}/buffers/{name}/count")
    else:  # files from before torch 0.4.1
        buffers[name]["count"] = np.float32(1000)
        made_up[f"{network}/buffers/{name}/count"] = "1000: moments that training moves on, not anew"
