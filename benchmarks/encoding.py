"""How much nearer do maps come to an image than vectors do, and are they still latents that can be edited?

python benchmarks/encoding.py --run=zoo:fashion-stylegan2 [--data=fashion] [--split=test] [--first=0] [--count=32]
    [--spaces=w,w+,sw+:1,sw:4,sw+:4] [--equalise=0,0.1] [--layouts=plain,shifted,two,tiled] [--steps=600] --out=DIR

Every space gets the same steps, image loss and noise (constant); maps spend a quarter of them in w and a quarter in w+.
A map of one cell is W+ by the recipe of the maps, where w+ is that of `invert` (the best of random latents, raw
coordinates): what maps gain over sw+:1 is their cells' own. Printed of each: ST-LPIPS Alex (not what is minimised),
MSE, PSNR, R_eq, the radius of whitened parts (1 for random latents) with its deviation over parts, and the edit: of a
change of --attribute by one deviation that is asked for, how much the results' images show, in the mean, and the share
that shows half or more. Random latents' own edits stand beside them. Styles have no such distribution, and maps of
several sizes are not edited (nan). Layouts are ones that no training image has: an image moved by a fifth of its side,
two narrow ones side by side, one four times. Choose weights on some images, report on others.
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
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.experiment import load
from jaxgan.features.networks import load as load_network
from jaxgan.latent import attributes, edit, equalise, maps, scores
from jaxgan.latent.encode import encode, staged
from jaxgan.latent.invert import invert
from jaxgan.latent.measures import quality
from jaxgan.latent.space import Space
from jaxgan.latent.spaces import kept_components, make_space, statistics, to_prior
from jaxgan.latent.walk import render
from jaxgan.ops.resize import resize
from jaxgan.report import image_grid, save_png, text_table, to_uint8, write_atomic

LAYOUTS = ("plain", "shifted", "two", "tiled")
FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "run", None, "a run directory, zoo:NAME or a file, of a StyleGAN2", required=True, flag_values=FLAGS
)
flags.DEFINE_string("data", "", "images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("split", "test", "their split", flag_values=FLAGS)
flags.DEFINE_integer("first", 0, "the first image", flag_values=FLAGS)
flags.DEFINE_integer("count", 32, "images", flag_values=FLAGS)
flags.DEFINE_list("spaces", ["w", "w+", "sw+:1", "sw:4", "sw+:4"], "in which", flag_values=FLAGS)
flags.DEFINE_list("equalise", ["0", "0.1"], "weights of R_eq, of spaces of maps and w+", flag_values=FLAGS)
flags.DEFINE_list("layouts", list(LAYOUTS), f"of {', '.join(LAYOUTS)}", flag_values=FLAGS)
flags.DEFINE_integer("steps", 600, "of each space", flag_values=FLAGS)
flags.DEFINE_string("attribute", "width", "that is edited, of the pixels", flag_values=FLAGS)
flags.DEFINE_string("out", None, "a folder for the table, the sheets and JSON", required=True, flag_values=FLAGS)
DEFINE_config(FLAGS, "how: invert (default), or a file")

_SAMPLES = 4000  # random images that the attribute is fitted to
_SHOWN = 8


def laid_out(images: np.ndarray, layout: str) -> np.ndarray:
    """uint8 images [N, H, W, C] arranged as no training image is."""
    height, width = images.shape[1:3]
    if layout == "shifted":
        moved = np.zeros_like(images)
        moved[:, :, width // 5 :] = images[:, :, : -(width // 5)]
        return moved
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


class Bench:
    """A generator, its statistics, an attribute of its images, what is measured of encoded ones."""

    def __init__(self, values: flags.FlagValues):
        self.model = load(values.run)
        self.generator = self.model.gan.generator
        self.variables = self.model.variables["generator"]
        self.stats = statistics(self.generator, self.variables)
        self.kept = kept_components(self.stats)
        self.level = equalise.level(self.kept)
        self.network = load_network("stlpips-alex")
        self.config = configs.load(values.config or "invert")
        configs.override(self.config, values.overrides)
        self.steps = values.steps
        self.scorer = scores.pixel_scorer(values.attribute, self.generator.channels)
        z = np.random.default_rng(0).standard_normal((_SAMPLES, self.generator.z_dim)).astype(np.float32)
        ws = np.asarray(self.model.map(jnp.asarray(z)))
        w = attributes.whitened(self.generator, self.stats, ws[:, 0])
        self.fitted = attributes.fit_linear(w, self.scorer(self.images(ws)), self.kept)
        print(f"{values.attribute}: correlation {self.fitted.fit:.2f} on held-out random images")
        self.random = self.edited(ws[:200])

    def images(self, ws: np.ndarray) -> np.ndarray:
        """uint8."""
        return render(self.generator, self.variables, ws[None], batch=64).frames[0]

    def edited(self, ws: np.ndarray) -> dict[str, float]:
        """What an edit by one deviation does to latents."""
        given = jnp.asarray(ws)
        now = edit.score(self.fitted, self.generator, self.stats, given)
        after = edit.set_score(self.fitted, self.generator, self.stats, given, now + 1.0)
        change = (self.scorer(self.images(np.asarray(after))) - self.scorer(self.images(ws))) / self.fitted.deviation
        return {"edit": float(change.mean()), "edits that show": float((change > 0.5).mean())}

    def encoded(self, images: np.ndarray, space: str, weight: float) -> tuple[dict[str, Any], np.ndarray]:
        """(the row of a space, its images)."""
        config = self.config.to_dict() | {"space": space}
        config["weights"]["equalise"] = weight
        quarter = self.steps // 4
        config["stages"] |= {
            "equalise": weight,
            "w_steps": quarter,
            "wplus_steps": 0 if space.startswith("sw:") else quarter,
        }
        config["steps"] = self.steps - (0 if not staged(space) else quarter * (1 if space.startswith("sw:") else 2))
        run = encode if staged(space) else invert
        discriminator = self.model.variables.get("discriminator")
        with progress_bar(f"{space}, R_eq {weight:g}") as bar:
            found = run(self.model.gan, self.variables, discriminator, images, config, stats=self.stats, progress=bar)
        shown = to_uint8(found.images)
        row: dict[str, Any] = {"space": space, "weight of R_eq": weight}
        row |= {name: float(column.mean()) for name, column in quality(images, shown, self.network).items()}
        row |= self.likely(make_space(space, self.generator), found.code)
        plain = found.ws.ndim in (3, 5)
        row |= self.edited(found.ws) if plain else dict.fromkeys(self.random, float("nan"))
        return row | {"seconds an image": float(found.seconds.mean())}, shown

    def likely(self, space: Space, code: np.ndarray) -> dict[str, float]:
        """How like random latents' parts those of codes are."""
        if space.styled:
            return dict.fromkeys(("R_eq", "radius", "its deviation"), float("nan"))
        parts = maps.rows(space, space.to_ws(self.variables, jnp.asarray(code)))
        v = to_prior(self.generator, self.stats, parts)[..., : self.kept]
        radius = np.sqrt(np.square(np.asarray(v)).mean(-1))
        found = {"R_eq": float(equalise.equalise(v, self.level).mean())}
        return found | {"radius": float(radius.mean()), "its deviation": float(radius.std())}


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    out, began = Path(values.out), time.perf_counter()
    bench = Bench(values)
    source = open_images(values.data or bench.model.config.data.source, split=values.split)
    chosen = source.gather(np.arange(values.first, values.first + values.count))
    results: dict[str, Any] = {}
    for layout in values.layouts:
        images = laid_out(chosen, layout)
        rows, columns = [], [images]
        for space in values.spaces:
            without = space == "w" or space.startswith("ss:")  # of the term
            for weight in [0.0] if without else map(float, values.equalise):
                row, shown = bench.encoded(images, space, weight)
                rows.append(row)
                columns.append(shown)
                print(text_table([row]))
        results[layout] = rows
        sheet = image_grid(np.stack([c[:_SHOWN] for c in columns]).reshape(-1, *images.shape[1:]), columns=_SHOWN)
        save_png(out / f"{layout}.png", sheet, scale=3)
        print(f"\n{layout}\n{text_table(rows)}\n")
        about = {
            "run": values.run,
            "images": f"{source.name} {values.split}, {values.first} to {values.first + values.count - 1}",
        }
        about |= {"steps": values.steps, "attribute": values.attribute, "its fit": bench.fitted.fit}
        about |= {"edit of random latents": bench.random, "device": jax.devices()[0].device_kind}
        about |= {"seconds": time.perf_counter() - began}
        write_atomic(out / "encoding.json", (json.dumps({"about": about, "rows": results}, indent=1) + "\n").encode())
    print(f"edit of random latents: {bench.random}")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
