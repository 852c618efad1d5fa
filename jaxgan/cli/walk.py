"""Walks between latents: a GIF or MP4 for each, a sheet, a table of how smoothly they move.

jaxgan walk --run=runs/fashion (--seeds=0-7 | --latents=FILE.npz) [--kind=linear|slerp|spline|mixing] --out=DIR
"""

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan import memory, movie
from jaxgan.cli import check_writable
from jaxgan.cli.latents import as_found, checked, of_seeds
from jaxgan.cli.sample import parse_seeds
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load
from jaxgan.features.networks import Network
from jaxgan.features.networks import load as load_network
from jaxgan.latent import walk
from jaxgan.latent.keys import Keys, parse_pair, read_latents
from jaxgan.latent.measures import network_label
from jaxgan.latent.space import has_mapping
from jaxgan.networks.gan import check_truncation, truncate, z_shape
from jaxgan.report import (
    facts_section,
    image_grid,
    picture_section,
    save_png,
    table_section,
    text_table,
    write_atomic,
    write_page,
)

KINDS = ("linear", "slerp", "spline", "mixing")
FORMATS = ("gif", "mp4")

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_string("seeds", None, "numbers and ranges: 0-7 (default) or 1,5,10-20", flag_values=FLAGS)
flags.DEFINE_string("latents", None, "latents.npz of `jaxgan invert`, instead of --seeds", flag_values=FLAGS)
flags.DEFINE_list("pairs", [], "walks as FROM:TO, seeds or names; by default each to the next", flag_values=FLAGS)
flags.DEFINE_enum(
    "kind",
    None,
    KINDS,
    "straight lines in w (default), great circles in z (default where there is no w), one curve through all, or layer "
    "after layer",
    flag_values=FLAGS,
)
flags.DEFINE_integer("frames", 20, "from one latent to the next, both counted", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_bool("closed", False, "from the last back to the first too", flag_values=FLAGS)
flags.DEFINE_float("truncation_psi", 1.0, "towards the mean below 1", flag_values=FLAGS)
flags.DEFINE_enum(
    "noise",
    None,
    ["const", "none", "random"],
    "the noise maps, the same in all frames; by default those of --latents where it has some, else const",
    flag_values=FLAGS,
)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_integer("label", None, "class of all seeds; by default the seed modulo the classes", flag_values=FLAGS)
flags.DEFINE_float("fps", 20.0, "frames a second of GIF and MP4", flag_values=FLAGS)
flags.DEFINE_integer("batch", 64, "frames a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_list("format", ["gif"], f"of {', '.join(FORMATS)}", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

_SHOWN = 64  # walks on the sheet and in the report
_MIXED = 6  # latents in the tables of style mixing
_PERCEPTUAL = "stlpips-alex"


@dataclasses.dataclass(frozen=True)
class Walks:
    """What is walked: the kind, and each walk as the numbers of its key points in order."""

    kind: str
    members: list[tuple[int, ...]]
    frames: int
    closed: bool = False

    @property
    def loop(self) -> bool:
        """Whether a walk's last frame is followed by its first."""
        return self.closed and self.kind == "spline"

    @property
    def length(self) -> int:
        """Frames of a walk."""
        if self.kind != "spline":
            return self.frames
        return (len(self.members[0]) - (not self.loop)) * (self.frames - 1) + (not self.loop)

    @property
    def ends(self) -> list[tuple[int, int]]:
        """The first and the last key point of each."""
        return [(m[0], m[0] if self.loop else m[-1]) for m in self.members]


def run(values: flags.FlagValues) -> None:
    """Checks everything, renders, measures, writes."""
    check_flags(values)
    if values.latents:
        keys = read_latents(values.latents)
    else:
        keys = Keys([str(seed) for seed in parse_seeds(values.seeds or "0-7")])
    model = load(values.run, values.weights)
    model = as_found(model, keys)
    walks = choose_walks(values, keys, model)
    keys, labels = complete(keys, model, values, walks.kind)
    noise, described = choose_noise(values.noise, keys, model)
    network = measuring_network()
    out = Path(values.out)
    print(check_size(walks, model.gan.generator, keys.ws[0].size))
    check_writable(out)
    generator, variables = model.gan.generator, model.variables["generator"]
    ws = frames_ws(walks, keys, labels, model, values.truncation_psi)
    held = noise_of(noise, [m[0] for m in walks.members])
    beside = frames_extras(walks, keys)
    with progress_bar("rendering") as bar:
        rendered = walk.render(generator, variables, ws, held, values.batch, bar, extras=beside)
    smooth, tables, captions = None, {}, {}
    if network is not None:
        with progress_bar("measuring") as bar:
            smooth = walk.smoothness(network, rendered.frames, walks.loop, bar)
    if walks.kind == "mixing":
        mixed = truncated(model, keys.ws[:_MIXED], values.truncation_psi)
        held = noise_of(noise, list(range(len(mixed))))
        beside = None if keys.extras is None else keys.extras[:_MIXED]
        tables = walk.mixing_tables(generator, variables, mixed, held, values.batch, beside)
        captions = mixing_captions(keys.names[:_MIXED], generator)
    facts = {
        "generator": repr(model),
        "kind": f"{walks.kind}, closed" if walks.closed else walks.kind,
        "truncation_psi": values.truncation_psi,
        "noise": f"{described}; the same in all frames of a walk",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "compilation, s": round(rendered.compile_seconds, 1),
    }
    if network is not None:
        facts["distance of neighbours"] = f"{network_label(network.name)}, {network.weights} {network.sha256[:12]}"
    rows = table(walks, keys, rendered, smooth, network)
    pictures = write_movies(out, rows, rendered.frames, walks, values)
    write_pages(out, facts, rows, pictures, sheets(rendered.frames, walks, tables), captions)
    print("\n".join([text_table(rows), *captions.values()]))
    print(f"report: {out / 'report.html'}")


def check_flags(values: flags.FlagValues) -> None:
    """Raises UserError for flags that are wrong whatever the model."""
    if values.latents and values.seeds:
        raise UserError("--seeds and --latents exclude each other; give one of the two")
    if values.latents and values.label is not None:
        raise UserError("--label goes with --seeds; the latents of --latents have their class in them")
    if values.pairs and values.kind == "spline":
        raise UserError("--pairs does not go with --kind=spline, one walk through all; order them with --seeds=4,1,3")
    if values.pairs and values.closed:
        raise UserError("--closed does not go with --pairs; add the pair that leads back")
    if not np.isfinite(values.truncation_psi):
        raise UserError(f"--truncation_psi={values.truncation_psi} is no number; 1 is none, 0 the mean")
    check_formats(values.format)
    fastest = 50 if "gif" in values.format else 240
    if not 0.1 <= values.fps <= fastest:
        raise UserError(
            f"--fps={values.fps:g} must lie between 0.1 and {fastest} for --format={','.join(values.format)}"
        )


def check_formats(formats: list[str]) -> None:
    """Raises UserError for a format of moving pictures that is not known, or whose program is missing."""
    if not formats or any(f not in FORMATS for f in formats):
        raise UserError(f"--format={','.join(formats)} is not known; use gif, mp4 or gif,mp4")
    if "mp4" in formats:
        movie.find_ffmpeg()


def choose_walks(values: flags.FlagValues, keys: Keys, model: Model) -> Walks:
    """The kind and the walks that the flags ask for.

    Raises:
        UserError: there are fewer than two latents, a name is unknown, or the generator or the latents do not have that
            kind.
    """
    generator, count = model.gan.generator, len(keys.names)
    # The class that z is mapped with is not in the file.
    has_z = not values.latents or (keys.z is not None and not generator.num_classes)
    plain = "slerp" if has_z and not has_mapping(generator) else "linear"
    kind = values.kind or plain
    if count < 2:
        given = f"--latents={values.latents}" if values.latents else f"--seeds={values.seeds}"
        raise UserError(f"{given} has {count} latent{'s' * (count != 1)}; a walk needs two or more")
    if kind == "slerp" and not has_z:
        lack = "the class of each z" if keys.z is not None else "latents of an inversion in --space=z"
        raise UserError(
            f"--kind=slerp needs z, and --latents={values.latents} does not hold {lack}; use --kind=linear or spline"
        )
    if kind == "mixing" and generator.num_ws < 2:
        raise UserError(f"--kind=mixing needs layers, and this generator takes one latent for all; use --kind={plain}")
    if kind == "spline":
        members = [tuple(range(count))]
    elif values.pairs:
        members = [parse_pair(text, keys.names) for text in values.pairs]
    else:
        members = [(i, i + 1) for i in range(count - 1)]
        members += [(count - 1, 0)] if values.closed and count > 2 else []
    return Walks(kind, members, values.frames, values.closed)


def complete(keys: Keys, model: Model, values: flags.FlagValues, kind: str) -> tuple[Keys, np.ndarray | None]:
    """Keys with ws, checked against the generator; the classes of seeds, [K], or None.

    Raises:
        UserError: a wrong --label, a truncation that changes nothing, or latents of another generator.
    """
    check_truncation(model.gan.generator, values.truncation_psi)
    if keys.ws is not None:
        keys = checked(keys, model, values.latents)
        if kind == "slerp" and not _mapped(keys, model):
            raise UserError(
                f"--latents={values.latents}: this generator does not map its z to its ws; use the --run and --weights "
                "that they were found with, or --kind=linear"
            )
        return keys, None
    return of_seeds(model, [int(name) for name in keys.names], values.label)


def _mapped(keys: Keys, model: Model) -> bool:
    """Whether ws are the map of z, but for rounding."""
    wanted = (len(keys.names), *z_shape(model.gan.generator))
    if keys.z.shape != wanted or not np.issubdtype(keys.z.dtype, np.floating):
        return False
    return np.allclose(model.map(jnp.asarray(keys.z, jnp.float32)), keys.ws, rtol=0.01, atol=0.01)


def check_size(walks: Walks, generator: nn.Module, numbers: int) -> str:
    """The frames of all walks, which are held at once, each with ws of so many numbers, and their memory in words.

    Raises:
        UserError: they are more than this machine's memory has room for.
    """
    count, (height, width, channels) = len(walks.members), generator.image_shape
    frame = height * width * channels + 2 * 4 * numbers  # and its ws, with a copy
    needed, free = count * walks.length * frame, memory.free_on_host()
    said = f"{count} walk{'s' * (count != 1)} of {walks.length} frames, {width}x{height}"
    if free is not None and needed > free:
        raise UserError(
            f"{said}, need {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; lower --frames or "
            "give fewer latents or --pairs"
        )
    return f"{said}: {needed / 2**20:.2f} MiB of memory"


def measuring_network() -> Network | None:
    """The network of the distance between frames; None, with a line that says so, where it is not installed."""
    try:
        return load_network(_PERCEPTUAL)
    except UserError as error:
        print(f"no smoothness is reported: {error}")
        return None


def choose_noise(asked: str | None, keys: Keys, model: Model) -> tuple[str | tuple[Any, ...], str]:
    """The noise, and what it is in words: "const", "none", or maps of each layer, [K, H, W, 1] that were found with the
    latents or one draw [1, H, W, 1].

    Raises:
        UserError: the latents' maps are those of another generator.
    """
    generator = model.gan.generator
    if asked == "random":
        return walk.held_noise(generator, jax.random.key(0)), "one random draw"
    if asked is None and keys.noise:
        return walk.check_noise(generator, keys.noise, len(keys.names)), "found with the first end point"
    return asked or "const", asked or "const"


def noise_of(noise: str | tuple[Any, ...], chosen: list[int]) -> str | tuple[Any, ...]:
    """The maps of some of the key points."""
    if isinstance(noise, str):
        return noise
    return tuple(m if m.shape[0] == 1 else m[np.asarray(chosen)] for m in noise)


def truncated(model: Model, ws: np.ndarray, psi: float) -> np.ndarray:
    """ws drawn towards the mean; as they are for psi = 1."""
    return ws if psi == 1.0 else np.asarray(truncate(model.gan.generator, model.w_avg, ws, psi))


def frames_ws(walks: Walks, keys: Keys, labels: np.ndarray | None, model: Model, psi: float) -> np.ndarray:
    """ws of all frames, [P, N, num_ws, w_dim]; those of the key points are exactly the keys'."""
    chosen, ws = np.asarray(walks.members), truncated(model, keys.ws, psi)
    if walks.kind == "slerp":
        generator, variables = model.gan.generator, model.variables["generator"]
        z = walk.slerp(keys.z[chosen], walks.frames)
        ends = None if labels is None else jnp.asarray(labels[chosen])
        frames = np.array(walk.map_frames(generator, variables, z, ends, model.w_avg, psi))
        frames[:, 0], frames[:, -1] = ws[chosen[:, 0]], ws[chosen[:, 1]]  # mapping rounds otherwise in another batch
        return frames
    if walks.kind == "spline":
        return np.asarray(walk.spline(ws, walks.frames, walks.closed))
    return np.asarray({"linear": walk.linear, "mixing": walk.mixing}[walks.kind](ws[chosen], walks.frames))


def frames_extras(walks: Walks, keys: Keys) -> np.ndarray | None:
    """What the generator takes beside ws in all frames, [P, N, D]: on straight lines between the key points."""
    if keys.extras is None:
        return None
    if walks.kind != "spline":
        return np.asarray(walk.linear(keys.extras[np.asarray(walks.members)], walks.frames))
    # A spline swings beyond its points, and the least width of a heatmap is near to none.
    splined = np.asarray(walk.spline(keys.extras, walks.frames, walks.closed))
    return np.clip(splined, keys.extras.min(0), keys.extras.max(0))


def table(
    walks: Walks, keys: Keys, rendered: walk.Rendered, smooth: walk.Smoothness | None, network: Network | None
) -> list[dict[str, Any]]:
    """A row a walk."""
    count, height, width = rendered.frames.shape[1:4]
    speed = round(rendered.frames.shape[0] * count / rendered.seconds, 1)
    rows = []
    for i, (first, last) in enumerate(walks.ends):
        row = {"from": keys.names[first], "to": keys.names[last], "kind": walks.kind, "frames": count}
        if smooth is not None:
            label = network_label(network.name)
            row |= {f"{label} mean": float(smooth.mean[i]), f"{label} max": float(smooth.max[i])}
            row |= {"max / mean": float(smooth.ratio[i])}
        if keys.loss is not None:
            losses = (float(keys.loss[m]) for m in walks.members[i])
            row["loss"] = [loss if np.isfinite(loss) else None for loss in losses]
        rows.append(row | {"frames/s": speed, "resolution": f"{width}x{height}"})
    return rows


def write_movies(
    out: Path, rows: list[dict[str, Any]], frames: np.ndarray, walks: Walks, values: flags.FlagValues
) -> list[tuple[str, tuple[bytes, str]]]:
    """A GIF and an MP4 of each walk, as asked for, named in its row; the GIFs for the report."""
    scale = max(1, 128 // max(frames.shape[2:4]))
    timing = {"milliseconds": max(20, round(1000 / values.fps)), "ping_pong": not walks.loop}
    pictures = []
    for row, stem, moving in zip(rows, stems(rows), frames):
        row["file"] = ", ".join(f"{stem}.{kind}" for kind in FORMATS if kind in values.format)
        gif = movie.encode_gif(moving, scale=scale, **timing) if "gif" in values.format else b""
        if gif:
            write_atomic(out / f"{stem}.gif", gif)
        if "mp4" in values.format:
            write_atomic(out / f"{stem}.mp4", movie.encode_mp4(moving, values.fps, scale))
        if len(pictures) < _SHOWN:
            small = movie.shrink(moving, 256)
            if small is not moving or not gif:
                gif = movie.encode_gif(small, scale=scale, **timing)
            pictures.append((f"{row['from']} to {row['to']}", (gif, "image/gif")))
    return pictures


def sheets(frames: np.ndarray, walks: Walks, tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{"walks": a row a walk, of a spline a row from each key point to the next; "mixing-coarse": ...}."""
    columns = walks.frames - 1 if walks.kind == "spline" else walks.frames
    many = {"walks": (frames[:_SHOWN], columns)} | {f"mixing-{k}": (v, v.shape[1]) for k, v in tables.items()}
    found = {}
    for name, (images, columns) in many.items():
        found[name] = image_grid(movie.shrink(images.reshape(-1, *images.shape[2:]), 128), columns=columns)
    return found


def mixing_captions(names: list[str], generator: nn.Module) -> dict[str, str]:
    """What the tables of style mixing show, by the names of their sheets."""
    found = {}
    for name, (first, last) in walk.layer_ranges(generator.num_ws).items():
        layers = f"layer {first}" if last - first == 1 else f"layers {first} to {last - 1}"
        found[f"mixing-{name}"] = (
            f"mixing-{name}: {layers} of 0 to {generator.num_ws - 1} from the column's latent, the others from the "
            f"row's; both are {', '.join(names)}"
        )
    return found


def write_pages(
    out: Path,
    facts: dict[str, Any],
    rows: list[dict[str, Any]],
    pictures: list[tuple[str, tuple[bytes, str]]],
    sheets: dict[str, np.ndarray],
    captions: dict[str, str],
) -> None:
    """The sheets, walks.json, report.html; `captions` are of sheets whose names do not say enough."""
    for name, sheet in sheets.items():
        save_png(out / f"{name}.png", sheet, scale=max(1, min(4, 1600 // sheet.shape[1])))
    write_atomic(out / "walks.json", (json.dumps(facts | {"walks": rows}, indent=1) + "\n").encode())
    sections = [
        facts_section("Summary", facts),
        picture_section("Walks", pictures),
        picture_section("Frames", [(captions.get(name, name), sheet) for name, sheet in sheets.items()]),
        table_section("Each walk", rows),
    ]
    write_page(out / "report.html", f"{len(rows)} walk{'s' * (len(rows) != 1)}, {rows[0]['kind']}", sections)


def stems(rows: list[dict[str, Any]]) -> list[str]:
    """A file name for each walk, without its ending: its end points, and a number where that is not unique."""
    found: dict[str, None] = {}
    for row in rows:
        ends = (re.sub(r"[^\w.-]+", "_", row[end])[:80].strip("._") or "latent" for end in ("from", "to"))
        plain = "-".join(ends)
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        found[next(stem for stem in numbered if stem not in found)] = None
    return list(found)
