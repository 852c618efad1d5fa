"""Does the discriminator of an EqGAN look where the generator's heatmaps are?

python benchmarks/alignment.py --runs=runs/eqgan_fashion32[,...] [--num=512] [--seed=0] [--json=FILE]

Images of random latents and placements, of the averaged weights, judged in groups of training's size. A row a run and
level, in the mean over the images with its standard error: the alignment loss of GradCAM's maps and their correlation
over pixels with what they are drawn to; "others" is the same with other images' heatmaps (the mean of ten shifts of the
images against each other), which says what comes from where heatmaps and attention lie anyway.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import command
from benchmarks.tables import table
from jaxgan import compiler
from jaxgan.cli import enable_compilation_cache, parse
from jaxgan.experiment import Model, load
from jaxgan.latent import drag as dragging
from jaxgan.networks import attention, heatmaps
from jaxgan.networks.gan import call
from jaxgan.training import alignment

SHIFTS = range(1, 11)  # of the images against each other

FLAGS = flags.FlagValues()
flags.DEFINE_list("runs", None, "run directories, zoo:NAME or files, of eqgans", required=True, flag_values=FLAGS)
flags.DEFINE_integer("num", 512, "images", lower_bound=32, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of latents and placements", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


@functools.partial(compiler.jit, static_argnums=0)
def _look(networks, variables, z, placement):
    generator, discriminator = networks
    maps = heatmaps.render(placement, generator.image_shape[:2])
    images = call(generator, variables["generator"], z, heatmaps=maps)
    out, weights = attention.look(
        discriminator, variables["discriminator"], images, None, alignment.FEATURES, evidence=("fake",)
    )
    return attention.cam_maps(out.features, weights["fake"], images.shape[1:3]), alignment.targets(maps)


_losses = jax.jit(jax.vmap(alignment.truncated_l1))


def looked(model: Model, num: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(where the discriminator looks, where it is drawn to): [N, H, W] of each level."""
    keys = jax.random.split(jax.random.key(seed))
    z = jax.random.normal(keys[0], (num, model.gan.generator.z_dim))
    placement = heatmaps.draw(keys[1], num)
    networks, parts = (model.gan.generator, model.gan.discriminator), []
    size = 8 * model.config.model.mbstd_group
    num -= num % size
    for first in range(0, num, size):
        rows = slice(first, first + size)
        chosen = jax.tree.map(lambda x, rows=rows: x[rows], placement)
        seen, wanted = _look(networks, model.variables, z[rows], chosen)
        parts.append(([seen[name] for name in alignment.FEATURES], wanted))
    return tuple([np.concatenate(level) for level in zip(*side)] for side in zip(*parts))


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N]: over the pixels of each pair of maps [N, H, W]; 0 where one of them is flat."""
    a, b = (x.reshape(len(x), -1) - x.mean((1, 2))[:, None] for x in (a, b))
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return (a * b).sum(1) / np.where(scale > 0, scale, 1.0)


def measured(seen: np.ndarray, wanted: np.ndarray) -> dict[str, str]:
    """A row of one level."""
    others = [np.roll(wanted, by, 0) for by in SHIFTS]
    found = {
        "loss": np.asarray(_losses(seen, wanted)),
        "loss, others": np.mean([_losses(seen, t) for t in others], 0),
        "correlation": correlations(seen, wanted),
        "correlation, others": np.mean([correlations(seen, t) for t in others], 0),
    }
    return {name: f"{x.mean():.3f} ± {x.std() / len(x) ** 0.5:.3f}" for name, x in found.items()}


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    rows: list[dict[str, Any]] = []
    for run in values.runs:
        model = load(run)
        dragging.check_generator(model.gan.generator)
        for level, (seen, wanted) in enumerate(zip(*looked(model, values.num, values.seed)), 1):
            rows.append({"run": Path(run).name, "level": level} | measured(seen, wanted))
    print(table(rows))
    if values.json:
        Path(values.json).write_text(json.dumps({"seed": values.seed, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
