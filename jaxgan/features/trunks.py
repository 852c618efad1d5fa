"""Single convolutions of a VGG, before their ReLU, for perceptual losses: VGG19, or the trunk of ST-LPIPS.

The k-th convolution is counted from 1 over the whole network: conv_5 is VGG19's conv3_1. A stand-in keeps its own name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.features.layers import Frozen, max_pool
from jaxgan.features.lpips import VGG_ST, blur_pool, scaled
from jaxgan.features.networks import load, to_rgb
from jaxgan.features.vgg import VGG, normalised

LABELS = {"vgg19": "VGG19", "st-vgg": "st-vgg"}
_NETWORKS = {"vgg19": "vgg19", "st-vgg": "stlpips-vgg"}
_ST_WIDTHS = (64, 128, 256, 512, 512)


def _layers(kind: str) -> list[tuple[str, int, bool]]:
    """(name, width, whether a pooling comes before) of every convolution."""
    if kind == "st-vgg":
        return [
            (f"net.slice{s}.{index}", width, s > 1 and index == indices[0])
            for s, (indices, width) in enumerate(zip(VGG_ST, _ST_WIDTHS), start=1)
            for index in indices
        ]
    layers, index, pooled = [], 0, False
    for width in VGG[kind]:
        if width == "M":
            index, pooled = index + 1, True
        else:
            layers.append((f"features.{index}", width, pooled))
            index, pooled = index + 2, False
    return layers


def smallest(kind: str, conv: int) -> int:
    """Shortest side (px) of images that a convolution, counted from 1, can see.

    VGG19's poolings halve and must leave a pixel. The blur pools of ST-LPIPS take n pixels to n // 2 + 1, and reflect
    two pixels at the border of n - 1, so each needs 4.
    """
    poolings = sum(pool for _, _, pool in _layers(kind)[:conv])
    return 2**poolings + (2 if kind == "st-vgg" and poolings else 0)


class Trunk(Frozen):
    """[B, H, W, 3] in [0, 255] -> {"conv_5": [B, h, w, C], ...}, before the ReLU, at the images' own resolution.

    Attributes:
        kind: "vgg19" or "st-vgg".
        convs: which convolutions, counted from 1; nothing is computed beyond the last.

    Raises (when called):
        UserError: the images are smaller than `smallest` says.
    """

    kind: str = "st-vgg"
    convs: tuple[int, ...] = (5,)

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        last = max(self.convs)
        height, width = x.shape[1:3]
        side = smallest(self.kind, last)
        if min(height, width) < side:
            raise UserError(
                f"{height}x{width} images are too small for conv_{last} of {LABELS[self.kind]}, which needs {side} px; "
                f"ask for an earlier convolution or leave this loss out (its weight 0)"
            )
        shifting = self.kind == "st-vgg"
        x = scaled(x) if shifting else normalised(x)
        found = {}
        for number, (name, channels, pool) in enumerate(_layers(self.kind)[:last], start=1):
            x = nn.relu(x) if number > 1 else x
            if pool:
                x = blur_pool(max_pool(x, 2, 1)) if shifting else max_pool(x, 2, 2)
            x = self.conv(x, name, channels, 3, padding=1)
            if number in self.convs:
                found[f"conv_{number}"] = x
        return found


def load_trunk(
    kind: str, convs: tuple[int, ...], weights: str | Path | None = None
) -> tuple[Trunk, dict[str, jax.Array]]:
    """A trunk and the parameters that it needs.

    Args:
        kind: "vgg19", whose weights (torchvision's state dict) the user supplies, or "st-vgg", which a package carries.
        convs: convolutions counted from 1.
        weights: a file.

    Raises:
        UserError: an unknown kind, a convolution that is not there, or weights that are missing or do not fit.
    """
    if kind not in LABELS:
        raise UserError(f"trunk {kind!r} is not known; use one of {', '.join(LABELS)}")
    layers = _layers(kind)
    wrong = [k for k in convs if k not in range(1, len(layers) + 1)]
    if wrong or not convs:
        asked = f"has no convolution {wrong[0]!r}" if wrong else "was asked for no convolution"
        raise UserError(f"trunk {kind} {asked}; give numbers from 1 to {len(layers)}")
    convs = tuple(int(k) for k in convs)
    network = load(_NETWORKS[kind], weights)
    names = [f"{name}.{part}" for name, _, _ in layers[: max(convs)] for part in ("weight", "bias")]
    return Trunk(kind, convs), {name: jnp.asarray(network.params[name]) for name in names}


def apply_trunk(trunk: Trunk, params: Mapping[str, Any], images: jax.Array) -> dict[str, jax.Array]:
    """A trunk's maps of images [B, H, W, C] in [-1, 1], in full float32 precision; differentiable.

    Grey is repeated and alpha composited on white, see `to_rgb`.

    Raises:
        UserError: the images are smaller than the trunk's last convolution can see.
    """
    with jax.default_matmul_precision("highest"):
        return trunk.apply({"params": params}, to_rgb(images * 127.5 + 127.5))
