"""The transfer of an edit from a generated picture to the photograph that the picture stands for.

A generator gives back only an approximation of a photograph, and only at its own size. So the edited picture does not
replace the photograph; what the edit moves and recolours is measured on the generator's pictures, between the unedited
and the edited latent, and done to the photograph, which keeps its detail. As in iGAN (Zhu et al. 2016, arXiv
1609.03552, "edit transfer"): between neighbouring frames a flow and, at every pixel, an affine map of colours, found in
turns; chained from the first frame to the last; brought to the photograph's size by a guided filter.

All maps are backward: pixel p of the later picture reads pixel p + flow(p) of the earlier one, and the colour map of
pixel p is applied to what was read. x points right and y down; a pixel's place is its centre. (iGAN's equation is
written from the earlier frame to the later one. An edited photograph needs a value at each of its own pixels.)
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.errors import UserError
from jaxgan.ops.resize import resize

_ROUNDS = 3  # of flow and colour in turns
_LEVELS, _SMALLEST = 3, 8  # each half as large as the one before; no side smaller than this
_STEPS = 100  # of Jacobi's iteration on a level
_SMOOTHNESS = 0.02  # of the flow, against squared differences of colours in [-1, 1], the mean over channels
_RIDGE = 1e-3  # pulls the colour map to the identity, against mean squares of colours in [-1, 1]
_RADIUS = 4  # of the windows of the colour maps, in pixels of a level: 9x9
_GUIDE_RADIUS, _GUIDE_EPSILON = 1, 0.01  # of the guided filter: pixels of a frame; variance of grey in [-1, 1]


class Maps(NamedTuple):
    """What takes the first frame to another one. Zeros change nothing.

    Attributes:
      flow: `[..., h, w, 2]`, (x, y) in pixels of the frames: where pixel p comes from, less p.
      colour: `[..., h, w, C, C + 1]`, the affine map less the identity: colour c becomes `c + colour @ (c, 1)`.
    """

    flow: jax.Array
    colour: jax.Array


def transfer(frames: jax.Array, photo: jax.Array, *, every_frame: bool = False) -> jax.Array:
    """The photograph, edited as the frames are.

    May be used under `jax.vmap` and `jax.jit`; one program is compiled for each set of shapes. Frames that are all
    equal give back the photograph, bit by bit. Takes some 430 bytes of memory for a pixel of an RGB photograph.

    Args:
      frames: `[N + 1, h, w, C]` in [-1, 1], rendered on the way from the unedited to the edited latent, both included;
        iGAN takes 8. From one to the next nothing should move by more than a few pixels.
      photo: `[H, W, C]` in [-1, 1], of any size and of the proportions of a frame: what the first frame stands for.
      every_frame: the photograph for each of the frames, the first of which is the photograph itself.

    Returns:
      `[H, W, C]` for the last frame, or `[N + 1, H, W, C]`; float32 in [-1, 1].

    Raises:
      UserError: the shapes do not belong together, or the values are integers.
    """
    frames, photo = jnp.asarray(frames), jnp.asarray(photo)
    _check(frames, photo)
    return _transfer(frames.astype(jnp.float32), photo.astype(jnp.float32), every_frame)


def estimate(frames: jax.Array) -> Maps:
    """From the first of the frames `[N + 1, h, w, C]` to each of them; leaves lead with N + 1, the first is zero."""
    steps = jax.vmap(_between)(frames[:-1], frames[1:])
    start = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), steps)

    def chain(so_far: Maps, step: Maps) -> tuple[Maps, Maps]:
        together = _after(so_far, step)
        return together, together

    _, chained = lax.scan(chain, start, steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate((first[None], rest)), start, chained)


def apply(maps: Maps, photo: jax.Array) -> jax.Array:
    """One frame's maps (no leading axis) done to a photograph `[H, W, C]`; float32 in [-1, 1].

    The maps are brought to the photograph's size by a guided filter (He et al. 2010) in its fast form (He and Sun 2015,
    arXiv 1505.00996): its coefficients are found at the size of the maps and enlarged, then meet the guide at full
    size. The guide is the grey photograph where the flow, enlarged without it, has moved it: that is where the edges
    of the edited photograph will be.
    """
    small, size = maps.flow.shape[:2], photo.shape[:2]
    channels = photo.shape[-1]
    flow = maps.flow * jnp.asarray([size[1] / small[1], size[0] / small[0]], jnp.float32)
    grey = jnp.mean(photo, axis=-1, keepdims=True)
    guide = _look_up(grey, resize(flow, size, "bilinear"), _LINEAR)
    fields = jnp.concatenate((flow, maps.colour.reshape(*small, -1)), axis=-1)
    slope, level = (resize(x, size, "bilinear") for x in _guided(resize(guide, small, "bilinear"), fields))
    fields = slope * guide + level
    warped = _look_up(photo, fields[..., :2], _CUBIC)
    return jnp.clip(_recolour(warped, fields[..., 2:].reshape(*size, channels, channels + 1)), -1.0, 1.0)


@functools.partial(jax.jit, static_argnums=2)
def _transfer(frames: jax.Array, photo: jax.Array, every_frame: bool) -> jax.Array:
    maps = estimate(frames)
    if every_frame:
        return lax.map(lambda one: apply(one, photo), maps)  # in turns, for the memory of one
    return apply(jax.tree.map(lambda leaf: leaf[-1], maps), photo)


def _check(frames: jax.Array, photo: jax.Array) -> None:
    if frames.ndim != 4 or len(frames) < 2:
        raise UserError(f"frames of shape {frames.shape}; give [N + 1, h, w, C] with at least two frames")
    if photo.ndim != 3:
        raise UserError(f"a photo of shape {photo.shape}; give [H, W, C]")
    for name, array in (("frames", frames), ("photo", photo)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(f"{name} of type {array.dtype}; give floating-point values in [-1, 1]")
    if frames.shape[-1] != photo.shape[-1]:
        raise UserError(
            f"a photo of {photo.shape[-1]} channels and frames of {frames.shape[-1]}; convert the photo to the "
            "generator's channels"
        )
    (h, w), (height, width) = frames.shape[1:3], photo.shape[:2]
    if abs(height * w - width * h) >= max(h, w):  # further off than a side that was rounded to whole pixels
        raise UserError(
            f"a photo of {width}x{height} (width x height) and frames of {w}x{h} differ in their proportions; crop "
            f"the photo to {w}:{h}"
        )


# From one frame to the next ------------------------------------------------------------------------------------------


def _between(source: jax.Array, target: jax.Array) -> Maps:
    """What takes one frame `[h, w, C]` to the next.

    In each round both are found anew, coarse to fine, what is known being the start. On a coarse level the windows of
    the colour maps are wide; a map over a wide window can explain a change of colour, but no motion. Colours of a
    narrow window, found first, would take up much of the motion, and a flow found first a change of colour.
    """

    def a_round(_: int, flow: jax.Array) -> jax.Array:
        for size in _sizes(target.shape[:2]):
            read, inside = _look_up(source, flow, _CUBIC), _inside(flow)
            guess = _recolour(read, _colours(read, target, inside, size))
            flow = flow + _motion(guess, target, inside, flow, size)
        return flow

    size = target.shape[:2]
    flow = lax.fori_loop(0, _ROUNDS, a_round, jnp.zeros((*size, 2)))
    return Maps(flow, _colours(_look_up(source, flow, _CUBIC), target, _inside(flow), size))


def _sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The levels, coarse to fine."""
    sizes = [tuple(max(1, round(side / 2**level)) for side in size) for level in reversed(range(_LEVELS))]
    return [level for level in sizes[:-1] if min(level) >= _SMALLEST] + sizes[-1:]


