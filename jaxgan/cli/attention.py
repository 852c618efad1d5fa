"""Shows where a discriminator looks: GradCAM maps of real and generated images, for both signs.

jaxgan attention --run=zoo:fashion-stylegan2 --out=DIR

Of any discriminator, which judges in groups of training's size, all real or all fake: the last group is filled up with
more of the same kind, which are not shown. A row an image: the image, then for each feature map where it finds evidence
that the image is a fake, then where it finds evidence that it is real; of a generator that takes heatmaps also those
which the first are aligned with, in the same order. Writes reals.png, fakes.png (of the first 64) and attention.npz.
"""

import functools
import io
import itertools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan import compiler
from jaxgan.cli import check_writable
from jaxgan.cli.evaluate import open_reals
from jaxgan.cli.sample import choose_labels, parse_seeds
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_keys, seeds_to_z
from jaxgan.latent.stream import batches
from jaxgan.networks import attention
from jaxgan.networks.gan import draw_extras, extras_dim
from jaxgan.report import heat_overlay, image_grid, save_png, to_uint8, write_atomic
from jaxgan.training import alignment
from jaxgan.training.evaluation import at_level

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file", required=True, flag_values=FLAGS)
flags.DEFINE_string("seeds", "0-7", "of the generated images", flag_values=FLAGS)
flags.DEFINE_integer("reals", 8, "real images, the first of the split; 0: none", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_string("data", "", "the real images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("split", "", "their split; by default that of training", flag_values=FLAGS)
flags.DEFINE_list("features", [], "of the discriminator, by name; by default its last three maps", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_integer("batch", 32, "images a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the pictures", required=True, flag_values=FLAGS)

_LEVELS = 3
_OPACITY = 0.5
_ROWS = 64  # of a sheet


def run(values: flags.FlagValues) -> None:
    """Loads, looks, writes."""
    seeds = parse_seeds(values.seeds)
    model = load(values.run, values.weights)
    if model.variables.get("discriminator") is None:
        raise UserError(f"--run={values.run} has no discriminator; give a run directory or a file that brings one")
    names = choose_features(model, values.features)
    group = model.config.model.get("mbstd_group", 1)
    images, labels, counts = {}, {}, {"reals": values.reals, "fakes": len(seeds)}
    if values.reals:
        images["reals"], labels["reals"], counts["reals"] = reals(model, values, group)
    out = Path(values.out)
    check_writable(out)
    images["fakes"], labels["fakes"] = fakes(model, with_companions(seeds, group), values.batch)
    arrays: dict[str, np.ndarray] = {}
    for kind, shown in images.items():
        count = counts[kind]
        found = look(model, shown, labels[kind], names, values.batch, group)
        found = {name: value[:count] for name, value in found.items()}
        if kind == "fakes":
            found |= wanted(model, seeds, names)
        arrays |= {f"{kind} {name}": value for name, value in found.items()}
        save_png(out / f"{kind}.png", sheet(shown[:count], found, names), scale=max(1, 96 // shown.shape[1]))
        logits = found["logits"]
        print(f"{kind}: mean logit {logits.mean():.3f}, deviation {logits.std():.3f}, in groups of {group}")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(out / "attention.npz", buffer.getvalue())
    heat = ", then of fakes the heatmaps of the same" if extras_dim(model.gan.generator) else ""
    print(f"columns: image, evidence for fake at {', '.join(names)}, evidence for real at the same{heat}: {out}")


def choose_features(model: Model, asked: list[str]) -> list[str]:
    """Names of feature maps, from the finest to the coarsest.

    Raises:
        UserError: the discriminator has none, or not one of those asked for.
    """
    gan = model.gan
    image = jnp.zeros((1, *gan.generator.image_shape))
    labels = jnp.zeros((1,), jnp.int32) if gan.generator.num_classes else None
    shapes = attention.feature_shapes(gan.discriminator, model.variables["discriminator"], image, labels)
    maps = [name for name, shape in shapes.items() if len(shape) == 4 and min(shape[1:3]) > 1]
    if strange := [name for name in asked if name not in maps]:
        raise UserError(f"--features={strange[0]}: this discriminator has the maps {', '.join(maps)}")
    return asked or maps[-_LEVELS:]


def reals(model: Model, values: flags.FlagValues, group: int) -> tuple[np.ndarray, np.ndarray | None, int]:
    """(the first real images, floats, as many as fill groups; their labels; how many were asked for).

    Raises:
        UserError: there is no such set, or it does not fit.
    """
    own = model.config.data
    source, split = values.data or own.source, values.split or own.split
    if not source:
        raise UserError(f"--run={values.run} names no data; give --data=FOLDER, or --reals=0")
    found = at_level(model.config.to_dict(), open_reals(source, split), model.gan)
    count = min(values.reals, len(found))
    rows = np.arange(filled(count, group)) % len(found)
    images = found.gather(rows).astype(np.float32) / 127.5 - 1.0
    if images.shape[1:] != tuple(model.gan.generator.image_shape):
        raise UserError(
            f"--data={source} has images of {images.shape[1:]}, the model {model.gan.generator.image_shape}"
        )
    return images, found.labels[rows] if model.gan.generator.num_classes else None, count


def filled(count: int, group: int) -> int:
    """As many as fill groups."""
    return -(-count // group) * group


def with_companions(seeds: list[int], group: int) -> list[int]:
    """Seeds, and the least others that fill the last group."""
    asked = set(seeds)
    others = (seed for seed in itertools.count() if seed not in asked)
    return seeds + list(itertools.islice(others, filled(len(seeds), group) - len(seeds)))


def fakes(model: Model, seeds: list[int], batch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Images of seeds as `jaxgan sample` makes them, floats, and their labels."""
    labels = choose_labels(model, seeds, None)
    parts = []
    for _, rows, count in batches(len(seeds), min(batch, len(seeds))):
        chosen = [seeds[row] for row in rows]
        more = draw_extras(model.gan.generator, seeds_to_keys(chosen))
        z = jnp.asarray(seeds_to_z(chosen, model.gan.generator))
        ws = model.map(z, None if labels is None else jnp.asarray(labels[rows]))
        parts.append(np.asarray(model.synthesize(ws, **more))[:count])
    return np.concatenate(parts), labels


def wanted(model: Model, seeds: list[int], names: list[str]) -> dict[str, np.ndarray]:
    """{"heat NAME": [N, H, W] in [0, 1]}, what attention by features is drawn to; none without heatmaps."""
    generator = model.gan.generator
    if not extras_dim(generator):
        return {}
    maps = alignment.targets(generator.heat(generator.draw_extras(seeds_to_keys(seeds))))
    levels = dict(zip(alignment.FEATURES, maps))
    return {f"heat {name}": np.clip(np.asarray(levels[name]), 0, 1) for name in names if name in levels}


def look(
    model: Model, images: np.ndarray, labels: np.ndarray | None, names: list[str], batch: int, group: int
) -> dict[str, np.ndarray]:
    """{"logits": [N], "fake NAME", "real NAME": [N, H, W] in [0, 1]}, of as many images as fill groups."""
    parts = []
    for _, rows, count in batches(len(images), filled(min(batch, len(images)), group)):
        chosen = None if labels is None else jnp.asarray(labels[rows])
        variables = model.variables["discriminator"]
        found = _look(model.gan.discriminator, tuple(names), variables, jnp.asarray(images[rows]), chosen)
        parts.append({name: np.asarray(value)[:count] for name, value in found.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


@functools.partial(compiler.jit, static_argnums=(0, 1))
def _look(discriminator, names, variables, images, labels):
    out, weights = attention.look(discriminator, variables, images, labels, names)
    found = {"logits": out.logits}
    for evidence, weight in weights.items():
        maps = attention.cam_maps(out.features, weight, images.shape[1:3])
        found |= {f"{evidence} {name}": value for name, value in maps.items()}
    return found


def sheet(images: np.ndarray, found: dict[str, Any], names: list[str]) -> np.ndarray:
    """A row an image, of the first: itself and its maps laid over it."""
    rgb = to_uint8(images[:_ROWS])
    rgb = np.repeat(rgb, 3, axis=3) if rgb.shape[3] == 1 else rgb[..., :3]
    shown = [f"{evidence} {name}" for evidence in attention.EVIDENCE for name in names]
    shown += [name for name in found if name.startswith("heat ")]
    columns = [rgb, *(heat_overlay(rgb, found[name][:_ROWS], _OPACITY) for name in shown)]
    return image_grid(np.stack(columns, axis=1).reshape(-1, *rgb.shape[1:]), columns=len(columns))
