"""What the measuring networks are made of: inference-only layers on parameters with the published names.

A network is one Flax module whose parameters form a flat dict, `{"features.0.weight": [kh, kw, in, out], ...}`, so that
reading a published state dict is a transposition; `from_torch` does it. Convolutions run in full float32 precision.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.ops.conv import conv
from jaxgan.ops.depthwise import depthwise

_he = nn.initializers.he_normal()


class Frozen(nn.Module):
    """Layers that take their parameters by published name; for use inside a compact `__call__`.

    `cpu_group`: images that a CPU takes through together, 0 for a whole batch. Where layers are large and do little, a
    batch writes hundreds of megabytes a layer; two images stay in the caches (docs/performance.md).
    """

    cpu_group = 0

    def conv(
        self,
        x: jax.Array,
        name: str,
        features: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Any = 0,
        bias: bool = True,
    ) -> jax.Array:
        """A convolution; `padding` is a number, (vertical, horizontal), ((top, bottom), (left, right)) or "tf"."""
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        w = self.param(f"{name}.weight", _he, (*size, x.shape[-1], features))
        y = conv(x, w, stride=stride, padding=_pads(padding, x.shape[1:3], size, stride))
        return y + self.param(f"{name}.bias", nn.initializers.zeros, (features,)) if bias else y

    def depthwise(self, x: jax.Array, name: str, kernel: int, stride: int = 1, padding: Any = "tf") -> jax.Array:
        """A convolution of each channel with a kernel of its own."""
        w = self.param(f"{name}.weight", _he, (kernel, kernel, 1, x.shape[-1]))
        return depthwise(x, w[:, :, 0], stride=stride, padding=_pads(padding, x.shape[1:3], (kernel, kernel), stride))

    def batch_norm(self, x: jax.Array, name: str, eps: float) -> jax.Array:
        """Normalisation with stored statistics."""
        shape = (x.shape[-1],)
        scale = self.param(f"{name}.weight", nn.initializers.ones, shape)
        shift = self.param(f"{name}.bias", nn.initializers.zeros, shape)
        mean = self.param(f"{name}.running_mean", nn.initializers.zeros, shape)
        variance = self.param(f"{name}.running_var", nn.initializers.ones, shape)
        gain = scale * jax.lax.rsqrt(variance + eps)
        return x * gain + (shift - mean * gain)

    def dense(self, x: jax.Array, name: str, features: int, bias: bool = True) -> jax.Array:
        """A matrix, and a bias where there is one."""
        w = self.param(f"{name}.weight", _he, (x.shape[-1], features))
        y = jnp.dot(x, w, precision=jax.lax.Precision.HIGHEST)
        return y + self.param(f"{name}.bias", nn.initializers.zeros, (features,)) if bias else y


def _pads(padding: Any, size: tuple[int, int], kernel: tuple[int, int], stride: int) -> Any:
    if padding == "tf":  # TensorFlow's SAME: what is odd goes to the bottom and the right
        total = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(size, kernel)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(padding, int):
        return padding
    return tuple(p if isinstance(p, tuple) else (p, p) for p in padding)


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """The maximum over windows; positions outside count as minus infinity."""
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


def avg_pool_inside(x: jax.Array, window: int = 3) -> jax.Array:
    """The mean over windows around each pixel, of the pixels that lie inside the image."""
    edge = window // 2
    pads, sizes = ((0, 0), (edge, edge), (edge, edge), (0, 0)), (1, window, window, 1)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, sizes, (1, 1, 1, 1), pads)
    count = jax.lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 0.0, jax.lax.add, sizes, (1, 1, 1, 1), pads)
    return total / count


def from_torch(state: Mapping[str, np.ndarray], shapes: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    """Parameters of a network out of a state dict, laid out as here: HWIO kernels, [in, out] matrices, float32.

    Args:
        state: arrays by published name; names that the network does not have are left out.
        shapes: the network's parameters (arrays or shapes) by name.
        source: named in errors.

    Raises:
        UserError: a parameter is missing or has another shape, or holds a number that is not finite.
    """
    params = {}
    for name, like in shapes.items():
        if name not in state:
            raise UserError(f"{source}: holds no {name}; it is the state dict of another network")
        value = np.asarray(state[name], np.float32)
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2:
            value = value.T
        if value.shape != like.shape:
            raise UserError(f"{source}: {name} has shape {state[name].shape}; it is the state dict of another network")
        if not np.isfinite(value).all():
            raise UserError(f"{source}: {name} holds numbers that are not finite; fetch the file again")
        params[name] = np.ascontiguousarray(value)
    return params
