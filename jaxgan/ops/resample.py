"""Resampling by two with the filter [1, 3, 3, 1], alone and fused with a 3x3 convolution, as in StyleGAN2.

Resampling convolutions exist in three forms that give the same values, borders included:

- ``dilated``: transposed (or strided) convolution and a depthwise filter: the definition, and the oracle of the tests;
- ``shifted``: the same with the filter written as shifted adds;
- ``composed``: kernel and filter composed into one dense convolution at the lower resolution.

Which is fastest depends on the backend (benchmarks/resample.py); `default_form` holds the choice. Images are NHWC.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgan import compiler
from jaxgan.ops.conv import conv
from jaxgan.ops.unfused import unfused

TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
FORMS = ("dilated", "shifted", "composed")


def default_form(backend: str | None = None) -> str:
    """The fastest form of a resampling convolution on a backend (default: the one that is compiled for).

    Measured on CPU; on TPU by what the compiler says that it moves (docs/performance.md). On GPU not measured: XLA's
    depthwise convolutions are reported to be slow there, backwards most of all (github.com/jax-ml/jax/issues/13800).
    """
    return "dilated" if (backend or compiler.backend()) == "tpu" else "shifted"


def _shift(x: jax.Array, axis: int, offset: int) -> jax.Array:
    """x moved so that position i holds x[i + offset]; zeros come in at the border."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-offset, offset, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def filter_pad(x: jax.Array, pad: tuple[int, int], gain: float = 1.0) -> jax.Array:
    """Both axes filtered with TAPS * gain (per axis) after zero padding; each side grows by sum(pad) - 3.

    Sixteen shifted adds in one pass. The filter is symmetric, so its transpose is itself with the padding 3 - pad;
    being told so saves the scattered adds of the automatic transpose.
    """
    return _filter_p.bind(x, pad=tuple(pad), gain=gain)


def _filter(x, *, pad, gain):
    height, width = (n + sum(pad) - 3 for n in x.shape[1:3])
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*pad, 0), (*pad, 0), (0, 0, 0)))
    taps = [t * gain for t in TAPS]
    return sum(
        (taps[a] * taps[b]) * x[:, a : a + height, b : b + width] for a in range(len(taps)) for b in range(len(taps))
    )


def _cpu_filter(x, *, pad, gain):
    """Fused into a transposed copy, the sixteen adds would run strided, at several times their cost."""
    return unfused(lambda x: _filter(x, pad=pad, gain=gain), x)


def _filter_transpose(g, x, *, pad, gain):
    return [_filter_p.bind(g, pad=(3 - pad[0], 3 - pad[1]), gain=gain)]


def _filter_batch(operands, axes, **params):
    x = jnp.moveaxis(operands[0], axes[0], 0)
    out = _filter_p.bind(x.reshape(-1, *x.shape[2:]), **params)
    return out.reshape(*x.shape[:2], *out.shape[1:]), 0


_filter_p = Primitive("jaxgan_filter")
_filter_p.def_impl(jax.jit(_filter, static_argnames=("pad", "gain")))
_filter_p.def_abstract_eval(
    lambda x, *, pad, gain: jax.core.ShapedArray(
        (x.shape[0], *(n + sum(pad) - 3 for n in x.shape[1:3]), x.shape[3]), x.dtype
    )
)
mlir.register_lowering(_filter_p, mlir.lower_fun(_filter, multiple_results=False))
mlir.register_lowering(_filter_p, mlir.lower_fun(_cpu_filter, multiple_results=False), platform="cpu")
ad.deflinear2(_filter_p, _filter_transpose)
batching.primitive_batchers[_filter_p] = _filter_batch


