"""Does an inversion find where the heatmaps of an image of an EqGAN lie?

python benchmarks/placements.py [--run=zoo:fashion-eqgan] [--num=64] [--seed=0] [--spaces=w,w+]
    [--starts=mean,candidates,known] [--json=FILE] [--config.KEY=VALUE ...]

Inverts the generator's own images, of random latents with placements as in training, over a space and the placements
together. Starts: the mean and the middle placement, the best of random latents with placements of their own, or the
known ws with the middle placement, from which only the placement is left to be found. A row a space and start:

* PSNR of what was found, and of the known ws with the middle placement, which is what not finding it costs;
* at each level, error: root mean squared distance of the found centres from the known ones (a picture is 2 wide) over
  that of the middle placement, which a search that learns nothing keeps at 1; r: correlation of the two over images,
  centres and axes, with its standard error by Fisher's z.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import command
from benchmarks.dragging import correlation
from benchmarks.tables import table
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.data.progress import progress_bar
from jaxgan.experiment import Model, load
from jaxgan.latent import drag as dragging
from jaxgan.latent.invert import Inversion, invert
from jaxgan.latent.measures import quality
from jaxgan.latent.spaces import statistics
from jaxgan.networks import heatmaps
from jaxgan.report import to_uint8

STARTS = ("mean", "candidates", "known")

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", "zoo:fashion-eqgan", "a run directory, zoo:NAME or a file, of an eqgan", flag_values=FLAGS)
flags.DEFINE_integer("num", 64, "images", lower_bound=8, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of their latents and placements", flag_values=FLAGS)
flags.DEFINE_list("spaces", ["w", "w+"], "in which", flag_values=FLAGS)
flags.DEFINE_list("starts", list(STARTS), f"of {', '.join(STARTS)}", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)
DEFINE_config(FLAGS, "how: invert (default), or a file")


def centres(packed: np.ndarray) -> list[np.ndarray]:
    """[N, K, 2] of each level, of packed placements."""
    return [np.asarray(level) for level in heatmaps.centres(heatmaps.unpack(packed))]


def row(found: Inversion, known: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    """What was found of images with known placements."""
    rest = np.asarray(heatmaps.pack(heatmaps.middle(len(known))))
    made: dict[str, Any] = {"PSNR": float(quality(images, to_uint8(found.images))["PSNR"].mean())}
    for level, (got, wanted, middle) in enumerate(zip(centres(found.extras), centres(known), centres(rest)), 1):
        error = np.sqrt(np.square(got - wanted).sum(-1).mean() / np.square(middle - wanted).sum(-1).mean())
        r, off = correlation(got.reshape(-1, 2), wanted.reshape(-1, 2))
        made |= {f"error {level}": float(error), f"r {level}": f"{r:.2f} ± {off:.2f}"}
    return made


def originals(model: Model, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ws, packed placements, uint8 images, uint8 images of the middle placement)."""
    keys = jax.random.split(jax.random.key(seed))
    ws = model.map(jax.random.normal(keys[0], (num, model.gan.generator.z_dim)))
    placement = heatmaps.draw(keys[1], num)
    images, plain = (np.asarray(model.synthesize(ws, heatmaps=p)) for p in (placement, heatmaps.middle(num)))
    return np.asarray(ws), np.asarray(heatmaps.pack(placement)), to_uint8(images), to_uint8(plain)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    model = load(values.run)
    generator, variables = model.gan.generator, model.variables["generator"]
    dragging.check_generator(generator)
    ws, known, images, plain = originals(model, values.num, values.seed)
    stats, rows = statistics(generator, variables), []
    cost = {"PSNR, middle": float(quality(images, plain)["PSNR"].mean())}
    for space in values.spaces:
        for start in values.starts:
            config = configs.load(values.config or "invert")
            begin = "mean" if start == "known" else start
            configs.override(config, [*values.overrides, f"space={space}", f"start={begin}"])
            with progress_bar(f"{space}, {start}") as bar:
                found = invert(
                    model.gan,
                    variables,
                    model.variables.get("discriminator"),
                    images,
                    config.to_dict(),
                    start=ws if start == "known" else None,
                    stats=stats,
                    progress=bar,
                )
            rows.append({"space": space, "start": start} | cost | row(found, known, images))
    print(table(rows))
    if values.json:
        about = {"run": Path(values.run).name, "images": values.num, "seed": values.seed}
        Path(values.json).write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
