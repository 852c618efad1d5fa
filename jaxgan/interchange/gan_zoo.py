"""Progressive GANs of facebookresearch/pytorch_GAN_zoo: a .pt with netG, avgG, netD and config.

Its networks are the paper's with these differences, each of which has its place here, so that images and logits are
equal:

* The run-time gain sqrt(2 / fan-in) is on every layer (the paper has 1 in front of the image and at the discriminator's
  end, sqrt(2) / 4 at the latent), and it scales the bias too: both are folded into what is stored.
* The generator's dense layer has a bias for each unit: `config.model.unit_bias`.
* The slope of the leaky ReLUs and tanh at the end are settings, the discriminator averages after its activation:
  `leaky_slope`, `output`, `fused_scale`.
* The minibatch deviation divides by n - 1: folded into the weights that read it, for its groups of 4.
* alpha is the share of the old resolution, and at 8 px the discriminator does not mix at all.
* With labels, the discriminator's loss reads class k in output k, the first of which is the score as well. A latent of
  several attributes is one code here: give labels as rows, not as numbers.
"""

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.configs import common
from jaxgan.errors import UserError, shown
from jaxgan.interchange import bounds
from jaxgan.interchange.imported import Account, Imported
from jaxgan.interchange.tensors import Tensors, named
from jaxgan.networks.build import stable_level
from jaxgan.networks.layers import block_resolutions, num_channels
from jaxgan.ops.activation import SQRT2
from jaxgan.weights.unpickle import Object

_OBJECTIVES = {"WGANGP": "wgan", "Logistic": "nonsaturating", "DCGAN": "nonsaturating", "MSE": "lsgan"}
_TANH = ("DCGAN", "MSE")
# Fields of the JSON beside a file whose names differ from those inside it.
_JSON_NAMES = {"leakyness": "leakyReluLeak", "lossMode": "lossCriterion", "baseLearningRate": "learningRate"}


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a Progressive GAN of this kind."""
    return isinstance(tree, Mapping) and bool(_state(tree, "avgG") or _state(tree, "netG"))


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts.

    Raises:
        UserError: a tensor or a setting is missing or is not what the network needs.
    """
    settings, made_up = _settings(tree, Path(path))
    states = {name: _state(tree, name) for name in ("netG", "avgG", "netD")}
    averaged = "avgG" if states["avgG"] else "netG"
    tensors = {name: Tensors(f"{path} ({name})", state) for name, state in states.items() if state}
    config, alpha = _config(tensors[averaged], tensors.get("netD"), settings)
    resolution = config.growth.start_resolution * (1 if alpha is None else 2)
    generators = {}
    for name in ("netG", "avgG"):
        if name in tensors:
            reader = _Layers(tensors[name], "ema" if name == averaged else "raw", settings["equalizedlR"])
            generators[name] = _generator(reader, config, resolution, alpha)
    discriminator = None
    if "netD" in tensors:
        reader = _Layers(tensors["netD"], "discriminator", settings["equalizedlR"])
        discriminator = _discriminator(reader, config, resolution, alpha, made_up)
    else:
        made_up["discriminator"] = "none: the file holds no netD"
    images_seen = 0
    if alpha is not None:
        images_seen = round(alpha * config.growth.fade_kimg * 1000)
        made_up["images_seen"] = f"{images_seen:,}, where this alpha stands in config.growth's fade"
    account = Account(
        {f"{name}.{theirs}": ours for name, t in tensors.items() for theirs, ours in t.read.items()},
        {f"{name}.{theirs}": why for name, t in tensors.items() for theirs, why in t.unused.items()},
        made_up,
    )
    raw = generators.get("netG") if averaged == "avgG" else None
    w_avg = np.zeros(config.model.z_dim + config.model.num_classes, np.float32)
    level = stable_level(resolution) - (alpha is not None)
    return Imported("gan_zoo", config, generators[averaged], raw, discriminator, w_avg, level, images_seen, account)