def filter_pad_depthwise(
    x: jax.Array, pad: tuple[int, int], gain: float = 1.0, *, stride: int = 1, lhs_dilation: int = 1
) -> jax.Array:
    """The same as `filter_pad` as one depthwise convolution, with stride and zero insertion."""
    taps = np.outer(TAPS, TAPS) * gain * gain
    kernel = jnp.broadcast_to(jnp.asarray(taps, x.dtype)[:, :, None, None], (4, 4, 1, x.shape[-1]))
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (pad, pad),
        lhs_dilation=(lhs_dilation, lhs_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def upsample(x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, 2H, 2W, C]: zero insertion and the filter at gain 4, in polyphase form."""
    for axis in (1, 2):
        even = 0.25 * _shift(x, axis, -1) + 0.75 * x
        odd = 0.75 * x + 0.25 * _shift(x, axis, 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = jnp.stack((even, odd), axis=axis + 1).reshape(shape)
    return x


def downsample(x: jax.Array) -> jax.Array:
    """[N, 2H, 2W, C] -> [N, H, W, C]: the filter with padding (1, 1), every second pixel kept."""
    for axis in (1, 2):
        shape = list(x.shape)
        shape[axis : axis + 1] = [shape[axis] // 2, 2]
        even, odd = jnp.moveaxis(x.reshape(shape), axis + 1, 0)
        x = TAPS[1] * even + TAPS[2] * odd + TAPS[0] * _shift(odd, axis, -1) + TAPS[3] * _shift(even, axis, 1)
    return x


def depth_to_space(x: jax.Array) -> jax.Array:
    """[N, H, W, 2 * 2 * C] -> [N, 2H, 2W, C]; the channels are ordered (row phase, column phase, C)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * h, 2 * w, c // 4)


def space_to_depth(x: jax.Array) -> jax.Array:
    """[N, 2H, 2W, C] -> [N, H, W, 2 * 2 * C], the inverse of `depth_to_space`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // 2, w // 2, 4 * c)


def _spread(taps: np.ndarray, kernel: int, size: int) -> np.ndarray:
    """Matrix [size, kernel] that convolves a kernel of `kernel` taps fully with `taps`."""
    out = np.zeros((size, kernel), np.float32)
    for k in range(kernel):
        out[k : k + len(taps), k] = taps
    return out


def _compose(w: jax.Array, gain: float) -> jax.Array:
    """3x3 kernel convolved with the filter: [3, 3, I, O] -> [6, 6, I, O]."""
    spread = jnp.asarray(_spread(np.asarray(TAPS) * gain, 3, 6), w.dtype)
    return jnp.einsum("ak,bl,klio->abio", spread, spread, w)


def upsample_conv(x: jax.Array, w: jax.Array, form: str | None = None) -> jax.Array:
    """3x3 convolution with the resolution doubled: [N, H, W, I] x [3, 3, I, O] -> [N, 2H, 2W, O].

    Equals StyleGAN2's transposed convolution of the spatially flipped kernel followed by the filter at gain 4.
    """
    form = form or default_form()
    if form == "composed":
        kernel = _compose(w[::-1, ::-1], gain=2.0)
        # Output row 2i + a takes input row i + d - 1 with tap 2d + 1 - a of the composed kernel.
        phases = jnp.stack([kernel[1 - a :: 2, 1 - b :: 2] for a in (0, 1) for b in (0, 1)], axis=3)
        return depth_to_space(conv(x, phases.reshape(3, 3, w.shape[2], -1), padding=1))
    x = conv(x, w[::-1, ::-1], lhs_dilation=2, padding=2)
    return (filter_pad if form == "shifted" else filter_pad_depthwise)(x, (1, 1), gain=2.0)


def downsample_conv(x: jax.Array, w: jax.Array, form: str | None = None) -> jax.Array:
    """3x3 convolution with the resolution halved: [N, 2H, 2W, I] x [3, 3, I, O] -> [N, H, W, O].

    Equals StyleGAN2's filter followed by the strided convolution.
    """
    form = form or default_form()
    if form == "composed":
        kernel = _compose(w, gain=1.0)
        c = w.shape[2]
        kernel = kernel.reshape(3, 2, 3, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(3, 3, 4 * c, -1)
        return conv(space_to_depth(x), kernel, padding=1)
    x = (filter_pad if form == "shifted" else filter_pad_depthwise)(x, (2, 2))
    return conv(x, w, stride=2)
