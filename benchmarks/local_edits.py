"""Does an edit stay within its mask, and does it still do there what was asked for?

python benchmarks/local_edits.py --run=DIR [--attributes=brightness,contrast,red] [--grids=4,8,16] [--from_px=4,8,16]
    [--mask=0.25,0.25,0.75,0.75] [--count=200] [--seeds=0] --out=DIR

A linear model of each attribute is fitted to random images as `jaxgan edit` does. Vectors of random latents, made into
maps, are then asked for one deviation more of it within the mask: by maps of each grid, in all layers or from those of
a size on; and in the same layers without a mask. A row a setting, in the mean over the images:

* shows: change of the same score of the pixels in the mask, over its deviation among random images' same pixels;
* within, outside: mean absolute change of pixels, in grey levels of 255; share: of all change that is within the mask
  (without a mask: what falls there anyway);
* beyond: the largest change, before rounding and in grey levels, farther from the mask's cells than layers can carry
  it (3 pixels of each size from the first edited one, 1 of the base grid's convolution, and the interpolation of its
  style), and the share of pixels that are;
* R_eq of the results; that of the latents before stands in the file.

Choose settings on some seeds, report on others.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command
from benchmarks.random_latents import RandomLatents
from benchmarks.tables import table
from jaxgan.cli import enable_compilation_cache, parse
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.latent import attributes, edit, maps, scores
from jaxgan.report import image_grid, save_png, to_uint8, write_atomic

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory or file, of a StyleGAN2", required=True, flag_values=FLAGS)
flags.DEFINE_list("attributes", ["brightness", "contrast", "red"], "of the pixels", flag_values=FLAGS)
flags.DEFINE_list("grids", ["4", "8", "16"], "cells a side", flag_values=FLAGS)
flags.DEFINE_list("from_px", ["4", "8", "16"], "layers of this size and larger are edited", flag_values=FLAGS)
flags.DEFINE_list("mask", ["0.25", "0.25", "0.75", "0.75"], "top, left, bottom, right in 0..1", flag_values=FLAGS)
flags.DEFINE_integer("count", 200, "images", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 0, "the first of their seeds", flag_values=FLAGS)
flags.DEFINE_string("out", None, "a folder for the table, the sheets and JSON", required=True, flag_values=FLAGS)

_SAMPLES = 4000  # random images that the attributes are fitted to
_SHOWN = 6
_OF_WHOLE = ("size", "height", "width")  # attributes that a crop does not have


def first_row(pixels: int) -> int:
    """The first row of ws whose layers give images of a size or more."""
    return max(2 * pixels.bit_length() - 7, 0)


def beyond(box: tuple[float, ...], grid: int, distance: float, size: int) -> np.ndarray:
    """[size, size]: the pixels that lie farther than a distance in pixels from every cell which a box touches."""
    first = np.floor(np.asarray(box[:2]) * grid) * size / grid - distance
    last = np.ceil(np.asarray(box[2:]) * grid) * size / grid + distance
    low, high = np.arange(size), np.arange(size) + 1
    touched = [(high > f) & (low < n) for f, n in zip(first, last)]
    return ~(touched[0][:, None] & touched[1][None])


class Bench:
    """Random latents of a generator and their images, and what edits of them do."""

    def __init__(self, run: str, box: tuple[float, ...], count: int, first: int):
        self.random = RandomLatents(run)
        self.box = box
        drawn = self.random.ws(_SAMPLES, seed=0)
        self.v, self.drawn = self.random.whitened(drawn), self.random.images(drawn)
        self.ws = self.random.ws_of_seeds(list(range(first, first + count)))
        self.unrounded = self.random.unrounded(self.ws)
        self.before = to_uint8(self.unrounded)
        size = self.before.shape[1]
        top, left, bottom, right = (round(b * size) for b in box)
        self.inside = np.zeros((size, size), bool)
        self.inside[top:bottom, left:right] = True
        self.crop = (slice(None), slice(top, bottom), slice(left, right))

    def likely(self, ws: np.ndarray) -> float:
        """Mean R_eq."""
        return self.random.likely(ws.reshape(len(ws), -1, ws.shape[-1]))["R_eq"]

    def row(self, name: str, fitted: attributes.Linear, grid: int | None, pixels: int) -> tuple[dict, np.ndarray]:
        """(what a setting does, its images); no grid: vectors, everywhere."""
        generator, stats = self.random.generator, self.random.stats
        layers = range(first_row(pixels), generator.num_ws)
        given, cells = jnp.asarray(self.ws), None
        if grid:
            given = maps.resized(given, (grid, grid))
            cells = edit.masks_of(given, self.inside.astype(np.float32))
        where: dict[str, Any] = {"layers": layers, "cells": cells}
        now = edit.score(fitted, generator, stats, given, **where)
        changed = np.asarray(edit.set_score(fitted, generator, stats, given, now + 1.0, **where))
        unrounded = self.random.unrounded(changed)
        after = to_uint8(unrounded)
        scorer = scores.PIXEL_SCORES[name][1]
        shows = (scorer(after[self.crop]) - scorer(self.before[self.crop])) / scorer(self.drawn[self.crop]).std()
        change = np.abs(after.astype(np.float64) - self.before).mean(-1)
        row: dict[str, Any] = {"attribute": name, "cells": grid or "no mask", "from px": pixels}
        row |= {"shows": float(shows.mean()), "deviation": float(shows.std())}
        row |= {"within": float(change[:, self.inside].mean()), "outside": float(change[:, ~self.inside].mean())}
        row["share"] = float(change[:, self.inside].sum() / max(change.sum(), 1e-9))
        far = np.zeros_like(self.inside)
        if grid:
            distance = edit.reach(generator.resolution, generator.resolution / grid, layers)
            far = beyond(self.box, grid, distance, len(self.inside))
        finest = np.abs(unrounded - self.unrounded).max(-1) * 127.5
        row |= {"beyond": float(finest[:, far].max(initial=0.0)), "pixels beyond": float(far.mean())}
        return row | {"R_eq": self.likely(changed)}, after


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    box = tuple(map(float, values.mask))
    edit.check_box(box)
    for name in values.attributes:
        if name in _OF_WHOLE:
            raise UserError(f"--attributes={name}: a part of an image has no {name}; use brightness, contrast or red")
    out, began = Path(values.out), time.perf_counter()
    bench = Bench(values.run, box, values.count, values.seeds)
    grids = [None, *map(int, values.grids)]
    settings = [(grid, int(pixels)) for grid in grids for pixels in values.from_px]
    rows, fits = [], {}
    with progress_bar("settings") as bar:
        for name in values.attributes:
            scorer = scores.pixel_scorer(name, bench.random.generator.channels)
            fitted = attributes.fit_linear(bench.v, scorer(bench.drawn), bench.random.kept)
            fits[name] = fitted.fit
            shown = [bench.before[:_SHOWN]]
            for grid, pixels in settings:
                row, after = bench.row(name, fitted, grid, pixels)
                rows.append(row)
                shown.append(after[:_SHOWN])
                bar(len(rows), len(settings) * len(values.attributes))
            sheet = image_grid(np.stack(shown, 1).reshape(-1, *bench.before.shape[1:]), columns=len(shown))
            save_png(out / f"{name}.png", sheet)
    before = bench.likely(bench.ws)
    print(f"{table(rows)}\nR_eq before: {before:.3g}")
    about = {"run": Path(values.run).name, "seeds": f"{values.seeds} to {values.seeds + values.count - 1}", "mask": box}
    about |= {"fits": fits, "device": jax.devices()[0].device_kind, "seconds": time.perf_counter() - began}
    write_atomic(
        out / "local_edits.json",
        (json.dumps({"about": about, "rows": rows, "R_eq before": before}, indent=1) + "\n").encode(),
    )


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
