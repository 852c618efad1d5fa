"""Walks between latents: ws of every frame from key points, frames of all walks in one program, how smooth they are.

A walk has P pairs (or one curve) and N frames each. Truncation is part of the key points' ws, and the noise is the same
in all frames of a walk, so that nothing moves but what the latents move.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler, memory, parallel
from jaxgan.errors import UserError
from jaxgan.features.extract import batched, mapped
from jaxgan.features.networks import Network
from jaxgan.metrics.fakes import quantised
from jaxgan.metrics.perceptual import perceptual_distance
from jaxgan.networks.gan import call, extras_dim, one_hot, truncate
from jaxgan.networks.gan import extras as extras_of
from jaxgan.ops import interpolate

Progress = Callable[[int, int], None]  # called with (frames or pairs of frames done, in all)


# Latents of the frames


@functools.partial(jax.jit, static_argnames=("frames",))
def linear(pairs: jax.Array, frames: int) -> jax.Array:
    """Straight lines: pairs [P, 2, ...] -> [P, frames, ...]; the first and the last frame are exactly the pair's."""
    pairs = jnp.asarray(pairs)
    theta = _theta(frames).reshape(1, frames, *(1,) * (pairs.ndim - 2))
    return interpolate.blend(pairs[:, :1], pairs[:, 1:], theta)


@functools.partial(jax.jit, static_argnames=("frames",))
def slerp(pairs: jax.Array, frames: int) -> jax.Array:
    """Great circles for z: pairs [P, 2, ..., z_dim] -> [P, frames, ..., z_dim], lengths changing linearly; ends exact.

    A map of z turns at each of its positions by itself.
    """
    pairs = jnp.asarray(pairs)
    theta = _theta(frames).reshape(1, frames, *(1,) * (pairs.ndim - 2))
    return interpolate.slerp_between(pairs[:, :1], pairs[:, 1:], theta)


def map_frames(
    generator: nn.Module,
    variables: Any,
    z: jax.Array,
    labels: jax.Array | None = None,
    w_avg: jax.Array | None = None,
    truncation_psi: float = 1.0,
) -> jax.Array:
    """z of frames [P, N, *z_shape] -> ws [P, N, num_ws, ..., w_dim]; for generators with and without a W space.

    Args:
        generator, variables: the module and what it computes with.
        z: of the frames.
        labels: classes of the end points, [P, 2], where the generator has some; their codes are blended linearly.
        w_avg: [w_dim], for truncation.
        truncation_psi: 1 is none.
    """
    walks, frames = z.shape[:2]
    codes = None
    if generator.num_classes:
        ends = one_hot(None if labels is None else jnp.ravel(labels), generator.num_classes, 2 * walks)
        codes = linear(ends.reshape(walks, 2, -1), frames).reshape(walks * frames, -1)
    average = None if w_avg is None or truncation_psi == 1.0 else w_avg
    ws = _map(
        generator, variables, z.reshape(walks * frames, *z.shape[2:]), codes, average, jnp.float32(truncation_psi)
    )
    return ws.reshape(walks, frames, *ws.shape[1:])


@functools.partial(jax.jit, static_argnums=0)
def _map(generator, variables, z, codes, w_avg, psi):
    ws = call(generator, variables, z, codes, method="map")
    return ws if w_avg is None else truncate(generator, w_avg, ws, psi)


@functools.partial(jax.jit, static_argnames=("frames", "closed"))
def spline(points: jax.Array, frames: int, closed: bool = False) -> jax.Array:
    """One smooth walk through K key points, which it meets exactly; see `ops.interpolate.spline`.

    Args:
        points: [K, ...], K >= 2.
        frames: from one key point to the next, both counted.
        closed: whether it goes on from the last to the first; then the frame after the last is the first.

    Returns:
        [1, n, ...], n = (K - 1) (frames - 1) + 1, or K (frames - 1) if closed. Every (frames - 1)-th is a key point.
    """
    segments = len(points) - (not closed)
    # Divided here and not by XLA, which multiplies by the reciprocal: at key points t must be a whole number.
    t = np.arange(segments * (frames - 1) + (not closed), dtype=np.float32) / np.float32(frames - 1)
    return interpolate.spline(points, t, closed)[None]


