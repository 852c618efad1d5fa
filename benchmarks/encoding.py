"""How much nearer do maps come to an image than vectors do, and are they still latents that can be edited?

python benchmarks/encoding.py --run=zoo:fashion-stylegan2 [--data=fashion] [--split=test] [--first=0] [--count=16]
    [--spaces=w,w+,sw+:1,sw:4,sw+:4] [--equalise=0,0.1] [--layouts=plain,shifted,two,tiled] [--steps=600] [--curve]
    --out=DIR

Every space gets the same steps in all, image loss and noise (constant). Of those of maps a quarter is spent in w, for
maps that differ by layer another quarter in w+, and of the rest a quarter on maps of half of the cells a side, where
those are two or more. A map of one cell is W or W+ by the recipe of the maps, where w and w+ are those of `invert` (the
best of random latents, raw coordinates): what maps gain over sw+:1 is their cells' own. A row a space and weight of
R_eq, in the mean over images:

* ST-LPIPS Alex (which may not be what is minimised), MSE, PSNR, SSIM;
* what the first of these is less than that of w+ and of sw+:1 without R_eq, as a share, with its standard error;
* R_eq and radius of whitened parts, with the deviation over parts and images (random latents' stand in the file);
* the edit: of a change of --attribute by one deviation that is asked for, how much the results' images show, and the
  share of images that shows half or more (random latents' own edits stand in the file).

Styles have no such distribution, and maps of several sizes are not edited. Layouts are ones that no training image has:
an image moved by a fifth of its side, two narrow ones side by side, one four times. Choose weights on some images,
report on others.
"""

import json
import math
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
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.features.networks import load as load_network
from jaxgan.latent import attributes, edit, maps, scores
from jaxgan.latent.encode import encode, staged
from jaxgan.latent.invert import invert
from jaxgan.latent.measures import network_label, quality
from jaxgan.latent.spaces import make_space
from jaxgan.ops.resize import resize
from jaxgan.report import image_grid, save_png, to_uint8, write_atomic

