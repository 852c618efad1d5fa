"""Drags a centre of a heatmap of an EqGAN and shows how the image follows.

jaxgan move --run=zoo:fashion-eqgan --seed=3 --to=-0.5,0.5 --out=DIR

The latent and the noise stay as they are. Writes move.gif, which goes there and back (or .mp4), sheet.png (frames,
below each the heatmaps of the level that moves, with its centres, the moved one in red, and where the image changed),
frames as PNG and table.json.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan import movie
from jaxgan.cli import check_writable
from jaxgan.cli.sample import check_label, choose_labels
from jaxgan.cli.walk import FORMATS, check_formats
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_keys, seeds_to_z
from jaxgan.latent import drag as dragging
from jaxgan.networks import heatmaps
from jaxgan.report import image_grid, save_png, write_atomic

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file, of an eqgan", required=True, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the latent and of where the centres lie", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("level", 1, "1 the coarsest, with one centre; 2 with two, 3 with four", flag_values=FLAGS)
flags.DEFINE_integer("index", 0, "which centre of the level, from 0", flag_values=FLAGS)
flags.DEFINE_string("from", "", "y,x as in --to; by default where the seed has it", flag_values=FLAGS)
flags.DEFINE_string(
    "to",
    None,
    "y,x between -1 (top, left) and 1 (bottom, right); finer centres may lie beyond",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_bool("linked", True, "the finer centres go with the coarsest one", flag_values=FLAGS)
flags.DEFINE_integer("frames", 16, "of the drag", lower_bound=2, upper_bound=1000, flag_values=FLAGS)
flags.DEFINE_float("truncation_psi", 1.0, "towards the mean below 1", flag_values=FLAGS)
flags.DEFINE_integer("label", None, "class; by default the seed modulo the classes", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_list("format", ["gif"], f"of {', '.join(FORMATS)}", flag_values=FLAGS)
flags.DEFINE_float("fps", 12.0, "frames a second", lower_bound=0.1, upper_bound=50.0, flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

_SHOWN = 12  # frames on the sheet


def run(values: flags.FlagValues) -> None:
    """Checks, renders, writes."""
    check_formats(values.format)
    end = parse_point("to", values.to)
    given = parse_point("from", values["from"].value) if values["from"].value else None
    model = load(values.run, values.weights)
    generator = model.gan.generator
    dragging.check_generator(generator)
    check_label(model, values.label)
    level = values.level - 1
    dragging.check_centre(level, values.index)
    base = heatmaps.draw_each(seeds_to_keys([values.seed]))
    own = np.asarray(heatmaps.centres(base)[level][0, values.index])
    drag = dragging.Drag(level, values.index, given or tuple(own.tolist()), end, values.linked)
    dragging.check_drag(drag)
    out = Path(values.out)
    check_writable(out)
    placement = dragging.placements(base, drag, values.frames)
    frames = dragging.render(generator, model.variables["generator"], latent(model, values), placement, level=level)
    write(out, frames, placement, drag, values)
    print(
        f"{values.frames} frames from {dragging.point(drag.start)} to {dragging.point(drag.end)} at level "
        f"{values.level}: {out}"
    )
    strange = int((~np.asarray(heatmaps.known(placement))).sum())
    if strange:
        print(f"{strange} of them have heatmaps beyond those of training; docs/eqgan.md has the ranges")


def parse_point(name: str, text: str) -> tuple[float, float]:
    """(y, x) of "y,x".

    Raises:
        UserError: it is no such pair.
    """
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--{name}={text} is no point; give y,x such as --{name}=-0.5,0.25") from error
    return y, x


def latent(model: Model, values: flags.FlagValues) -> jax.Array:
    """ws [1, num_ws, w_dim] of the seed."""
    labels = choose_labels(model, [values.seed], values.label)
    z = jnp.asarray(seeds_to_z([values.seed], model.gan.generator))
    return model.map(z, None if labels is None else jnp.asarray(labels), values.truncation_psi)


def table(placement: heatmaps.Placement, frames: np.ndarray, level: int) -> list[dict[str, Any]]:
    """A row a frame: where the centres of the level are, and the centroid and size of the change since the first."""
    at = np.asarray(heatmaps.centres(placement)[level])
    rows = []
    for number, frame in enumerate(frames):
        centroid, size = dragging.change(frames[0], frame)
        rows.append(
            {
                "frame": number,
                "centres": [[round(float(n), 4) for n in centre] for centre in at[number]],
                "change": round(size, 5),
                "centroid of the change": None if centroid is None else [round(float(c), 4) for c in centroid],
            }
        )
    return rows


def marked(maps: np.ndarray, at: np.ndarray, index: int) -> np.ndarray:
    """Heatmaps [N, H, W, K] as uint8 pictures [N, H, W, 3], their centres [N, K, 2] black, the one of an index red."""
    means = maps.mean(-1)
    low, high = (f(means, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    pictures = np.repeat((255 * (means - low) / (high - low)).astype(np.uint8)[..., None], 3, axis=3)
    size = np.array(maps.shape[1:3])
    for picture, centres in zip(pictures, at):
        for number in sorted(range(len(centres)), key=lambda k: k == index):  # the moved one above the others
            y, x = np.clip(np.round((centres[number] + 1) / 2 * (size - 1)), 0, size - 1).astype(int)
            picture[y, x] = (255, 0, 0) if number == index else 0
    return pictures


def write(out: Path, frames: np.ndarray, placement: heatmaps.Placement, drag: dragging.Drag, values: Any) -> None:
    """The moving picture, the frames, the sheet, the table."""
    for stale in (*out.glob("frame*.png"), out / "move.gif", out / "move.mp4"):
        stale.unlink(missing_ok=True)  # of an earlier drag in the folder
    scale = max(1, 256 // frames.shape[1])
    if "gif" in values.format:
        timing = max(20, round(1000 / values.fps))
        write_atomic(out / "move.gif", movie.encode_gif(frames, timing, scale=scale))
    if "mp4" in values.format:
        write_atomic(out / "move.mp4", movie.encode_mp4(frames, values.fps, scale))
    for number, frame in enumerate(frames):
        save_png(out / f"frame{number:04d}.png", frame)
    shown = np.unique(np.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).round().astype(int))
    rgb = np.repeat(frames, 3, axis=3) if frames.shape[3] == 1 else frames[..., :3]
    at, size = np.asarray(heatmaps.centres(placement)[drag.level]), frames.shape[1:3]
    heat = marked(np.asarray(heatmaps.render(placement, size)[drag.level])[shown], at[shown], drag.index)
    changed = np.abs(frames[shown].astype(int) - frames[:1]).mean(3, keepdims=True)
    changed = np.repeat((255 - 255 * changed / max(changed.max(), 1)).astype(np.uint8), 3, axis=3)
    sheet = image_grid(np.concatenate([rgb[shown], heat, changed]), columns=len(shown))
    save_png(out / "sheet.png", sheet, scale=max(1, 1200 // sheet.shape[1]))
    about = {name: values[name].value for name in ("run", "weights", "seed", "label", "truncation_psi")}
    about |= {"level": values.level, "index": drag.index, "linked": drag.linked}
    about |= {"from": [round(float(n), 4) for n in drag.start], "to": list(drag.end)}
    kept = about | {"frames": table(placement, frames, drag.level)}
    write_atomic(out / "table.json", (json.dumps(kept, indent=1) + "\n").encode())