@functools.partial(jax.jit, static_argnames=("frames", "width"))
def mixing(pairs: jax.Array, frames: int, width: float = 2.0) -> jax.Array:
    """Style mixing as a walk: the layers, from the finest to the coarsest, go over from the first to the second.

    Args:
        pairs: ws [P, 2, num_ws, ..., w_dim].
        frames: of each walk.
        width: layers that are on their way at a time. With whole layers, 0, the picture would jump.

    Returns:
        [P, frames, num_ws, w_dim]; the first and the last frame are exactly the pair's.
    """
    pairs = jnp.asarray(pairs)
    layers = pairs.shape[2]
    coarser = np.arange(layers - 1, -1, -1)  # layer l begins after so many finer ones
    travelled = np.linspace(0.0, 1.0, frames)[:, None] * (layers - 1 + width)
    share = np.clip((travelled - coarser) / width, 0.0, 1.0).astype(np.float32)
    return interpolate.blend(pairs[:, :1], pairs[:, 1:], share.reshape(1, *share.shape, *(1,) * (pairs.ndim - 3)))


def mix(ws: jax.Array, other: jax.Array, first: int, last: int, axis: int = -2) -> jax.Array:
    """ws [..., num_ws, w_dim] with the layers `first` to `last` - 1 of `other`; leading axes broadcast.

    `axis` is that of the layers: -4 for rows that are maps.
    """
    layers = np.arange(np.shape(ws)[axis]).reshape(-1, *(1,) * (-axis - 1))
    return jnp.where((layers >= first) & (layers < last), other, ws)


def mixing_grid(rows: jax.Array, columns: jax.Array, first: int, last: int) -> jax.Array:
    """StyleGAN's table (Karras et al. 2019, figure 3): ws [R, ...] and [C, ...] -> [R, C, num_ws, w_dim].

    Each is the row's ws with the column's layers `first` to `last` - 1.
    """
    rows, columns = jnp.asarray(rows), jnp.asarray(columns)
    return mix(rows[:, None], columns[None], first, last, axis=1 - rows.ndim)


def layer_ranges(num_ws: int) -> dict[str, tuple[int, int]]:
    """{"coarse", "middle", "fine": (first, last + 1)}: layers 0-3, 4-7 and 8-17 of 18, scaled; empty ones left out."""
    middle = min(max(1, round(num_ws * 4 / 18)), num_ws)
    fine = min(max(middle + 1, round(num_ws * 8 / 18)), num_ws)
    ranges = {"coarse": (0, middle), "middle": (middle, fine), "fine": (fine, num_ws)}
    return {name: (first, last) for name, (first, last) in ranges.items() if first < last}


def _theta(frames: int) -> np.ndarray:
    return np.linspace(0.0, 1.0, frames, dtype=np.float32)


# Frames


def check_ws(generator: nn.Module, ws: np.ndarray) -> np.ndarray:
    """ws as float32 [..., num_ws, w_dim], or maps of them [..., num_ws, h, w, w_dim] where the generator takes maps.

    Raises:
        UserError: they are not this generator's, or not finite.
    """
    ws = np.asarray(ws)
    wanted = (generator.num_ws, generator.w_dim)
    maps = hasattr(generator, "row_shapes") and ws.ndim > 4 and (ws.shape[-4], ws.shape[-1]) == wanted
    if not np.issubdtype(ws.dtype, np.floating) or ws.ndim < 3 or not (maps or ws.shape[-2:] == wanted) or not ws.size:
        raise UserError(
            f"ws of {ws.dtype} {ws.shape} do not fit this generator, which takes floats [N, {wanted[0]}, {wanted[1]}]; "
            "use latents that were found with the same --run"
        )
    if not np.isfinite(ws).all():
        raise UserError("some ws are NaN or infinite; leave those images out, or invert them again")
    return ws.astype(np.float32)