def _motion(
    guess: jax.Array, target: jax.Array, inside: jax.Array, flow: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """What the flow `[h, w, 2]` gains on the level of `size`, by the method of Horn and Schunck (1981).

    `guess` is the earlier frame as the flow moves it, recoloured. Differences are made at full size, so that equal
    frames differ by exactly nothing on every level. Smoothness is asked of the whole flow, not of what it gains.
    """
    full = target.shape[:2]
    scale = jnp.asarray([size[1] / full[1], size[0] / full[0]], jnp.float32)
    difference = resize(inside * (guess - target), size, "bilinear")
    # The mean of both slopes: right to the second order in what is still to be moved.
    dx, dy = _slopes(resize((guess + target) / 2, size, "bilinear"))
    weight = resize(inside, size, "bilinear")[..., 0]
    start = jnp.moveaxis(resize(flow, size, "bilinear") * scale, -1, 0)

    xx, xy, yy = (weight * jnp.mean(a * b, axis=-1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
    data_x = xx * start[0] + xy * start[1] - jnp.mean(dx * difference, axis=-1)
    data_y = xy * start[0] + yy * start[1] - jnp.mean(dy * difference, axis=-1)
    xx, yy = xx + _SMOOTHNESS, yy + _SMOOTHNESS
    determinant = xx * yy - xy * xy
    xx, xy, yy = xx / determinant, xy / determinant, yy / determinant
    data = jnp.stack((yy * data_x - xy * data_y, xx * data_y - xy * data_x))

    def jacobi(_: int, flow: jax.Array) -> jax.Array:
        x, y = _SMOOTHNESS * _neighbours(flow)
        return data + jnp.stack((yy * x - xy * y, xx * y - xy * x))

    gain = lax.fori_loop(0, _STEPS, jacobi, start) - start
    return resize(jnp.moveaxis(gain, 0, -1), full, "bilinear") / scale


def _slopes(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Central differences of `[h, w, C]` along x and y; beyond the border stands the border."""
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def _neighbours(planes: jax.Array) -> jax.Array:
    """The mean of the four neighbours in `[2, h, w]`; beyond the border stands the border."""
    padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4


def _colours(read: jax.Array, target: jax.Array, inside: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The colour maps `[h, w, C, C + 1]` by ridge regression in the window about each pixel of the level of `size`.

    `read` is the earlier frame as the flow moves it; what is fitted is the difference, so that none gives exactly zero.
    What the flow reads from outside the frame has no weight.
    """
    full, channels = target.shape[:2], target.shape[-1]
    known = jnp.concatenate((read, jnp.ones_like(inside)), axis=-1)
    products = (inside * known)[..., :, None] * jnp.concatenate((known, target - read), axis=-1)[..., None, :]
    means = _box_mean(resize(products.reshape(*full, -1), size, "bilinear"), _RADIUS)
    system = means.reshape(*size, channels + 1, 2 * channels + 1) + _RIDGE * jnp.eye(channels + 1, 2 * channels + 1)
    solution = jnp.moveaxis(_solve(jnp.moveaxis(system, (2, 3), (0, 1))), (0, 1), (3, 2))
    return resize(solution.reshape(*size, -1), full, "bilinear").reshape(*full, channels, channels + 1)


def _solve(system: jax.Array) -> jax.Array:
    """Matrices and right sides `[n, n + m, ...]` -> solutions `[n, m, ...]`, by Gauss and Jordan's elimination.

    Without pivots, which positive definite matrices do not need, it is arithmetic over whole planes of pixels.
    """
    rows = list(system)
    for k in range(len(rows)):
        rows[k] = rows[k] / rows[k][k]
        for j in range(len(rows)):
            if j != k:
                rows[j] = rows[j] - rows[j][k] * rows[k]
    return jnp.stack([row[len(rows) :] for row in rows])


def _after(so_far: Maps, step: Maps) -> Maps:
    """From the first frame to frame t, then from there to frame t + 1, as one."""
    h, w, channels, _ = step.colour.shape
    before = _look_up(so_far.colour.reshape(h, w, -1), step.flow, _LINEAR).reshape(step.colour.shape)
    # Written out, because a product of matrices has less than full precision on some backends.
    product = jnp.sum(step.colour[..., :channels, None] * before[..., None, :, :], axis=-2)
    flow = step.flow + _look_up(so_far.flow, step.flow, _LINEAR)
    return Maps(flow, step.colour + before + product)


# On any picture ------------------------------------------------------------------------------------------------------

# Weights of the pixels about a place, by its fraction u in [0, 1) beyond the pixel of offset 0. At u = 0 a picture is
# read as it is, bit by bit.
_Kernel = dict[int, Callable[[jax.Array], jax.Array]]
_LINEAR: _Kernel = {0: lambda u: 1 - u, 1: lambda u: u}
_CUBIC: _Kernel = {  # Keys' with a = -0.5, which passes through the pixels and keeps detail
    -1: lambda u: ((-0.5 * u + 1) * u - 0.5) * u,
    0: lambda u: (1.5 * u - 2.5) * u * u + 1,
    1: lambda u: ((-1.5 * u + 2) * u + 0.5) * u,
    2: lambda u: (0.5 * u - 0.5) * u * u,
}


def _look_up(image: jax.Array, flow: jax.Array, kernel: _Kernel) -> jax.Array:
    """`[h, w, K]` at p + flow(p) for each p of `[h, w, 2]`; beyond the border stands the reflection."""
    h, w = image.shape[:2]
    flat = image.reshape(h * w, -1)
    (x, y), (limit_x, limit_y) = _places(flow), (w - 1, h - 1)
    x, y = _reflected(x, limit_x), _reflected(y, limit_y)
    left, top = jnp.floor(x), jnp.floor(y)
    u, v = (x - left)[..., None], (y - top)[..., None]
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    total = 0.0
    for j, weight_y in kernel.items():
        row = jnp.clip(top + j, 0, limit_y) * w
        for i, weight_x in kernel.items():
            pixels = flat.at[row + jnp.clip(left + i, 0, limit_x)].get(mode="promise_in_bounds")
            total = total + weight_y(v) * weight_x(u) * pixels
    return total


def _reflected(x: jax.Array, limit: int) -> jax.Array:
    """Places in [0, limit]; those that lie there already as they are, bit by bit."""
    x = jnp.abs(x)
    return jnp.clip(jnp.where(x > limit, 2 * limit - x, x), 0, limit)


def _inside(flow: jax.Array) -> jax.Array:
    """Where p + flow(p) lies in the picture: `[h, w, 1]`, 1 or 0."""
    h, w = flow.shape[:2]
    x, y = _places(flow)
    return ((x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)).astype(jnp.float32)[..., None]


def _places(flow: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p + flow(p): x and y, each `[h, w]`."""
    h, w = flow.shape[:2]
    return flow[..., 0] + jnp.arange(w, dtype=jnp.float32), flow[..., 1] + jnp.arange(h, dtype=jnp.float32)[:, None]


def _recolour(image: jax.Array, colour: jax.Array) -> jax.Array:
    """Colour maps `[h, w, C, C + 1]` on a picture `[h, w, C]`."""
    return image + jnp.sum(colour[..., :-1] * image[..., None, :], axis=-1) + colour[..., -1]


def _guided(guide: jax.Array, fields: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(slope, level), each `[h, w, K]`: the fields `[h, w, K]` as `slope * guide + level`, smooth but at its edges."""
    count = fields.shape[-1]
    means = _box_mean(jnp.concatenate((fields, guide * fields, guide, guide * guide), axis=-1), _GUIDE_RADIUS)
    field, product, grey, square = jnp.split(means, (count, 2 * count, 2 * count + 1), axis=-1)
    slope = (product - grey * field) / (jnp.maximum(square - grey * grey, 0.0) + _GUIDE_EPSILON)
    means = _box_mean(jnp.concatenate((slope, field - slope * grey), axis=-1), _GUIDE_RADIUS)
    return means[..., :count], means[..., count:]


def _box_mean(x: jax.Array, radius: int) -> jax.Array:
    """`[h, w, K]`: the mean over the window about each pixel, or what of the window lies in the picture."""

    def total(x: jax.Array) -> jax.Array:
        for window in ((2 * radius + 1, 1, 1), (1, 2 * radius + 1, 1)):
            x = lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1), "SAME")
        return x

    counts = (np.convolve(np.ones(side), np.ones(2 * radius + 1))[radius : radius + side] for side in x.shape[:2])
    return total(x) / np.multiply.outer(*counts).astype(np.float32)[..., None]
