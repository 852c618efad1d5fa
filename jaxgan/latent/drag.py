"""Dragging a centre of an EqGAN's heatmaps: the image follows while its latent and noise stay as they are."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.errors import UserError
from jaxgan.latent.stream import batches
from jaxgan.metrics.fakes import quantised
from jaxgan.networks import eqgan, heatmaps
from jaxgan.networks.gan import call


class Drag(NamedTuple):
    """What moves: a centre of a level (0 is the coarsest), on a straight line.

    Attributes:
        level, index: which.
        start, end: (y, x), within `heatmaps.FARTHEST` of the level.
        linked: whether finer centres go with the coarsest one.
    """

    level: int
    index: int
    start: tuple[float, float]
    end: tuple[float, float]
    linked: bool = True


def check_generator(generator: nn.Module) -> None:
    """Raises UserError for a generator without heatmaps."""
    if not isinstance(generator, eqgan.Generator):
        raise UserError("this generator takes no heatmaps, so nothing can be dragged; give an eqgan, zoo:fashion-eqgan")


def check_centre(level: int, index: int) -> None:
    """Raises UserError for a centre that there is not."""
    levels = heatmaps.CENTRES
    if not 0 <= level < len(levels) or not 0 <= index < levels[level]:
        known = ", ".join(f"level {i + 1}: {n}" for i, n in enumerate(levels))
        raise UserError(f"level {level + 1} has no centre {index}; centres are {known}, counted from 0")


def check_drag(drag: Drag) -> None:
    """Raises UserError for a centre that there is not, or a point where there is no centre of its level."""
    check_centre(drag.level, drag.index)
    farthest = heatmaps.FARTHEST[drag.level]
    for name, at in (("from", drag.start), ("to", drag.end)):
        if not np.abs(at).max() <= farthest + 1e-6:  # and for what is no number
            raise UserError(
                f"a drag {name} {point(at)} is out of bounds at level {drag.level + 1}; give y,x between "
                f"-{farthest:g} and {farthest:g}"
            )


def point(at: tuple[float, float]) -> str:
    """(y, x) for the eye."""
    return f"({at[0]:.2f}, {at[1]:.2f})"


def placements(base: heatmaps.Placement, drag: Drag, frames: int) -> heatmaps.Placement:
    """The placement [1] of one image with a centre at the points of a drag -> [frames]."""
    along = jnp.linspace(0.0, 1.0, frames)[:, None]
    way = (1 - along) * jnp.asarray(drag.start) + along * jnp.asarray(drag.end)
    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (frames, *x.shape[1:])), base)
    return heatmaps.moved(repeated, drag.level, drag.index, way, linked=drag.linked)


def render(
    generator: nn.Module,
    variables: Any,
    ws: jax.Array,
    placement: heatmaps.Placement,
    noise: str = "const",
    *,
    level: int = 0,
    batch: int = 32,
) -> np.ndarray:
    """uint8 frames [N, H, W, C] of one latent, ws [1, num_ws, w_dim], with placements [N].

    `level` is the coarsest that differs between them. Blocks that it does not reach are run once: that of 4 px where
    the second level moves, those of 4 and 8 px where only the third one does.
    """
    unchanged = level  # each of the first blocks is led by a level of its own
    count = jax.tree.leaves(placement)[0].shape[0]
    carried = (None, None)
    if unchanged:
        first = jax.tree.map(lambda x: x[:1], placement)
        carried = _begin(generator, unchanged, variables, ws, first, noise)
    parts = []
    for _, rows, _ in batches(count, min(batch, count)):
        chosen = jax.tree.map(lambda x, rows=rows: x[rows], placement)
        parts.append(np.asarray(_finish(generator, unchanged, variables, ws, chosen, noise, carried)))
    return np.concatenate(parts)[:count]


def change(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray | None, float]:
    """((y, x) in [-1, 1] of the centroid of the squared change of uint8 images [H, W, C], its mean absolute size).

    The centroid is None where nothing changed.
    """
    difference = after.astype(np.float64) - before
    weight = np.square(difference).sum(-1)
    if not weight.sum():
        return None, 0.0
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in weight.shape), indexing="ij")
    return np.array([(axis * weight).sum() / weight.sum() for axis in grid]), float(np.abs(difference).mean() / 255)


def _first(generator, unchanged, variables, ws, placement, noise):
    return call(generator, variables, ws, noise, heatmaps=placement, blocks=(0, unchanged), method="synthesize")


def _rest(generator, unchanged, variables, ws, placement, noise, carried):
    count = placement.centre.shape[0]
    ws = jnp.broadcast_to(ws, (count, *ws.shape[1:]))
    carried = tuple(None if x is None else jnp.broadcast_to(x, (count, *x.shape[1:])) for x in carried)
    images = call(
        generator,
        variables,
        ws,
        noise,
        heatmaps=placement,
        carried=carried,
        blocks=(unchanged, None),
        method="synthesize",
    )
    return quantised(images)


_begin = compiler.jit(_first, static_argnums=(0, 1, 5))
_finish = compiler.jit(_rest, static_argnums=(0, 1, 5))