LAYOUTS = ("plain", "shifted", "two", "tiled")
_NETWORK = "stlpips-alex"
FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "run", None, "a run directory, zoo:NAME or a file, of a StyleGAN2", required=True, flag_values=FLAGS
)
flags.DEFINE_string("data", "", "images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("split", "test", "their split", flag_values=FLAGS)
flags.DEFINE_integer("first", 0, "the first image", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("count", 16, "images", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_list("spaces", ["w", "w+", "sw+:1", "sw:4", "sw+:4"], "in which", flag_values=FLAGS)
flags.DEFINE_list("equalise", ["0", "0.1"], "weights of R_eq", flag_values=FLAGS)
flags.DEFINE_list("layouts", list(LAYOUTS), f"of {', '.join(LAYOUTS)}", flag_values=FLAGS)
flags.DEFINE_integer("steps", 600, "of each space", flag_values=FLAGS)
flags.DEFINE_string("attribute", "brightness", "that is edited, of the pixels", flag_values=FLAGS)
flags.DEFINE_bool("curve", False, "draw distance against R_eq too (needs `pip install matplotlib`)", flag_values=FLAGS)
flags.DEFINE_string("out", None, "a folder for the table, the sheets and JSON", required=True, flag_values=FLAGS)
DEFINE_config(FLAGS, "how: invert (default), or a file")

_SAMPLES = 4000  # random images that the attribute is fitted to
_EDITED = 200  # others, whose edits are the measure
_SHOWN = 8


def laid_out(images: np.ndarray, layout: str) -> np.ndarray:
    """uint8 images [N, H, W, C] arranged as no training image is."""
    height, width = images.shape[1:3]
    if layout == "shifted":
        away = width // 5
        return np.concatenate([np.repeat(images[:, :, :1], away, 2), images[:, :, :-away]], 2)
    x = jnp.asarray(images, jnp.float32)
    if layout == "two":
        half = resize(x, (height, width // 2), "bilinear")
        return to_byte(jnp.concatenate([half, jnp.roll(half, 1, 0)], 2))
    if layout == "tiled":
        return to_byte(jnp.tile(resize(x, (height // 2, width // 2), "bilinear"), (1, 2, 2, 1)))
    return images


def to_byte(x: jax.Array) -> np.ndarray:
    """[0, 255] to uint8."""
    return np.asarray(jnp.clip(jnp.round(x), 0, 255)).astype(np.uint8)


def gain(ours: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """(by what share the mean of `ours` is less than that of `base`, its standard error over the images)."""
    ratio = ours.mean() / base.mean()
    error = (ours - ratio * base).std(ddof=1) / (math.sqrt(len(ours)) * base.mean())
    return float(1 - ratio), float(error)


class Bench:
    """A generator, an attribute of its images, what is measured of encoded ones."""

    def __init__(self, values: flags.FlagValues):
        self.random = RandomLatents(values.run)
        self.network = load_network(_NETWORK)
        self.config = configs.load(values.config or "invert")
        configs.override(self.config, values.overrides)
        if self.config.weights.lpips and self.config.lpips_network == _NETWORK:
            raise UserError(f"--config.lpips_network={_NETWORK} is what is reported; minimise another")
        if self.config.noise_maps:
            raise UserError("--config.noise_maps=True hides what a latent cannot say; leave it out")
        self.steps = values.steps
        generator = self.random.generator
        self.scorer = scores.pixel_scorer(values.attribute, generator.channels)
        ws = self.random.ws(_SAMPLES, seed=0)
        scored = self.scorer(self.random.images(ws))
        self.fitted = attributes.fit_linear(self.random.whitened(ws), scored, self.random.kept)
        print(f"{values.attribute}: correlation {self.fitted.fit:.2f} on held-out random images")
        self.of_random = self.edited(self.random.ws(_EDITED, seed=1))

    def edited(self, ws: np.ndarray) -> dict[str, float]:
        """What an edit by one deviation does to latents."""
        given, generator, stats = jnp.asarray(ws), self.random.generator, self.random.stats
        now = edit.score(self.fitted, generator, stats, given)
        after = edit.set_score(self.fitted, generator, stats, given, now + 1.0)
        images = self.random.images
        change = (self.scorer(images(np.asarray(after))) - self.scorer(images(ws))) / self.fitted.deviation
        return {"edit": float(change.mean()), "edits that show": float((change > 0.5).mean())}

    def config_of(self, space: str, weight: float) -> dict[str, Any]:
        """The config of a space: `steps` in all, whatever its stages are."""
        config = self.config.to_dict() | {"space": space}
        config["weights"]["equalise"] = weight
        quarter = self.steps // 4
        before = 0 if not staged(space) else quarter * (1 if space.startswith("sw:") else 2)
        config["stages"] |= {"equalise": weight, "w_steps": quarter, "wplus_steps": max(before - quarter, 0)}
        return config | {"steps": self.steps - before}

    def encoded(
        self, images: np.ndarray, space: str, weight: float
    ) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray]]:
        """(the row of a space, its images, what was measured of each image)."""
        run = encode if staged(space) else invert
        model = self.random.model
        variables, discriminator = model.variables["generator"], model.variables.get("discriminator")
        config, stats = self.config_of(space, weight), self.random.stats
        with progress_bar(f"{space}, R_eq {weight:g}") as bar:
            found = run(model.gan, variables, discriminator, images, config, stats=stats, progress=bar)
        shown = to_uint8(found.images)
        each = quality(images, shown, self.network)
        row: dict[str, Any] = {"space": space, "weight of R_eq": weight}
        row |= {name: float(column.mean()) for name, column in each.items()}
        of = make_space(space, model.gan.generator)
        if of.styled:
            row |= dict.fromkeys(("R_eq", "radius", "its deviation"))
        else:
            row |= self.random.likely(maps.rows(of, of.to_ws(variables, jnp.asarray(found.code))))
        row |= self.edited(found.ws) if found.ws.ndim in (3, 5) else dict.fromkeys(self.of_random)
        return row | {"seconds an image": float(found.seconds.mean())}, shown, each


def with_gains(rows: list[dict[str, Any]], distances: list[np.ndarray]) -> list[dict[str, Any]]:
    """Rows with what their distances are less than those of w+ and sw+:1 without R_eq."""
    for name in ("w+", "sw+:1"):
        base = [d for row, d in zip(rows, distances) if (row["space"], row["weight of R_eq"]) == (name, 0.0)]
        for row, distance in zip(rows, distances):
            share, error = gain(distance, base[0]) if base else (None, None)
            row |= {f"gain over {name}": share, f"error of {name}'s": error}
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Distance against R_eq: a line a space, a point a weight."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    label = network_label(_NETWORK)
    for space in dict.fromkeys(row["space"] for row in rows if row["R_eq"] is not None):
        chosen = [row for row in rows if row["space"] == space]
        axes.plot([r["R_eq"] for r in chosen], [r[label] for r in chosen], marker="o", markersize=4, label=space)
        for row in chosen:
            at = (row["R_eq"], row[label])
            axes.annotate(f"{row['weight of R_eq']:g}", at, xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="R_eq (numbers: its weight)", ylabel=label, ylim=(0, None))
    axes.set_xscale("symlog", linthresh=0.1)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    if unknown := set(values.layouts) - set(LAYOUTS):
        raise UserError(f"--layouts={sorted(unknown)[0]} is not known; use {', '.join(LAYOUTS)}")
    out, began = Path(values.out), time.perf_counter()
    bench = Bench(values)
    source = open_images(values.data or bench.random.model.config.data.source, split=values.split)
    last = values.first + values.count
    if last > len(source):
        raise UserError(f"--first={values.first} --count={values.count}: {source.name} has {len(source)} images")
    chosen = source.gather(np.arange(values.first, last))
    about: dict[str, Any] = {"run": values.run, "images": f"{source.name} {values.split}, {values.first} to {last - 1}"}
    about |= {"steps": values.steps, "attribute": values.attribute, "its fit": bench.fitted.fit}
    about["random latents"] = {
        "edit": bench.of_random,
        "of one part": bench.random.likely_if_random(1),
        "of a part a layer": bench.random.likely_if_random(bench.random.generator.num_ws),
    }
    about |= {"config": bench.config.to_dict(), "device": jax.devices()[0].device_kind}
    results: dict[str, Any] = {}
    for layout in values.layouts:
        images = laid_out(chosen, layout)
        rows, columns, distances = [], [images], []
        for space in values.spaces:
            for weight in (
                [0.0] if space.startswith("ss:") else map(float, values.equalise)
            ):  # of styles it is not known
                row, shown, each = bench.encoded(images, space, weight)
                rows.append(row)
                columns.append(shown)
                distances.append(each[network_label(_NETWORK)])
                print(table([row]))
        results[layout] = with_gains(rows, distances)
        sheet = image_grid(np.stack([c[:_SHOWN] for c in columns]).reshape(-1, *images.shape[1:]), columns=_SHOWN)
        save_png(out / f"{layout}.png", sheet, scale=3)
        if values.curve:
            draw(rows, out / f"{layout}_curve.png")
        print(f"\n{layout}\n{table(rows)}\n")
        about["seconds"] = time.perf_counter() - began
        text = json.dumps({"about": about, "rows": results}, indent=1, default=str)
        write_atomic(out / "encoding.json", (text + "\n").encode())
    print(f"random latents: {about['random latents']}")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
