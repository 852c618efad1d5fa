"""Samples images from a trained run: a PNG for each seed and one grid.

jaxgan sample --run=runs/fashion --seeds=0-63 [--truncation_psi=0.7] --out=DIR
jaxgan sample --run=zoo:land-spatial --seeds=0 --size=2048x512 --out=DIR    # of a generator of maps: any size
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan import memory
from jaxgan.cli import check_writable
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_keys, seeds_to_z
from jaxgan.latent import canvas
from jaxgan.networks.gan import draw_extras
from jaxgan.report import image_grid, save_png, to_uint8

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_string("seeds", "0-63", "numbers and ranges: 0-63 or 1,5,10-20", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the pictures", required=True, flag_values=FLAGS)
flags.DEFINE_float("truncation_psi", 1.0, "towards the mean below 1", flag_values=FLAGS)
flags.DEFINE_integer("truncation_cutoff", None, "only layers below this one are truncated", flag_values=FLAGS)
flags.DEFINE_enum("noise", "const", ["const", "none", "random"], "the noise maps", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_integer("label", None, "class of all images; by default the seed modulo the classes", flag_values=FLAGS)
flags.DEFINE_integer("batch", 32, "images a call; tiles, with --size", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("size", "", "WIDTHxHEIGHT, of a generator of maps (such as land_spatial)", flag_values=FLAGS)
flags.DEFINE_integer(
    "tile", 512, "side of the tiles of --size, in pixels; bounds the memory", lower_bound=1, flag_values=FLAGS
)


_TILES = 4  # a call, at most


def run(values: flags.FlagValues) -> None:
    """Loads, samples, writes `seed0000.png` ... and `grid.png`."""
    seeds = parse_seeds(values.seeds)
    model = load(values.run, values.weights)
    layers = model.gan.generator.num_ws
    if not np.isfinite(values.truncation_psi):
        raise UserError(f"--truncation_psi={values.truncation_psi} is no number; 1 is none, 0 the mean")
    if values.truncation_cutoff is not None and not 0 <= values.truncation_cutoff <= layers:
        raise UserError(f"--truncation_cutoff={values.truncation_cutoff}: this generator has {layers} layers")
    labels = choose_labels(model, seeds, values.label)
    size = parse_size(values.size) if values.size else None
    if size:
        canvas.check(model.gan.generator, size)
        check_room(size, model.gan.generator.channels)
        if values.truncation_cutoff is not None:
            raise UserError("--truncation_cutoff is not for --size, whose latents are truncated in all layers")
        if values.label is not None:
            raise UserError("--label is not for --size, whose pictures are of no class")
        if values.noise == "random":
            raise UserError("--noise=random is not for --size, whose noise goes with the place; use const or none")
    out = Path(values.out)
    check_writable(out)
    if size:
        paint(model, seeds, size, values, out)
        return
    images = sample(model, seeds, labels, values)
    for seed, image in zip(seeds, images):
        save_png(out / f"seed{seed:04d}.png", image)
    save_png(out / "grid.png", image_grid(images), scale=max(1, 128 // images.shape[1]))
    print(f"{len(seeds)} images and grid.png in {out} ({model.weights} weights at {model.images_seen:,} images)")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "2048x512".

    Raises:
        UserError: it is no such pair.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size={text} is no size; give WIDTHxHEIGHT such as 2048x512")
    return int(height), int(width)


def check_room(size: tuple[int, int], channels: int) -> None:
    """Raises UserError for a picture that this machine's memory has no room for, with the PNG that is made of it."""
    needed, free = 3 * size[0] * size[1] * channels, memory.free_on_host()
    if free is not None and needed > free:
        raise UserError(
            f"--size={size[1]}x{size[0]} needs {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; "
            "give a smaller one, or paint into a memory map (jaxgan.latent.canvas.paint)"
        )


def paint(model: Model, seeds: list[int], size: tuple[int, int], values: flags.FlagValues, out: Path) -> None:
    """A picture of a size for each seed, `seed0000.png` ...; noise goes with the place, so that it is seamless."""
    for seed in seeds:
        with progress_bar(f"seed {seed}") as bar:
            picture = canvas.paint(
                model.gan.generator,
                model.variables["generator"],
                seeds_to_keys([seed])[0],
                size,
                w_avg=model.w_avg,
                truncation_psi=values.truncation_psi,
                noise=values.noise != "none",
                tile=values.tile,
                batch=min(values.batch, _TILES),
                progress=bar,
            )
        save_png(out / f"seed{seed:04d}.png", picture)
    print(f"{len(seeds)} picture{'s' * (len(seeds) > 1)} of {size[1]}x{size[0]} in {out}")


def parse_seeds(text: str) -> list[int]:
    """The numbers of "1,5,10-20", each once.

    Raises:
        UserError: the text is no such list.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if (
            max(len(first), len(last)) > 9
            or not first.isdigit()
            or (last and not last.isdigit())
            or (last and int(last) < int(first))
        ):
            raise UserError(
                f"--seeds={text} is no list of numbers (of nine digits at most) and ranges such as 0-63 or 1,5,10-20"
            )
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


def check_label(model: Model, label: int | None) -> None:
    """Raises UserError for a label that the model does not have."""
    classes = model.gan.generator.num_classes
    if label is not None and not 0 <= label < classes:
        has = f"classes 0 to {classes - 1}" if classes else "no classes"
        raise UserError(f"--label={label}: this model has {has}")


def choose_labels(model: Model, seeds: list[int], label: int | None) -> np.ndarray | None:
    """The label of each seed, whatever the other seeds are; None for an unconditional model."""
    check_label(model, label)
    classes = model.gan.generator.num_classes
    if not classes:
        return None
    return np.asarray(seeds) % classes if label is None else np.full(len(seeds), label)


def sample(model: Model, seeds: list[int], labels: np.ndarray | None, values: flags.FlagValues) -> np.ndarray:
    """uint8 images of the seeds, in calls of one fixed size."""
    z = seeds_to_z(seeds, model.gan.generator)
    size = min(values.batch, len(seeds))
    images = []
    for start in range(0, len(seeds), size):
        # The last call is filled up with its last row.
        rows = np.minimum(np.arange(start, start + size), len(seeds) - 1)
        ws = model.map(
            jnp.asarray(z[rows]),
            None if labels is None else jnp.asarray(labels[rows]),
            values.truncation_psi,
            values.truncation_cutoff,
        )
        keys = seeds_to_keys([seeds[i] for i in rows])
        noise = seeded_noise(model, keys) if values.noise == "random" else values.noise
        images.append(to_uint8(np.asarray(model.synthesize(ws, noise, **draw_extras(model.gan.generator, keys)))))
    return np.concatenate(images)[: len(seeds)]


def seeded_noise(model: Model, keys: jax.Array) -> tuple[jax.Array, ...]:
    """Noise maps [n, H, W, 1] that depend on each image's key alone."""
    return tuple(
        jax.vmap(lambda k, i=i, shape=shape: jax.random.normal(jax.random.fold_in(k, i), (*shape, 1)))(keys)
        for i, shape in enumerate(model.gan.generator.noise_shapes)
    )
