"""LPIPS v0.1 on torchvision's trunks, and the shift-tolerant ST-LPIPS with trunks of its own.

Both take RGB in [0, 255] and return a list of feature maps, unit-normalised and weighted by the heads, whose squared
differences, averaged over positions and summed over channels and layers, are the distance.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.features.layers import Frozen, max_pool
from jaxgan.features.vgg import alex_taps, vgg_taps

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_ALEX_ST = ((0, 64, 11, 2), (5, 192, 5, 2), (9, 384, 3, 1), (11, 256, 3, 1), (13, 256, 3, 1))
VGG_ST = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
_WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def distance(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> jax.Array:
    """[B] distances of two images' embeddings."""
    return sum(jnp.square(x - y).sum(-1).mean((1, 2)) for x, y in zip(a, b))


class Lpips(Frozen):
    """[B, H, W, 3] in [0, 255] -> embeddings for `distance`; the trunk is torchvision's.

    Attributes:
        trunk: "alex" or "vgg".
    """

    trunk: str = "alex"

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        # torchvision's normalisation of [0, 255] is LPIPS's scaling layer on [-1, 1].
        taps = alex_taps(self, x) if self.trunk == "alex" else vgg_taps(self, x, "vgg16")
        return embeddings(self, list(taps.values()), _WIDTHS[self.trunk])


class StLpips(Frozen):
    """[B, H, W, 3] in [0, 255] -> embeddings for `distance`.

    Attributes:
        trunk: "alex" or "vgg".
    """

    trunk: str = "alex"

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        x = scaled(x)
        taps = self._alex(x) if self.trunk == "alex" else self._vgg(x)
        return embeddings(self, taps, _WIDTHS[self.trunk])

    def _alex(self, x: jax.Array) -> list[jax.Array]:
        taps = []
        for number, (index, width, kernel, padding) in enumerate(_ALEX_ST, start=1):
            if index in (5, 9):
                x = blur_pool(max_pool(x, 3, 1))
            x = self.conv(x, f"net.slice{number}.{index}", width, kernel, 1, padding)
            x = nn.relu(blur_pool(x) if index == 0 else x)
            taps.append(x)
        return taps

    def _vgg(self, x: jax.Array) -> list[jax.Array]:
        taps = []
        for number, (indices, width) in enumerate(zip(VGG_ST, _WIDTHS["vgg"]), start=1):
            if number > 1:
                x = blur_pool(max_pool(x, 2, 1))
            for index in indices:
                x = nn.relu(self.conv(x, f"net.slice{number}.{index}", width, 3, 1, 1))
            taps.append(x)
        return taps


def scaled(x: jax.Array) -> jax.Array:
    """[0, 255] through LPIPS's scaling layer."""
    return (x / 127.5 - 1.0 - jnp.asarray(_SHIFT)) / jnp.asarray(_SCALE)


def embeddings(net: Frozen, taps: Sequence[jax.Array], widths: Sequence[int]) -> list[jax.Array]:
    """Feature maps with channels of unit length, times the square roots of the heads' weights."""
    result = []
    for i, (tap, width) in enumerate(zip(taps, widths)):
        head = net.param(f"lin{i}.model.1.weight", nn.initializers.ones, (1, 1, width, 1))[0, 0, :, 0]
        squares = jnp.square(tap).sum(-1, keepdims=True)
        # Where all channels are zero the root has no gradient; the value there is 0 with any positive number.
        length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
        result.append(tap / (length + 1e-10) * jnp.sqrt(jnp.maximum(head, 0.0)))
    return result


def blur_pool(x: jax.Array) -> jax.Array:
    """Every second pixel of [1, 2, 1] x [1, 2, 1] / 16 after two reflected pixels on every side."""
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    rows = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:])[:, ::2]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:])[:, :, ::2] / 16
