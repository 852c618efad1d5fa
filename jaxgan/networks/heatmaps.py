"""Heatmaps of where a generator is to act: sampled, placed and drawn, at three levels of 1, 2 and 4 centres.

After the released code of EqGAN-SA (Wang et al., arXiv 2112.00718). Coordinates are (y, x) in [-1, 1], whose ends are
the centres of the first and last pixel. The finer centres lie around the coarsest one.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.networks.gan import EXTRAS_KEY

CENTRES = (1, 2, 4)  # of each level
_SPREAD, _LIMIT = 0.33, 0.75  # deviation and largest coordinate of the coarsest centre
DELTAS = (0.4, 0.8)  # largest distance, along each axis, of the finer levels' centres from it
FARTHEST = (1.0, *(_LIMIT + limit for limit in DELTAS))  # of a level's centres that one would ask for: see `draw`
WIDTHS = ((0.5, 1.0), (0.1 / 1.4, 1.1 / 1.4), (0.05, 0.55))  # least and largest, of each level
NUMBERS = 3 * sum(CENTRES)  # of a placement: (y, x) and a width for each centre
_FLOOR = 0.01
_LEAST_WIDTH = 1e-3  # of a heatmap that is drawn: a point


@flax.struct.dataclass
class Placement:
    """Where the centres of B images lie and how wide they are; a pytree whose leaves can each be replaced.

    Attributes:
        centre: [B, 2], (y, x) of the coarsest level.
        deltas: of the two finer levels, [B, 2, 2] and [B, 4, 2]: their centres' (y, x) less the coarsest one's.
        widths: of all three, [B, 1], [B, 2] and [B, 4]: s of exp(-d^2 / s), a squared length.
    """

    centre: jax.Array
    deltas: tuple[jax.Array, jax.Array]
    widths: tuple[jax.Array, jax.Array, jax.Array]


def draw(key: jax.Array, count: int, *, shared_width: bool = False) -> Placement:
    """Placements of `count` images, as in training.

    Args:
        key: of all of them.
        count: B.
        shared_width: one width of the coarsest level for all, as the released code has it.
    """
    keys = jax.random.split(key, 6)
    centre = jnp.clip(_SPREAD * jax.random.normal(keys[0], (count, 2)), -_LIMIT, _LIMIT)
    deltas = tuple(
        jax.random.uniform(k, (count, number, 2), minval=-limit, maxval=limit)
        for k, number, limit in zip(keys[1:3], CENTRES[1:], DELTAS)
    )
    rows = (1 if shared_width else count, count, count)
    widths = tuple(
        jnp.broadcast_to(jax.random.uniform(k, (n, number), minval=low, maxval=high), (count, number))
        for k, n, number, (low, high) in zip(keys[3:], rows, CENTRES, WIDTHS)
    )
    return Placement(centre, deltas, widths)


def draw_each(keys: jax.Array) -> Placement:
    """Placements of keys [B], each its own: an image's does not depend on its neighbours."""
    return jax.tree.map(lambda x: x[:, 0], jax.vmap(lambda key: draw(key, 1))(keys))


def middle(count: int) -> Placement:
    """The placement in the middle of all: centres at rest, two beside each other, four in a square, mean widths."""
    two = jnp.array([[0.0, -0.5], [0.0, 0.5]]) * DELTAS[0]
    four = jnp.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]) * DELTAS[1]
    widths = [jnp.full((n,), (low + high) / 2) for n, (low, high) in zip(CENTRES, WIDTHS)]
    one = Placement(jnp.zeros(2), (two, four), tuple(widths))
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), one)


def within(placement: Placement) -> Placement:
    """The nearest placement of those that training draws."""
    deltas = tuple(jnp.clip(d, -limit, limit) for d, limit in zip(placement.deltas, DELTAS))
    widths = tuple(jnp.clip(w, low, high) for w, (low, high) in zip(placement.widths, WIDTHS))
    return Placement(jnp.clip(placement.centre, -_LIMIT, _LIMIT), deltas, widths)


def moved(placement: Placement, level: int, index: int, centre: jax.Array, *, linked: bool) -> Placement:
    """A placement with one centre of each image at another point.

    Args:
        placement: as it was.
        level: 0 is the coarsest.
        index: which centre of that level.
        centre: (y, x), [2] or [B, 2].
        linked: whether the finer centres go with the coarsest one; otherwise they stay where they are.
    """
    deltas = list(placement.deltas)
    if level:
        deltas[level - 1] = deltas[level - 1].at[:, index].set(centre - placement.centre)
        return placement.replace(deltas=tuple(deltas))
    if not linked:
        step = jnp.broadcast_to(centre, placement.centre.shape) - placement.centre
        deltas = [d - step[:, None] for d in deltas]
    return placement.replace(centre=jnp.broadcast_to(centre, placement.centre.shape), deltas=tuple(deltas))


