"""Is the revised scribble program more realistic than the plain one, and what does it cost in masked L1?

python benchmarks/scribbles.py [--run=zoo:fashion-stylegan2] [--count=16] [--first=100] [--seed=2]
    [--programs=plain:w+,plain:w,revised:w,revised:w+] [--config.weights.prior=0.1 ...] [--sheet=FILE] [--json=FILE]

Scribbles are derived from held-out pictures: displaced, flattened to three levels, with some of the ground around them
(dense), or three strokes in their colours (sparse). For each program: masked L1, prior, the discriminator's logit and
the perceptual distance to the nearest real image; beside them the same numbers of random samples and of held-out
images, which are as near as can be hoped for. --config.field= changes the revised program.
"""

import itertools
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from scipy import ndimage

from benchmarks import command
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, parse
from jaxgan.cli.scribble import Drawn, near_reals, plain, side_by_side, solved, table
from jaxgan.data.sources import open_images
from jaxgan.experiment import Model, load
from jaxgan.features.networks import load as load_network
from jaxgan.latent.scribble import nearest_real
from jaxgan.latent.spaces import prior, statistics
from jaxgan.report import save_png, text_table

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "the revised program: scribble (default), or a file")
flags.DEFINE_string("run", "zoo:fashion-stylegan2", "a run directory, zoo:NAME or a file", flag_values=FLAGS)
flags.DEFINE_integer("count", 16, "scribbles of each kind", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_integer("first", 100, "of the held-out pictures that they are derived from", flag_values=FLAGS)
flags.DEFINE_integer("seed", 2, "of displacements and strokes", flag_values=FLAGS)
flags.DEFINE_list("programs", ["plain:w+", "plain:w", "revised:w", "revised:w+"], "name:space", flag_values=FLAGS)
flags.DEFINE_string("sheet", "", "a PNG of the first scribbles and results", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the rows", flag_values=FLAGS)

_SHOWN = 6  # scribbles of each kind on the sheet


def dense(picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 1] in [-1, 1] and mask of what a hand might make of a grey picture uint8 [H, W, 1]."""
    grey = picture[..., 0] / 255.0
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    where = [rows + _wobble(rng, grey.shape), columns + _wobble(rng, grey.shape)]
    shades = ndimage.map_coordinates(ndimage.gaussian_filter(grey, 1.0), where, order=1, mode="nearest")
    inside = ndimage.binary_opening(ndimage.map_coordinates(grey, where, order=1, mode="nearest") > 0.15)
    limits = np.quantile(shades[inside], [0.0, 0.33, 0.67, 1.0])
    flat = np.zeros_like(grey)
    for low, high in itertools.pairwise(limits):
        level = inside & (shades >= low) & (shades <= high)
        if level.any():
            flat[level] = np.clip(shades[level].mean() + rng.normal() * 0.05, 0, 1)
    mask = ndimage.binary_dilation(inside, iterations=2)
    return (flat[..., None] * 2 - 1).astype(np.float32), mask[..., None].astype(np.float32)


def sparse(picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same, of three straight strokes of two pixels."""
    shades = dense(picture, rng)[0][..., 0]
    inside = ndimage.binary_opening(picture[..., 0] > 40)
    ys, xs = np.nonzero(inside)
    colours, mask = np.full(shades.shape, -1.0), np.zeros(shades.shape)
    for _ in range(3):
        a, b = rng.integers(len(ys), size=2)
        way = np.linspace(0, 1, 40)
        stroke = np.zeros(shades.shape, bool)
        for y, x in zip(ys[a] + (ys[b] - ys[a]) * way, xs[a] + (xs[b] - xs[a]) * way):
            stroke[round(y) : round(y) + 2, round(x) : round(x) + 2] = True
        seen = stroke & inside
        colours[stroke] = np.median(shades[seen if seen.any() else stroke])
        mask[stroke] = 1
    return colours[..., None].astype(np.float32), mask[..., None].astype(np.float32)


def _wobble(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A smooth displacement of 2.5 pixels at most."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 6, mode="wrap")
    return 2.5 * noise / np.abs(noise).max()


def drawings(pictures: np.ndarray, ids: Iterable[int], seed: int) -> Drawn:
    """Dense, then sparse ones of each picture."""
    made = {
        f"{kind.__name__}-{i}": kind(pictures[i], np.random.default_rng([seed, i]))
        for kind in (dense, sparse)
        for i in ids
    }
    return Drawn(tuple(made), np.stack([c for c, _ in made.values()]), np.stack([m for _, m in made.values()]), None)


def references(model: Model, held_out: np.ndarray, reals: np.ndarray, network: Any, stats: Any) -> list[dict[str, Any]]:
    """Random samples and held-out images by the same measures."""
    ws = model.map(jax.random.normal(jax.random.key(5), (len(held_out), model.gan.generator.z_dim)))
    samples = np.asarray(model.synthesize(ws))
    rows = []
    for name, images in (("random samples", samples), ("held-out images", held_out / np.float32(127.5) - 1)):
        near = nearest_real(images, reals, network).distance
        rows.append({"program": name, "D": np.asarray(model.discriminate(images)), "to the nearest real": near})
    rows[0]["prior"] = np.asarray(prior(model.gan.generator, stats, ws))
    return rows


def main(arguments: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, arguments)
    model = load(values.run)
    network = load_network("stlpips-alex")
    reals = near_reals(model, "")
    held_out = open_images(model.config.data.source, split="test")
    pictures = held_out.gather(np.arange(len(held_out)))
    drawn = drawings(pictures, range(values.first, values.first + values.count), values.seed)
    stats = statistics(model.gan.generator, model.variables["generator"])
    rows, results = [], {}
    for program in values.programs:
        name, space = program.split(":")
        config = configs.load(values.config or "scribble")
        configs.override(config, values.overrides)
        config.space, config.snapshots, config.steps = space, (), min(config.steps, 1000)
        config.weights.conv = 0.0
        config = config if name == "revised" else plain(config, space)
        with tempfile.TemporaryDirectory() as folder:
            found = solved(model, drawn, config, Path(folder), stats)
        results[program] = found
        rows += table(drawn, program, found, network, reals)
        print(text_table(summary(rows[-2 * values.count :])), flush=True)
    beside = references(model, pictures[values.first : values.first + 2 * values.count], reals, network, stats)
    beside = [{k: v if isinstance(v, str) else f"{v.mean():.4g} ± {v.std():.2g}" for k, v in r.items()} for r in beside]
    print(text_table(summary(rows)), text_table(beside), sep="\n\n")
    if values.sheet:
        shown = [i for start in (0, values.count) for i in range(start, start + min(_SHOWN, values.count))]
        few = Drawn(tuple(drawn.names[i] for i in shown), drawn.colours[shown], drawn.masks[shown], None)
        sheet = side_by_side(few, {k: f._replace(images=f.images[shown]) for k, f in results.items()})
        save_png(values.sheet, sheet, scale=2)
    if values.json:
        device = jax.devices()[0].device_kind
        Path(values.json).write_text(json.dumps({"device": device, "rows": rows, "references": beside}, indent=1))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the scribbles of each kind, by program."""
    found = []
    for program in dict.fromkeys(row["program"] for row in rows):
        for kind in ("dense", "sparse"):
            mine = [r for r in rows if r["program"] == program and r["drawing"].startswith(kind)]
            numbers = {k: np.array([r[k] for r in mine]) for k in mine[0] if k not in ("drawing", "program")}
            found.append(
                {"scribbles": f"{len(mine)} {kind}", "program": program}
                | {k: f"{v.mean():.4g} ± {v.std():.2g}" for k, v in numbers.items()}
            )
    return found


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
