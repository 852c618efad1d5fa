"""The one convolution of the house: NHWC x HWIO, with derivatives that are convolutions in the same layout.

XLA:CPU runs a gradient convolution fast only where the layout is already the forward one; inside `scan`, `while` and
`cond` JAX's own gradients fall to a path 10 to 100 times slower (jax-ml/jax#12868). `conv` is therefore one bilinear
primitive whose two transposes are again `conv`, closed under stride and dilation: reverse, forward and every higher
order of derivative work and stay in canonical layout.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgan.ops.unfused import transpose

Padding = tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(
    x: jax.Array,
    w: jax.Array,
    *,
    stride: int = 1,
    padding: int | Sequence[tuple[int, int]] = 0,
    lhs_dilation: int = 1,
    rhs_dilation: int = 1,
) -> jax.Array:
    """Correlates images [N, H, W, C_in] with a kernel [kh, kw, C_in, C_out]; returns [N, H', W', C_out].

    `padding` is one number for all sides or ((top, bottom), (left, right)), applied after `lhs_dilation` has put
    zeros between the pixels. Both operands must have the same dtype, which is also that of the result.

    Raises:
        ValueError: the channels or dtypes of the operands differ.
    """
    if x.shape[-1] != w.shape[2] or x.dtype != w.dtype:
        raise ValueError(f"conv: images {x.shape} {x.dtype} do not fit a kernel {w.shape} {w.dtype}")
    pads = ((padding, padding),) * 2 if isinstance(padding, int) else tuple(map(tuple, padding))
    if w.shape[:2] == (1, 1) and stride == lhs_dilation == 1 and pads == ((0, 0), (0, 0)):
        return jnp.einsum("nhwi,io->nhwo", x, w[0, 0])
    return _conv_p.bind(
        x,
        w,
        strides=(stride, stride),
        padding=pads,
        lhs_dilation=(lhs_dilation, lhs_dilation),
        rhs_dilation=(rhs_dilation, rhs_dilation),
        # `jax.default_matmul_precision` is in force here, where the program is traced, not where it is lowered.
        precision=jax.config.jax_default_matmul_precision,
    )


def _lax_conv(x, w, *, strides, padding, lhs_dilation, rhs_dilation, precision):
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=_LAYOUT,
        precision=precision,
    )


def _dilated(size: int, dilation: int) -> int:
    return (size - 1) * dilation + 1


def _transpose_x(g, x, w, *, strides, padding, lhs_dilation, rhs_dilation, precision):
    """The cotangent of the images: the output's cotangent with the flipped kernel, in and out channels swapped."""
    height_width = x.aval.shape[1:3]
    pads = []
    for n, k, o, s, (lo, _), ld, rd in zip(
        height_width, w.shape, g.shape[1:3], strides, padding, lhs_dilation, rhs_dilation
    ):
        before = _dilated(k, rd) - lo - 1
        after = _dilated(n, ld) + _dilated(k, rd) - 1 - _dilated(o, s) - before
        pads.append((before, after))
    flipped = w[::-1, ::-1].swapaxes(2, 3)
    return _conv_p.bind(
        g,
        flipped,
        strides=lhs_dilation,
        padding=tuple(pads),
        lhs_dilation=strides,
        rhs_dilation=rhs_dilation,
        precision=precision,
    )