def check_extras(generator: nn.Module, extras: np.ndarray, count: int) -> np.ndarray:
    """What the generator takes beside ws as float32 [count, D].

    Raises:
        UserError: it is not this generator's, or not finite.
    """
    wanted, extras = (count, extras_dim(generator)), np.asarray(extras)
    if extras.shape != wanted or not np.isfinite(extras).all():
        raise UserError(
            f"extras of {extras.shape} do not fit this generator, which takes finite numbers of {wanted}; use latents "
            "that were found with the same --run"
        )
    return extras.astype(np.float32)


def check_noise(generator: nn.Module, maps: tuple[np.ndarray, ...], count: int) -> tuple[np.ndarray, ...]:
    """Noise maps as float32, one [count, H, W, 1] for each layer with noise.

    Raises:
        UserError: they are not this generator's, or not finite.
    """
    maps = tuple(np.asarray(m, np.float32) for m in maps)
    wanted = [(count, *shape, 1) for shape in generator.noise_shapes]
    advice = "use latents that were found with the same --run, or give --noise=const"
    if len(maps) != len(wanted):
        raise UserError(f"{len(maps)} noise maps do not fit this generator, which takes {len(wanted)}; {advice}")
    for i, (given, shape) in enumerate(zip(maps, wanted)):
        if given.shape != shape:
            raise UserError(f"noise{i} of {given.shape} does not fit this generator, which takes {shape}; {advice}")
        if not np.isfinite(given).all():
            raise UserError(f"noise{i} holds NaN or infinite numbers; give --noise=const")
    return maps


def held_noise(generator: nn.Module, key: jax.Array) -> tuple[jax.Array, ...]:
    """Noise maps [1, H, W, 1] that hold for all frames; () for an architecture without noise."""
    shapes = generator.noise_shapes
    return tuple(jax.random.normal(jax.random.fold_in(key, i), (1, *size, 1)) for i, size in enumerate(shapes))


class Rendered(NamedTuple):
    """uint8 frames [P, N, H, W, C], the seconds they took, and the seconds before that for compilation."""

    frames: np.ndarray
    seconds: float
    compile_seconds: float


