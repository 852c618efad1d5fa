"""Pictures of any size from a generator of maps: tile by tile, each tile exactly the part of the whole that it shows.

z and noise are functions of a key and of absolute places, so that a tile needs nothing of its neighbours; what a tile's
own border has touched is cut away. Memory on the device is that of a batch of tiles, whatever the size.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler, memory, parallel
from jaxgan.errors import UserError
from jaxgan.features.extract import batched, padded
from jaxgan.metrics.fakes import quantised
from jaxgan.networks import prior, spatial
from jaxgan.networks.gan import call, truncate
from jaxgan.networks.layers import block_resolutions

Progress = Callable[[int, int], None]  # called with (tiles done, in all)

_NOISE = 1000  # folded into the key, plus the layer's number; the prior's scales have smaller ones
_TILE = 512  # px of a tile's side, where nothing is asked for


def check(generator: Any, size: tuple[int, int]) -> None:
    """Raises UserError for a generator whose pictures have one size, or a size that is none."""
    if getattr(generator, "base", None) != "tiled":
        height, width, _ = generator.image_shape
        raise UserError(
            f"this generator makes {width}x{height}; pictures of any size need one of tiles (model.base=tiled), such "
            "as that of --config=land_spatial"
        )
    if min(size) < 1 or max(size) > 2**20:
        raise UserError(f"a picture of {size[1]}x{size[0]} cannot be made; both sides must lie between 1 and {2**20}")


def tile_cells(generator: spatial.Generator, size: tuple[int, int], tile: int | None = None) -> tuple[int, int]:
    """(rows, columns) of base cells of the tiles of a picture (height, width); `tile` is the side asked for in px."""
    cell = generator.resolution // 4
    most = max((tile or _TILE) // cell, 1)
    return tuple(min(-(-n // cell), most) for n in size)


def paint(
    generator: spatial.Generator,
    variables: Any,
    key: jax.Array,
    size: tuple[int, int],
    *,
    w_avg: jax.Array | None = None,
    truncation_psi: float = 1.0,
    noise: bool = True,
    tile: int | None = None,
    batch: int = 4,
    origin: tuple[int, int] = (0, 0),
    out: np.ndarray | None = None,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """A part of the endless picture of a key, uint8 [H, W, C].

    Args:
        generator, variables: the module, with base "tiled", and what it computes with.
        key: of the picture.
        size: (height, width) in pixels.
        w_avg, truncation_psi: [w_dim]; 1 is no truncation.
        noise: whether layers get noise, by place; none otherwise.
        tile: side of a tile in pixels, about 512 by default.
        batch: tiles a call, at least one a device.
        origin: (row, column) of the top left corner, in base cells of resolution / 4 pixels.
        out: where to put it, such as a memory map; made here by default.
        progress: called with (tiles done, in all).

    Raises:
        UserError: the generator's pictures have one size, the tiles do not fit the device's memory, or pixels are not
            finite.
    """
    check(generator, size)
    rows, columns = tile_cells(generator, size, tile)
    cell = generator.resolution // 4
    places = [
        (top, left) for top in range(0, -(-size[0] // cell), rows) for left in range(0, -(-size[1] // cell), columns)
    ]
    tiled = generator.clone(base_shape=(rows, columns))
    mesh = parallel.make_mesh()
    count = -(-min(batch, len(places)) // mesh.size) * mesh.size
    whole, split = parallel.replicated(mesh), parallel.by_batch(mesh)
    held = jax.device_put((variables, w_avg, jnp.float32(truncation_psi), key), whole)
    out = np.empty((*size, generator.channels), np.uint8) if out is None else out

    def placed(chosen: np.ndarray) -> jax.Array:
        return jax.device_put(np.asarray(chosen, np.int32) + np.asarray(origin, np.int32), split)

    first = padded(np.asarray(places[:count]), count)
    program = memory.compiled(_tiles.lower(tiled, noise, *held, placed(first)), count, mesh.size)
    done = 0
    for chosen in batched(np.asarray(places), count):
        pictures, finite = program(*held, placed(padded(chosen, count)))
        if not bool(finite):
            raise UserError("the generator makes pixels that are not finite; load an earlier checkpoint")
        for (top, left), picture in zip(chosen, parallel.to_host(pictures)):
            there = out[top * cell : (top + rows) * cell, left * cell : (left + columns) * cell]
            there[...] = picture[: there.shape[0], : there.shape[1]]
        done += len(chosen)
        progress(done, len(places))
    return out


def _make(
    generator: spatial.Generator,
    noise: bool,
    variables: Any,
    w_avg: jax.Array | None,
    psi: jax.Array,
    key: jax.Array,
    places: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    images = tiles(generator, variables, key, places, w_avg=w_avg, truncation_psi=psi, noise=noise)
    return quantised(images), jnp.isfinite(images).all()


_tiles = compiler.jit(_make, static_argnums=(0, 1))


def tiles(
    generator: spatial.Generator,
    variables: Any,
    key: jax.Array,
    places: jax.Array,
    *,
    w_avg: jax.Array | None = None,
    truncation_psi: jax.Array | float = 1.0,
    noise: bool = True,
) -> jax.Array:
    """Tiles of the picture of a key, [B, H, W, C] in about [-1, 1]: of `generator.base_shape` cells from `places` on.

    `places` [B, 2] are rows and columns of base cells and may be below 0.
    """
    z = generator.window_z(jnp.broadcast_to(key, (len(places),)), places)
    ws = call(generator, variables, z, method="map")
    if w_avg is not None:
        ws = truncate(generator, w_avg, ws, truncation_psi)
    maps = jax.vmap(lambda place: noise_maps(generator, key, place))(places) if noise else "none"
    return call(generator, variables, ws, maps, method="synthesize")


def noise_maps(generator: spatial.Generator, key: jax.Array, place: jax.Array) -> tuple[jax.Array, ...]:
    """Noise [H, W, 1] for each layer of the tile at a place: what the whole picture's has there."""
    maps, margin = [], generator.margin
    for number in range(len(block_resolutions(generator.resolution))):
        view, scale = spatial.shown(generator.base_shape, generator.resolution, number), 2**number
        top, left, height, width = view.window if number == 0 else view.enlarged().window
        # The window in whole base cells, each with scale x scale numbers, of which its own pixels are cut.
        rows, columns = (-(-(first % scale + n) // scale) for first, n in ((top, height), (left, width)))
        corner = (place[0] + top // scale - margin, place[1] + left // scale - margin)
        for _ in range(1 if number == 0 else 2):
            layer_key = jax.random.fold_in(key, _NOISE + len(maps))
            blocks = prior.cells(layer_key, corner, (rows, columns), (scale, scale))
            whole = blocks.transpose(0, 2, 1, 3).reshape(rows * scale, columns * scale, 1)
            first = (top % scale, left % scale)
            maps.append(whole[first[0] : first[0] + height, first[1] : first[1] + width])
    return tuple(maps)