def _state(tree: Mapping, name: str) -> dict[str, np.ndarray]:
    """A network's tensors; {} where it is none of these. Old files lack the "module." before weight and bias."""
    state = {key.replace(".module.", "."): value for key, value in named(tree.get(name)).items()}
    marks = ("fromRGBLayers.0.weight",) if name == "netD" else ("formatLayer.weight", "toRGBLayers.0.weight")
    return state if all(mark in state for mark in marks) else {}


def _settings(tree: Mapping, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(what the file's config says, else the NAME_train_config.json beside NAME_s5_i96000.pt, else defaults; made up).

    Raises:
        UserError: a setting is no number of its kind.
    """
    found = tree.get("config")
    if isinstance(found, Object):
        found = found.state
    beside = path.with_name("_".join(path.stem.split("_")[:-2]) + "_train_config.json")
    if not isinstance(found, Mapping) and beside.is_file():
        try:
            found = {_JSON_NAMES.get(key, key): value for key, value in json.loads(beside.read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{beside} cannot be read ({error}); mend it, or move it away to use defaults") from error
    made_up = {}
    if not isinstance(found, Mapping):
        found = {}
        made_up["config"] = "slope 0.2, linear output, equalised weights, no fade: the file brings no config"
    settings: dict[str, Any] = {
        "alpha": 0.0,
        "leakyReluLeak": 0.2,
        "lossCriterion": "WGANGP",
        "equalizedlR": True,
        "categoryVectorDim": 0,
        "learningRate": 0.001,
        "lambdaGP": 0.0,
        "epsilonD": 0.0,
        "logisticGradReal": 0.0,
    }
    for name, default in settings.items():
        value = found.get(name, default)
        fits = isinstance(value, type(default) if isinstance(default, bool | str) else int | float)
        if not fits or (not isinstance(value, str) and not 0 <= value < 1e6):
            raise UserError(f"{path}: its config has {name}={shown(value)}, which is no such setting")
        settings[name] = value
    if settings["alpha"] > 1 or settings["lossCriterion"] not in _OBJECTIVES:
        raise UserError(
            f"{path}: its config has alpha={settings['alpha']} and lossCriterion={shown(settings['lossCriterion'])}; "
            f"alpha goes to 1, and the losses are {', '.join(_OBJECTIVES)}"
        )
    return settings, made_up


def _config(generator: Tensors, judge: Tensors | None, settings: dict[str, Any]) -> tuple[ConfigDict, float | None]:
    """(the experiment that the shapes and settings belong to, share of the new resolution or None while stable)."""
    units, latent = generator.shape("formatLayer.weight", 2)
    scales = next(n for n in itertools.count() if f"scaleLayers.{n}.0.weight" not in generator)
    depths = [units // 16, *(generator.shape(f"scaleLayers.{n}.0.weight", 4)[0] for n in range(scales))]
    bounds.check_layers(scales, generator.path)
    resolution = 4 << scales
    base = max(width << n for n, width in enumerate(depths)) * 4
    for n, width in enumerate(depths):
        formula = num_channels(4 << n, base, depths[0])
        if width != formula:
            raise UserError(
                f"{generator.path}: scaleLayers.{n - 1}.0.weight makes {width} maps where {formula} were expected; "
                "widths must be as at 4 px up to some resolution and then halve with each"
            )
    classes = int(settings["categoryVectorDim"])
    if judge is not None:
        classes = judge.shape("decisionLayer.weight", 2)[0] - 1
    if classes >= latent:
        raise UserError(
            f"{generator.path}: formatLayer.weight reads {latent} numbers, which leave none beside {classes} classes"
        )
    alpha = 1 - float(settings["alpha"]) if settings["alpha"] and scales else None
    config = configs.complete(common.pggan())
    config.data.source = ""
    config.data.use_labels = classes > 0
    config.model.update(
        resolution=max(resolution, 8),
        base_shape=(4, 4),
        channels=generator.shape("toRGBLayers.0.weight", 4)[0],
        num_classes=classes,
        z_dim=latent - classes,
        channel_base=base,
        channel_max=depths[0],
        dtype="float32",
        fused_scale=False,
        leaky_slope=float(settings["leakyReluLeak"]),
        unit_bias=True,
        output="tanh" if settings["lossCriterion"] in _TANH else "linear",
    )
    bounds.check(config.model.to_dict(), generator.path)
    config.loss.objective = _OBJECTIVES[settings["lossCriterion"]]
    config.loss.gp_weight, config.loss.drift = float(settings["lambdaGP"]), float(settings["epsilonD"])
    config.loss.r1_gamma = 2.0 * settings["logisticGradReal"]
    config.optimizer.g_lr = config.optimizer.d_lr = float(settings["learningRate"])
    config.growth.start_resolution = resolution if alpha is None else resolution // 2
    if alpha is not None:
        config.growth.stable_kimg = 0.0  # it starts in the fade
    return config, alpha


class _Layers:
    """Takes layers out of a network's tensors, gains folded; `network` is where they go."""

    def __init__(self, tensors: Tensors, network: str, equalised: bool):
        self.tensors, self._network, self._equalised = tensors, network, equalised

    def take(
        self, name: str, ours: str, outputs: int, inputs: int, kernel: int = 0, gain: float = SQRT2, fan_in: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """(weight, bias) in torch's layout: [O, I, k, k], or [O, I] of a dense layer, and [O].

        `gain` and `fan_in` are those of the layer here.
        """
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        fan = inputs * max(kernel, 1) ** 2
        theirs = math.sqrt(2 / fan) if self._equalised else 1.0
        # Written so that it is exactly 1 where the two gains are the same.
        factor = SQRT2 / gain * math.sqrt((fan_in or fan) / fan) * (theirs / math.sqrt(2 / fan))
        weight = self.tensors.take(f"{name}.weight", shape, f"{self._network}/params/{ours}/weight{_times(factor)}")
        bias = self.tensors.take(f"{name}.bias", (outputs,), f"{self._network}/params/{ours}/bias{_times(theirs)}")
        return weight * np.float32(factor), bias * np.float32(theirs)

    def conv(self, name: str, ours: str, outputs: int, inputs: int, kernel: int = 3, gain: float = SQRT2):
        """A convolution's parameters here: weight [k, k, I, O] and bias."""
        weight, bias = self.take(name, ours, outputs, inputs, kernel, gain)
        return {"weight": np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), "bias": bias}


def _times(factor: float) -> str:
    return "" if factor == 1 else f", times {factor:.7g}"


def _generator(layers: _Layers, config: ConfigDict, resolution: int, alpha: float | None) -> dict[str, Any]:
    model, width = config.model, config.model.channel_max
    latent = model.z_dim + model.num_classes
    # Ours is a 4x4 kernel on one pixel, the fan-in of which counts its 16 outputs.
    weight, bias = layers.take("formatLayer", "b4/conv0", 16 * width, latent, fan_in=16 * latent)
    dense = {
        "weight": np.ascontiguousarray(weight.reshape(width, 4, 4, latent).transpose(1, 2, 3, 0)),
        "bias": np.ascontiguousarray(bias.reshape(width, 4, 4).transpose(1, 2, 0)),
    }
    params: dict[str, Any] = {"b4": {"conv0": dense, "conv1": layers.conv("groupScale0.0", "b4/conv1", width, width)}}
    resolutions = block_resolutions(resolution)
    for n, r in enumerate(resolutions[1:]):
        inputs, width = width, num_channels(r, model.channel_base, model.channel_max)
        params[f"b{r}"] = {
            "conv0": layers.conv(f"scaleLayers.{n}.0", f"b{r}/conv0", width, inputs),
            "conv1": layers.conv(f"scaleLayers.{n}.1", f"b{r}/conv1", width, width),
        }
    for r in resolutions[-1 if alpha is None else -2 :]:
        width = num_channels(r, model.channel_base, model.channel_max)
        name, ours = f"toRGBLayers.{resolutions.index(r)}", f"torgb{r}"
        params[ours] = layers.conv(name, ours, model.channels, width, 1, gain=1.0)
    _leave_old(layers.tensors, "toRGBLayers", len(resolutions))
    return {"params": params, "buffers": {} if alpha is None else {"alpha": np.float32(alpha)}}


def _discriminator(
    layers: _Layers, config: ConfigDict, resolution: int, alpha: float | None, made_up: dict[str, str]
) -> dict[str, Any]:
    model = config.model
    resolutions = block_resolutions(resolution)
    widths = {r: num_channels(r, model.channel_base, model.channel_max) for r in resolutions}
    params: dict[str, Any] = {}
    for r in resolutions[-1 if alpha is None else -2 :]:
        name, ours = f"fromRGBLayers.{resolutions.index(r)}", f"fromrgb{r}"
        params[ours] = layers.conv(name, ours, widths[r], model.channels, 1)
    for n, r in enumerate(resolutions[1:]):
        params[f"b{r}"] = {
            "conv0": layers.conv(f"scaleLayers.{n}.0", f"b{r}/conv0", widths[r], widths[r]),
            "conv1": layers.conv(f"scaleLayers.{n}.1", f"b{r}/conv1", widths[r // 2], widths[r]),
        }
    params["b4"] = _epilogue(layers, widths[4], model, made_up)
    buffers = {}
    if alpha is not None:
        buffers["alpha"] = np.float32(alpha)
        if resolution == 8:
            buffers["alpha"] = np.float32(1)
            made_up["discriminator/buffers/alpha"] = "1: theirs does not mix at 8 px"
    _leave_old(layers.tensors, "fromRGBLayers", len(resolutions))
    return {"params": params, "buffers": buffers}


def _epilogue(layers: _Layers, width: int, model: ConfigDict, made_up: dict[str, str]) -> dict[str, Any]:
    """The layers at 4 px."""
    first = "groupScaleZero.0"
    has_deviation = layers.tensors.shape(f"{first}.weight", 4)[1] == width + 1
    inputs = width + has_deviation
    weight, bias = layers.take(first, "b4/conv", width, inputs, 3, fan_in=9 * (width + 1))
    weight = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    if has_deviation:
        weight[:, :, -1] *= math.sqrt(4 / 3)
        made_up["discriminator/params/b4/conv/weight, last input"] = (
            "times sqrt(4/3) besides: the deviation in groups of 4 is taken with n - 1 there"
        )
    else:
        weight = np.concatenate((weight, np.zeros_like(weight[:, :, :1])), axis=2)
        made_up["discriminator/params/b4/conv/weight, last input"] = "0: theirs has no minibatch deviation"
    dense, dense_bias = layers.take("groupScaleZero.1", "b4/fc", width, 16 * width)
    outputs = 1 + model.num_classes
    out, out_bias = layers.take("decisionLayer", "b4/out", outputs, width, gain=1.0)
    rows = [0, *range(outputs - 1)]
    if outputs > 1:
        made_up["discriminator/params/b4/out, class k"] = (
            "row k of decisionLayer, which its loss reads; the last is not read"
        )
    return {
        "conv": {"weight": weight, "bias": bias},
        "fc": {
            "weight": dense.reshape(width, width, 4, 4).transpose(2, 3, 1, 0).reshape(-1, width),
            "bias": dense_bias,
        },
        "out": {"weight": np.ascontiguousarray(out[rows].T), "bias": out_bias[rows]},
    }


def _leave_old(tensors: Tensors, name: str, count: int) -> None:
    """Sets aside the image layers of lower resolutions; what then is left belongs to no layer."""
    old = [f"{name}.{n}.{kind}" for n in range(count) for kind in ("weight", "bias")]
    tensors.leave("of a lower resolution, which the network no longer uses", *old)
    tensors.none_left()
