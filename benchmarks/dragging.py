"""Does the image follow when a centre of an EqGAN's heatmaps is dragged?

python benchmarks/dragging.py --runs=runs/eqgan_fashion32[,...] [--num=200] [--seed=0] [--json=FILE]

Random drags: latents and placements as in training, one centre of a level moved to where another draw of that level has
it (around the same coarsest centre), with the coarsest one the finer ones. A row a run and level:

* follows: correlation, over drags and both axes, of the centroid of the squared change with the point halfway between
  the two places of the centre;
* moves: correlation of how far the picture's own centroid (of what differs from its corners) goes with how far the
  centre goes; slope: how far it goes for each unit of the centre, by least squares;
* near, far: mean absolute change, in grey levels of 255, of pixels nearer than 0.5 to one of the two places, and
  farther than 1 from both; near others, far others: the same pixels' with places of other drags, in the mean of ten
  shifts of the drags against each other, which says what comes from where pictures change anyway;
* change: the mean over all pixels.

Correlations come with their standard error by Fisher's z.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command
from benchmarks.tables import table
from jaxgan.cli import enable_compilation_cache, parse
from jaxgan.experiment import Model, load
from jaxgan.latent import drag as dragging
from jaxgan.metrics.fakes import quantised
from jaxgan.networks import heatmaps
from jaxgan.networks.gan import call

NEAR, FAR = 0.5, 1.0  # distances in units of half a picture's side
SHIFTS = range(1, 11)  # of the drags against each other

FLAGS = flags.FlagValues()
flags.DEFINE_list("runs", None, "run directories, zoo:NAME or files, of eqgans", required=True, flag_values=FLAGS)
flags.DEFINE_integer("num", 200, "drags", lower_bound=8, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of latents and drags", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def drags(level: int, num: int, seed: int) -> tuple[heatmaps.Placement, heatmaps.Placement, np.ndarray, np.ndarray]:
    """(placements before, after, where the centre was [N, 2], where it goes [N, 2])."""
    before_key, after_key = jax.random.split(jax.random.key(seed))
    before, other = heatmaps.draw(before_key, num), heatmaps.draw(after_key, num)
    if level:
        other = other.replace(centre=before.centre)
    start, end = (np.asarray(heatmaps.centres(p)[level][:, 0]) for p in (before, other))
    return before, heatmaps.moved(before, level, 0, jnp.asarray(end), linked=True), start, end


def images(model: Model, z: jax.Array, placement: heatmaps.Placement, batch: int = 50) -> np.ndarray:
    """uint8 images of latents with placements."""
    parts = []
    for first in range(0, len(z), batch):
        rows = slice(first, first + batch)
        chosen = jax.tree.map(lambda x, rows=rows: x[rows], placement)
        parts.append(np.asarray(_render(model.gan.generator, model.variables["generator"], z[rows], chosen)))
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=0)
def _render(generator, variables, z, placement):
    return quantised(call(generator, variables, z, heatmaps=placement))


def centroid(image: np.ndarray) -> np.ndarray:
    """(y, x) in [-1, 1] of what differs from the picture's corners."""
    corners = np.median(image[[0, 0, -1, -1], [0, -1, 0, -1]].astype(float), axis=0)
    return dragging.change(np.broadcast_to(corners, image.shape), image)[0]


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(r, its standard error) of pairs [N, 2], both axes together."""
    a, b = (x - x.mean(0) for x in (a, b))
    r = float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return r, (1 - r * r) / np.sqrt(a.size - 3)


def slope(shift: np.ndarray, moved: np.ndarray) -> float:
    """How far something goes for each unit that a centre goes, [N, 2] both, by least squares."""
    return float((shift * moved).sum() / np.square(moved).sum())


def near_and_far(changed: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[float, float]:
    """Mean change [N, H, W] of pixels near to one of two places [N, 2], and of those far from both."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in changed.shape[1:]), indexing="ij"), -1)
    away = np.minimum(*(np.linalg.norm(grid - at[:, None, None], axis=-1) for at in (start, end)))
    return float(changed[away < NEAR].mean()), float(changed[away > FAR].mean())


def measured(model: Model, level: int, num: int, seed: int) -> dict[str, Any]:
    """A row."""
    before, after, start, end = drags(level, num, seed)
    z = jax.random.normal(jax.random.fold_in(jax.random.key(seed), 1), (num, model.gan.generator.z_dim))
    was, now = images(model, z, before), images(model, z, after)
    changed = np.abs(now.astype(float) - was).mean(3)
    near, far = near_and_far(changed, start, end)
    others = np.mean([near_and_far(changed, *(np.roll(at, by, 0) for at in (start, end))) for by in SHIFTS], 0)
    centroids = [dragging.change(a, b)[0] for a, b in zip(was, now)]
    kept = [i for i, c in enumerate(centroids) if c is not None]
    follows = correlation(np.stack([centroids[i] for i in kept]), ((start + end) / 2)[kept])
    shift = np.stack([centroid(b) - centroid(a) for a, b in zip(was, now)])
    moves = correlation(shift, end - start)
    return {
        "level": level + 1,
        "drags": len(kept),
        "follows": f"{follows[0]:.3f} ± {follows[1]:.3f}",
        "moves": f"{moves[0]:.3f} ± {moves[1]:.3f}",
        "slope": slope(shift, end - start),
        "near": near,
        "far": far,
        "near others": float(others[0]),
        "far others": float(others[1]),
        "change": float(changed.mean()),
    }


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    rows = []
    for run in values.runs:
        model = load(run)
        dragging.check_generator(model.gan.generator)
        rows += [
            {"run": Path(run).name} | measured(model, level, values.num, values.seed)
            for level in range(len(heatmaps.CENTRES))
        ]
    print(table(rows))
    if values.json:
        Path(values.json).write_text(json.dumps({"seed": values.seed, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