def placed(placement: Placement, level: int, centres: jax.Array) -> Placement:
    """A placement with the centres of a finer level (1 or 2) at points (y, x), [K, 2] or [B, K, 2]."""
    deltas = list(placement.deltas)
    shape = deltas[level - 1].shape
    deltas[level - 1] = jnp.broadcast_to(centres, shape) - placement.centre[:, None]
    return placement.replace(deltas=tuple(deltas))


def known(placement: Placement) -> jax.Array:
    """Whether each placement [B] is one of those that training draws."""
    return jnp.abs(pack(placement) - pack(within(placement))).max(1) < 1e-5


def pack(placement: Placement) -> jax.Array:
    """A placement as numbers, [B, 21]: to optimise, to interpolate, to store."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(placement)], axis=1)


def unpack(numbers: jax.Array) -> Placement:
    """The inverse of `pack`."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: middle(1)))
    sizes = [leaf.size for leaf in leaves]
    parts = jnp.split(numbers, np.cumsum(sizes)[:-1], axis=1)
    return jax.tree.unflatten(structure, [p.reshape(-1, *leaf.shape[1:]) for p, leaf in zip(parts, leaves)])


def centres(placement: Placement) -> tuple[jax.Array, ...]:
    """(y, x) of the centres of all levels, [B, 1, 2], [B, 2, 2] and [B, 4, 2]."""
    coarsest = placement.centre[:, None]
    return (coarsest, *(coarsest + d for d in placement.deltas))


def render(placement: Placement, size: tuple[int, int]) -> tuple[jax.Array, ...]:
    """The heatmaps of all levels, [B, H, W, K] with a channel a centre; values in (0.01, 1.01]."""
    return tuple(gaussians(c, w, size) for c, w in zip(centres(placement), placement.widths))


def gaussians(at: jax.Array, widths: jax.Array, size: tuple[int, int]) -> jax.Array:
    """exp(-|p - c|^2 / s) + 0.01 of centres [B, K, 2] and widths s [B, K] -> [B, H, W, K]."""
    height, width = (jnp.linspace(-1.0, 1.0, n) for n in size)
    widths = jnp.maximum(widths, _LEAST_WIDTH)
    # A product of two profiles: H + W exponentials a centre in place of H times W.
    down = jnp.exp(-jnp.square(height[:, None] - at[:, None, :, 0]) / widths[:, None])
    along = jnp.exp(-jnp.square(width[:, None] - at[:, None, :, 1]) / widths[:, None])
    return down[:, :, None] * along[:, None] + _FLOOR


def of(heatmaps: Any, noise: Any, count: int, size: tuple[int, int], *, shared_width: bool) -> tuple[jax.Array, ...]:
    """What a generator's `heatmaps` means: the maps [B, H, W, K] of all levels.

    Args:
        heatmaps: maps, a `Placement`, or a key. None is a placement drawn by the noise's key where `noise` is one, as
            in training, and the middle one otherwise.
        noise: of the generator.
        count, size: B and (H, W).
        shared_width: see `draw`.

    Raises:
        UserError: maps or a placement that do not fit.
    """
    if heatmaps is None:
        heatmaps = noise if is_key(noise) else middle(count)
    if is_key(heatmaps):
        heatmaps = draw(jax.random.fold_in(heatmaps, EXTRAS_KEY), count, shared_width=shared_width)
    if isinstance(heatmaps, Placement):
        if len(heatmaps.centre) != count:
            raise UserError(f"heatmaps: a placement of {len(heatmaps.centre)} images for {count}; give one each")
        wanted = jax.tree.leaves_with_path(jax.eval_shape(lambda: middle(count)))
        for (path, leaf), given in zip(wanted, jax.tree.leaves(heatmaps)):
            if jnp.shape(given) != leaf.shape:
                name = jax.tree_util.keystr(path).lstrip(".")
                raise UserError(f"heatmaps: {name} of a placement is {jnp.shape(given)}; give {leaf.shape}")
        return render(heatmaps, size)
    wanted = [(count, *size, number) for number in CENTRES]
    if [jnp.shape(maps) for maps in heatmaps] != wanted:
        given = ", ".join(str(jnp.shape(maps)) for maps in heatmaps)
        raise UserError(f"heatmaps of {given} do not fit; give those of the three levels, {wanted}")
    return tuple(heatmaps)


def is_key(value: Any) -> bool:
    """Whether it is a PRNG key."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