def render(
    generator: nn.Module,
    variables: Any,
    ws: np.ndarray,
    noise: str | tuple[Any, ...] = "const",
    batch: int = 64,
    progress: Progress = lambda done, total: None,
    *,
    extras: np.ndarray | None = None,
) -> Rendered:
    """The frames of all walks, by one compiled program of a fixed number of frames, split over all devices.

    Args:
        generator, variables: the module and what it computes with.
        ws: [P, N, num_ws, w_dim].
        noise: "const", "none", or maps of each noise layer, [P, H, W, 1] (one a walk) or [1, H, W, 1]: the same in all
            frames of a walk.
        batch: frames a call at most (but at least one a device); bounds the memory.
        progress: called with (frames done, in all).
        extras: [P, N, D], what the generator takes beside ws in each frame (see `jaxgan.networks.gan`); its own choice
            for None.

    Raises:
        UserError: ws do not fit, the batch does not fit the device's memory, or images are not finite.
    """
    ws = check_ws(generator, ws)
    walks, length = ws.shape[:2]
    rows = ws.reshape(-1, *ws.shape[2:])
    beside = None if extras is None else np.asarray(extras, np.float32).reshape(len(rows), -1)
    mesh = parallel.make_mesh()
    split, whole = parallel.by_batch(mesh), parallel.replicated(mesh)
    # Calls of equal size: of 65 frames two of 33, not 64 and one that is filled up to 64.
    calls = -(-len(rows) // batch)
    size = -(-len(rows) // (calls * mesh.size)) * mesh.size
    named, maps = (noise, ()) if isinstance(noise, str) else (None, tuple(noise))
    shared = all(m.shape[0] == 1 for m in maps)
    maps = jax.device_put(maps, whole) if shared else tuple(np.asarray(m) for m in maps)

    def placed(chosen: np.ndarray) -> tuple[Any, ...]:
        held = maps if shared else jax.device_put(tuple(m[chosen // length] for m in maps), split)
        given = None if beside is None else jax.device_put(beside[chosen], split)
        return jax.device_put(rows[chosen], split), held, given

    began = time.perf_counter()
    variables = jax.device_put(variables, whole)
    first = np.minimum(np.arange(size), len(rows) - 1)
    program = memory.compiled(_frames.lower(generator, named, variables, *placed(first)), size, mesh.size)
    compile_seconds = time.perf_counter() - began

    began = time.perf_counter()
    images = np.empty((len(rows), *generator.image_shape), np.uint8)
    done = 0
    numbers = batched(np.arange(len(rows)), size)
    for part, finite in mapped(
        lambda chosen: program(variables, *placed(chosen)), numbers, size, lambda chosen: chosen
    ):
        if not finite.all():
            raise UserError(
                "the generator makes images that are not finite; load an earlier checkpoint or other latents"
            )
        images[done : done + len(part)] = part
        done += len(part)
        progress(done, len(rows))
    seconds = time.perf_counter() - began
    return Rendered(images.reshape(walks, length, *images.shape[1:]), seconds, compile_seconds)


def _render(generator, named, variables, ws, maps, beside):
    noise = maps if named is None else named
    images = call(generator, variables, ws, noise, method="synthesize", **extras_of(generator, beside))
    finite = jnp.isfinite(images).all((1, 2, 3))
    return quantised(images), finite


_frames = compiler.jit(_render, static_argnums=(0, 1))


def mixing_tables(
    generator: nn.Module,
    variables: Any,
    ws: np.ndarray,
    noise: str | tuple[Any, ...] = "const",
    batch: int = 64,
    extras: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """`mixing_grid` of K latents with themselves, for each of `layer_ranges`, as pictures; arguments as in `render`.

    Args:
        generator, variables: as in `render`.
        ws: [K, num_ws, w_dim].
        noise: as in `render`; maps are those of the row.
        batch: as in `render`.
        extras: [K, D], those of the row.

    Returns:
        {"coarse": uint8 [K + 1, K + 1, H, W, C], ...}: the columns' own images above, the rows' on the left.
    """
    ranges, count = layer_ranges(generator.num_ws), len(ws)
    mixed = [ws[:, None], *(np.asarray(mixing_grid(ws, ws, *layers)) for layers in ranges.values())]
    mixed = np.concatenate(mixed, 1)
    held = None if extras is None else np.repeat(extras[:, None], mixed.shape[1], axis=1)
    frames = render(generator, variables, mixed, noise, batch, extras=held).frames
    sources = frames[:, 0]
    above = np.concatenate([np.full_like(sources[:1], 255), sources])
    tables = {}
    for number, name in enumerate(ranges):
        first = 1 + number * count
        rows = np.concatenate([sources[:, None], frames[:, first : first + count]], 1)
        tables[name] = np.concatenate([above[None], rows])
    return tables


class Smoothness(NamedTuple):
    """Distances between neighbouring frames of each walk, [P]; `ratio` is max / mean, 1 for an even walk."""

    mean: np.ndarray
    max: np.ndarray
    ratio: np.ndarray


def smoothness(
    network: Network, frames: np.ndarray, closed: bool = False, progress: Progress = lambda done, total: None
) -> Smoothness:
    """How even walks are, for frames [P, N, H, W, C], uint8, N >= 2.

    Args:
        network: a perceptual distance, as in `metrics.perceptual_distance`.
        frames: as rendered.
        closed: whether the first frame follows the last.
        progress: called with (pairs of frames done, in all).
    """
    distances = []
    for walk in frames:
        following = np.roll(walk, -1, 0) if closed else walk[1:]
        distances.append(perceptual_distance(network, walk[: len(following)], following))
        progress(len(distances) * len(following), len(frames) * len(following))
    found = np.stack(distances)
    mean, largest = found.mean(1), found.max(1)
    return Smoothness(mean, largest, np.where(mean > 0, largest / np.where(mean > 0, mean, 1.0), 1.0))