def _transpose_w(g, x, w, *, strides, padding, lhs_dilation, rhs_dilation, precision):
    """The cotangent of the kernel: images and cotangent correlated over the batch, which plays the channels' part.

    For a transposed convolution the two change places, so that the zeros between the pixels become a dilated kernel,
    which XLA runs several times faster than dilated images.
    """
    kernel = w.aval.shape[:2]
    swap = max(lhs_dilation) > 1 and max(strides) == 1 and max(rhs_dilation) == 1
    pads = []
    for n, k, o, s, (lo, hi), ld, rd in zip(
        x.shape[1:3], kernel, g.shape[1:3], strides, padding, lhs_dilation, rhs_dilation
    ):
        pads.append(
            (k - 1 - lo, k - 1 - hi) if swap else (lo, _dilated(o, s) - _dilated(n, ld) + _dilated(k, rd) - lo - 1)
        )
    if swap:
        out = _conv_p.bind(
            transpose(g, (3, 1, 2, 0)),
            x.transpose(1, 2, 0, 3),
            strides=(1, 1),
            padding=tuple(pads),
            lhs_dilation=(1, 1),
            rhs_dilation=lhs_dilation,
            precision=precision,
        )
        return out[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    out = _conv_p.bind(
        transpose(x, (3, 1, 2, 0)),
        g.transpose(1, 2, 0, 3),
        strides=rhs_dilation,
        padding=tuple(pads),
        lhs_dilation=lhs_dilation,
        rhs_dilation=strides,
        precision=precision,
    )
    return out.transpose(1, 2, 0, 3)


def _cpu_conv(x, w, *, strides, padding, lhs_dilation, rhs_dilation, precision):
    """The same convolution for XLA:CPU, which is slow at many transposed ones."""
    kernel, size = w.shape[0], min(x.shape[1:3])
    transposed = strides == rhs_dilation == (1, 1) and lhs_dilation == (2, 2) and min(map(min, padding)) >= 0
    # A kernel larger than the images leaves its fast path and runs 5 to 20 times slower; others run up to 5 times
    # slower at large maps, but faster at small ones and for outputs of a few channels.
    worth_it = kernel > size or (size >= 16 and w.shape[3] >= 8)
    if transposed and kernel == w.shape[1] and 2 <= kernel <= 6 and worth_it:
        return _transposed_by_phases(x, w, padding, precision)
    plain = lhs_dilation == rhs_dilation == (1, 1) and min(map(min, padding)) >= 0
    if plain and kernel > size and max(map(max, padding)) > 0:
        # Zeros round the images make them large enough; XLA would fold them back into the convolution. 3x3 on a 2x2
        # map of 512 channels takes 21 ms as it is and 0.6 so.
        x = lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))
        padding = ((0, 0), (0, 0))
    return _lax_conv(
        x,
        w,
        strides=strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        precision=precision,
    )


def _transposed_by_phases(x, w, padding, precision):
    """A stride-2 transposed convolution as one dense convolution to the four phases of its output."""
    ends, pads, pairs, kept = zip(*(_phases(w.shape[0], n, *pad) for n, pad in zip(x.shape[1:3], padding)))
    phases = jnp.pad(w, (*ends, (0, 0), (0, 0)))
    rows, columns, *channels = phases.shape
    phases = phases.reshape(rows // 2, 2, columns // 2, 2, *channels)[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    kernel = phases.reshape(rows // 2, columns // 2, channels[0], -1)
    dense = {"strides": (1, 1), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}
    out = _lax_conv(x, kernel, padding=pads, precision=precision, **dense)
    out = out.reshape(-1, *pairs, 2, 2, channels[1]).transpose(0, 1, 3, 2, 4, 5)
    return out.reshape(-1, 2 * pairs[0], 2 * pairs[1], channels[1])[:, kept[0], kept[1]]


def _phases(kernel: int, size: int, lo: int, hi: int):
    """One axis of `_transposed_by_phases`: (padding of the kernel, of the input, pairs of output rows, rows to keep).

    Output row 2i + p (phase p) is the sum over d of input row i + d times tap 2d + lo - p of the kernel. With zeros at
    its ends the kernel is therefore pairs of taps, one pair for each d, phase 1 first. An even kernel needs one
    d less where `lo` is odd, so it may be given one more row of padding, and that row of the output is not kept.
    """
    extra = int(kernel % 2 == lo % 2 == 0)
    rows, lo = 2 * size + lo + hi - kernel, lo + extra
    first, last = -(lo // 2), (kernel - lo) // 2
    front, pairs = 1 - lo % 2, (rows + extra + 1) // 2
    back = 2 * (last + 1 - first) - kernel - front
    return (front, back), (-first, pairs + last - size), pairs, slice(extra, extra + rows)


def _batch(operands, axes, **params):
    """vmap: images fold into the batch; a batch of kernels (rare) goes through lax's own rule."""
    (x, w), (x_axis, w_axis) = operands, axes
    if w_axis is None:
        x = jnp.moveaxis(x, x_axis, 0)
        out = _conv_p.bind(x.reshape(-1, *x.shape[2:]), w, **params)
        return out.reshape(*x.shape[:2], *out.shape[1:]), 0
    return jax.vmap(lambda x, w: _lax_conv(x, w, **params), axes)(x, w), 0


_conv_p = Primitive("jaxgan_conv")
_conv_p.def_impl(
    jax.jit(_lax_conv, static_argnames=("strides", "padding", "lhs_dilation", "rhs_dilation", "precision"))
)
_conv_p.def_abstract_eval(
    lambda x, w, **params: jax.core.ShapedArray(
        jax.eval_shape(lambda x, w: _lax_conv(x, w, **params), x, w).shape, x.dtype
    )
)
mlir.register_lowering(_conv_p, mlir.lower_fun(_lax_conv, multiple_results=False))
mlir.register_lowering(_conv_p, mlir.lower_fun(_cpu_conv, multiple_results=False), platform="cpu")
ad.defbilinear(_conv_p, _transpose_x, _transpose_w)
batching.primitive_batchers[_conv_p] = _batch
