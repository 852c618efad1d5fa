"""Edits of latents: attributes, everywhere or within a mask; parts copied, moved, repeated; two images blended.

ws are vectors [B, num_ws, w_dim] or maps [B, num_ws, h, w, w_dim]. An edit that differs from place to place needs maps:
`jaxgan.latent.maps.resized` makes them of vectors, without a change of the image. Our formulation of the editing that
Sypetkowski 2023 (arXiv 2303.14552) names in its abstract.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.latent import equalise
from jaxgan.latent.attributes import AttributeModel, Direction, Linear, Mlp, mlp
from jaxgan.latent.optimise import Program, Settings, optimise
from jaxgan.latent.optimisers import Adam
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import from_prior, to_prior
from jaxgan.ops.resize import resize
from jaxgan.ops.rows import per_row

Box = tuple[float, float, float, float]  # top, left, bottom, right as shares of the image
_PER_CELL = 16  # pixels of a cell's side, to count what is shown by


def masks_of(
    ws: jax.Array, mask: np.ndarray | None, *, image: Box = (0.0, 0.0, 1.0, 1.0), hard: bool = False
) -> jax.Array | None:
    """A mask [H, W] in [0, 1] on the grid of maps, [h, w, 1]: area averages, or with `hard` 1 where that is a half.

    `image` is where the image lies on the canvas of the maps (`jaxgan.networks.gan.image_box`). None for None.

    Raises:
        UserError: a mask, and vectors, which have no place; or with `hard`, no cell that is half covered.
    """
    if mask is None:
        return None
    if ws.ndim != 5:
        raise UserError("a mask needs maps; give latents of --space=sw+:8, or --grid=8 to make maps of vectors")
    cells = cells_of(mask, ws.shape[2:4], image)
    if not hard:
        return cells
    chosen = (cells >= 0.5).astype(jnp.float32)
    if not bool(chosen.any()):
        raise UserError("--hard: the mask covers no cell to a half; give a larger one, finer maps, or leave --hard out")
    return chosen


def cells_of(masks: np.ndarray, size: tuple[int, int], image: Box = (0.0, 0.0, 1.0, 1.0)) -> jax.Array:
    """Masks [..., H, W] in [0, 1] of the image on a grid of its canvas, [..., *size, 1]: area averages.

    What reaches the image's border goes on over the margin, so that a mask of everything is everywhere.
    """
    return _on_grid(masks, size, image, "edge")


def shown_cells(size: tuple[int, int], image: Box) -> jax.Array:
    """How much of each cell of a canvas the image shows, [*size, 1]."""
    cells = _PER_CELL * np.asarray(size)
    whole = [round(n * (last - first)) for n, first, last in zip(cells, image[:2], image[2:])]
    return _on_grid(np.ones(whole, np.float32), size, image, "constant")


def _on_grid(masks: np.ndarray, size: tuple[int, int], image: Box, mode: str) -> jax.Array:
    shape = masks.shape[-2:]
    around = [round(n * first / (last - first)) for n, first, last in zip(shape, image[:2], image[2:])]
    widths = [(0, 0)] * (masks.ndim - 2) + [(n, n) for n in around]
    canvas = np.pad(np.asarray(masks, np.float32), widths, mode=mode)
    return resize(jnp.asarray(canvas)[..., None], size, "box")


def on_canvas(box: tuple[float, ...], image: Box) -> tuple[float, ...]:
    """A box, or a point (top, left), of the image as shares of the canvas."""
    return tuple(image[i % 2] + b * (image[2 + i % 2] - image[i % 2]) for i, b in enumerate(box))


def _weights(ws: jax.Array, layers: range | None, cells: jax.Array | None) -> jax.Array:
    """How much each w of ws takes part, shaped to broadcast: by layer, and by cell of a map."""
    chosen = [float(layers is None or i in layers) for i in range(ws.shape[1])]
    weights = jnp.asarray(chosen).reshape(1, -1, *(1,) * (ws.ndim - 2))
    return weights if cells is None else weights * cells


def _counted(weights: jax.Array, seen: jax.Array | None) -> jax.Array:
    return weights if seen is None else weights * seen


def reach(resolution: int, cell: float, layers: range | None = None) -> float:
    """How many pixels beyond a map's cells layers carry a change of them, of a StyleGAN2.

    A convolution carries it three pixels of its size (one on the base grid, which nothing enlarged), up to the image;
    the style of the first layer is interpolated at the size of its input.

    Args:
        resolution: of the image.
        cell: the side of a map's cell in pixels of the image.
        layers: rows of ws that differ; all by default.
    """
    row = layers.start if layers is not None else 0
    first = 2 ** ((row + 5) // 2) if row else 4
    sizes = [2**i for i in range(first.bit_length() - 1, resolution.bit_length())]
    carried = sum((1 if size == 4 else 3) * resolution / size for size in sizes)
    return carried + (cell + resolution / max(first // 2, 4)) / 2


def shift(
    ws: jax.Array,
    direction: Direction,
    strength: jax.Array | float,
    *,
    layers: range | None = None,
    cells: jax.Array | None = None,
) -> jax.Array:
    """ws + strength * direction, in the given layers, and as much as `cells` [h, w, 1] say at each place."""
    rows = jnp.asarray(direction.rows)
    rows = rows.reshape(1, -1, *(1,) * (ws.ndim - 3), rows.shape[-1])
    return ws + strength * _weights(ws, layers, cells) * rows


def score(
    model: AttributeModel,
    generator: nn.Module,
    statistics: Statistics,
    ws: jax.Array,
    *,
    layers: range | None = None,
    cells: jax.Array | None = None,
    seen: jax.Array | None = None,
) -> jax.Array:
    """[B]: the attribute of a region, sum(m a) / sum(m) over the w that take part.

    `seen` (`shown_cells`) leaves out what lies beside the picture.
    """
    weights = _counted(_weights(ws, layers, cells), seen)[..., 0]
    found = model(to_prior(generator, statistics, ws))
    weights = jnp.broadcast_to(weights, found.shape).reshape(len(found), -1)
    return (found.reshape(len(found), -1) * weights).sum(1) / weights.sum(1)


def set_score(
    model: Linear,
    generator: nn.Module,
    statistics: Statistics,
    ws: jax.Array,
    target: jax.Array | float,
    *,
    layers: range | None = None,
    cells: jax.Array | None = None,
    seen: jax.Array | None = None,
) -> jax.Array:
    """ws changed as little as makes the score of their region `target`, in closed form.

    v' = v + m n (t - A) / |n|^2 sum(c) / sum(c m) for each whitened w, of weight m, which counts c = m in the score, or
    m `seen`.
    """
    weights = _weights(ws, layers, cells)
    now = score(model, generator, statistics, ws, layers=layers, cells=cells, seen=seen)
    counted = jnp.broadcast_to(_counted(weights, seen), (1, *ws.shape[1:-1], 1))
    length = jnp.sum(jnp.square(model.normal))
    amount = (target - now) / length * counted.sum() / (counted * weights).sum()
    v = to_prior(generator, statistics, ws)
    v = v + weights * per_row(amount, ws) * model.normal
    return jnp.where(weights > 0, from_prior(generator, statistics, v), ws)


@dataclasses.dataclass(frozen=True)
class _ToScore:
    """An objective of the engine: (A - t)^2 + equalise * R_eq + near * |v - start|^2, over whitened w [B, Q, w_dim]."""

    kind: str
    kept: int

    def __call__(self, variables: Any, latent: Any, target: Any, keys: jax.Array, progress: jax.Array) -> tuple:
        v, weights = latent["code"], target["weights"]
        moved = target["start"] + weights[..., None] * (v - target["start"])
        linear = self.kind == "linear"
        found = moved @ variables["normal"] + variables["bias"] if linear else mlp(variables["params"], moved)
        counted = target["counted"]
        miss = jnp.square((found * counted).sum(1) / counted.sum(1) - target["score"])
        parts = equalise.equalise(moved[..., : self.kept], variables["level"])
        terms = {"miss": miss, "equalise": parts, "near": jnp.square(moved - target["start"]).mean((1, 2))}
        return miss + variables["equalise"] * parts + variables["near"] * terms["near"], terms


def reach_score(
    model: AttributeModel,
    generator: nn.Module,
    statistics: Statistics,
    ws: jax.Array,
    target: jax.Array | float,
    *,
    kept: int,
    layers: range | None = None,
    cells: jax.Array | None = None,
    seen: jax.Array | None = None,
    weight: float = 0.1,
    near: float = 0.1,
    steps: int = 200,
) -> jax.Array:
    """`set_score` by optimisation: for a model that is not linear, or where parts are to stay likely.

    Args:
        model: linear or not.
        generator, statistics: of the latents.
        ws: vectors or maps.
        target: the score, or one for each of ws.
        kept: components that `model` reads.
        layers, cells, seen: where, as in `score`.
        weight: of R_eq, what keeps parts alike (`jaxgan.latent.equalise`).
        near: of the mean squared change of whitened w.
        steps: of Adam.
    """
    v = to_prior(generator, statistics, ws).reshape(len(ws), -1, generator.w_dim)
    by_cell = _weights(ws, layers, cells)
    weights, counted = (
        jnp.broadcast_to(some[..., 0], ws.shape[:-1]).reshape(len(ws), -1)
        for some in (by_cell, _counted(by_cell, seen))
    )
    variables = {"level": jnp.float32(equalise.level(kept)), "equalise": jnp.float32(weight), "near": jnp.float32(near)}
    if isinstance(model, Mlp):
        variables["params"] = dict(model.params)
    else:
        variables |= {"normal": model.normal, "bias": model.bias}
    program = Program(_ToScore("mlp" if isinstance(model, Mlp) else "linear", kept), Adam(schedule="ramp"), chunk=50)
    given = {
        "start": v,
        "weights": weights,
        "counted": counted,
        "score": jnp.broadcast_to(jnp.asarray(target, jnp.float32), (len(ws),)),
    }
    keys = jax.random.split(jax.random.key(0), len(ws))
    found = optimise(program, variables, {"code": v}, given, keys, Settings(steps, 0.05)).carry.latent["code"]
    moved = v + weights[..., None] * (found - v)
    changed = from_prior(generator, statistics, moved).reshape(ws.shape)
    return jnp.where(weights.reshape(*ws.shape[:-1], 1) > 0, changed, ws)


# Layout


def feathered(box: Box, size: tuple[int, int], feather: float = 1.0) -> np.ndarray:
    """[h, w, 1]: 1 inside a box, 0 outside, over `feather` cells in between."""
    sides = []
    for first, last, count in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        middle = np.arange(count) + 0.5
        inside = np.minimum(middle - first * count, last * count - middle)
        sides.append(np.clip(inside / max(feather, 1e-6) + 0.5, 0, 1))
    return (sides[0][:, None] * sides[1][None])[..., None].astype(np.float32)


def check_box(box: Box) -> None:
    """Raises UserError for a box that is not within the image, or empty."""
    top, left, bottom, right = box
    if not (np.isfinite(box).all() and 0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise UserError(
            f"the box {','.join(f'{v:g}' for v in box)} is none; give top,left,bottom,right between 0 and 1, top less "
            "than bottom and left less than right"
        )


def paste(ws: jax.Array, box: Box, to: tuple[float, float], *, source: jax.Array | None = None) -> jax.Array:
    """Maps with the part of `source` (by default their own) in a box put where `to` (top, left) says, by whole cells.

    Cells at the edge are mixed as far as the box covers them; a box of whole cells is blended by the interpolation of
    the maps alone. What would lie outside is left out.
    """
    _needs_maps(ws)
    check_box(box)
    source = ws if source is None else source
    moved, mask = moved_part(box, to, ws.shape[2:4])
    shifted = jnp.roll(source, moved, axis=(2, 3))
    return ws + jnp.asarray(mask) * (shifted - ws)


def moved_part(box: Box, to: tuple[float, float], size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
    """(how many cells a box goes down and right to begin at `to`, the mask [h, w, 1] of where it then lies)."""
    moved = [round((new - old) * n) for new, old, n in zip(to, box[:2], size)]
    there = tuple(b + m / n for b, m, n in zip(box, (*moved, *moved), (*size, *size)))
    return moved, feathered(there, size)


def move(ws: jax.Array, box: Box, to: tuple[float, float], background: jax.Array) -> jax.Array:
    """`paste`, with the latent `background` [B or 1, num_ws, w_dim] where the part was."""
    _needs_maps(ws)
    check_box(box)
    mask = jnp.asarray(feathered(box, ws.shape[2:4]))
    emptied = ws + mask * (background[:, :, None, None] - ws)
    return paste(emptied, box, to, source=ws)


def tile(ws: jax.Array, rows: int, columns: int, box: Box = (0.0, 0.0, 1.0, 1.0)) -> jax.Array:
    """Maps that show the whole, or a box of it in whole cells, `rows` x `columns` times; a grid that they divide.

    Raises:
        UserError: they do not divide it.
    """
    _needs_maps(ws)
    check_box(box)
    height, width = ws.shape[2:4]
    if rows < 1 or columns < 1 or height % rows or width % columns:
        raise UserError(
            f"a map of {height}x{width} cells cannot be tiled {rows}x{columns}; give numbers that divide it"
        )
    (top, bottom), (left, right) = (
        (first := min(round(a * n), n - 1), max(round(b * n), first + 1))
        for a, b, n in ((box[0], box[2], height), (box[1], box[3], width))
    )
    small = resize(ws[:, :, top:bottom, left:right], (height // rows, width // columns), "bilinear")
    return jnp.tile(small, (1, 1, rows, columns, 1))


def blend(ws: jax.Array, other: jax.Array, cells: jax.Array) -> jax.Array:
    """Maps that are `other` where `cells` [h, w, 1] are 1."""
    _needs_maps(ws)
    return ws + cells * (other - ws)


def _needs_maps(ws: jax.Array) -> None:
    if ws.ndim != 5:
        raise UserError("a layout needs maps; give latents of --space=sw+:8, or --grid=8 to make maps of vectors")
