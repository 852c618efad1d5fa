"""Turns scribbles into realistic pictures, or an inverted photograph into an edited one: a sheet and a table.

jaxgan scribble --run=runs/fashion --scribble=drawing.png [--photo=photo.jpg] --out=DIR
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxgan import checkpoint
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, check_writable
from jaxgan.cli.invert import WORK, reporting_network, save_latents
from jaxgan.cli.photo_edit import inverted_photo, transferred
from jaxgan.cli.sample import check_label
from jaxgan.data.photos import Photos, read_photos
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load
from jaxgan.features.networks import Network
from jaxgan.latent.brushes import Strokes, Warp, apply_warps, parse_warp, read_scribble, read_sketch, unite
from jaxgan.latent.invert import Inversion, check_config
from jaxgan.latent.measures import network_label
from jaxgan.latent.scribble import nearest_real, scribble
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.latent.stream import digest
from jaxgan.report import (
    facts_section,
    image_grid,
    picture_section,
    save_png,
    table_section,
    text_table,
    to_uint8,
    write_atomic,
    write_page,
)

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "how: scribble (default), scribble_photo (with --photo), scribble_plain, or a file")
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_list("scribble", [], "drawings on transparent ground (RGBA) or folders of them", flag_values=FLAGS)
flags.DEFINE_string("mask", None, "where a single --scribble counts, instead of its alpha", flag_values=FLAGS)
flags.DEFINE_list("sketch", [], "drawings of which the lines count (one a --scribble, or alone)", flag_values=FLAGS)
flags.DEFINE_multi_string("warp", [], "x,y,dx,dy,size: a patch of --photo dragged; may be repeated", flag_values=FLAGS)
flags.DEFINE_string("photo", None, "a photograph that is inverted first and edited by what is drawn", flag_values=FLAGS)
flags.DEFINE_enum("fit", "crop", ["crop", "pad"], "of drawings and --photo of another shape", flag_values=FLAGS)
flags.DEFINE_bool("compare", True, "also run scribble_plain, for the table before and after", flag_values=FLAGS)
flags.DEFINE_string("space", None, "z, w or w+", flag_values=FLAGS)
flags.DEFINE_integer("steps", None, "of the optimisation", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("batch", None, "images a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_integer("label", None, "class, for a generator of classes", flag_values=FLAGS)
flags.DEFINE_string("data", "", "real images to compare with; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

_HOG = 10.0  # weight of shape where lines are drawn and the config has none
_BACKGROUND = 0.25  # grey level of a sheet where nothing is drawn


class Drawn(NamedTuple):
    """What was drawn: names [N], colours [N, H, W, C], masks and sketches [N, H, W, 1] (or None)."""

    names: tuple[str, ...]
    colours: np.ndarray
    masks: np.ndarray
    sketches: np.ndarray | None


def run(values: flags.FlagValues) -> None:
    """Checks everything, runs the programs, measures, writes."""
    config = read(values, values.config or ("scribble_photo" if values.photo else "scribble"))
    values.scribble = drawing_files(values.scribble)
    programs = {"revised" if values.compare else "result": config}
    if values.compare:
        programs = {"plain": plain(config, values.space)} | programs
    model = load(values.run, values.weights)
    for program in programs.values():
        check_config(program.to_dict(), model.gan.generator)
    network = reporting_network(config)
    out = Path(values.out)
    check_writable(out)
    shape = model.gan.generator.image_shape
    photo = read_photos(values.photo, shape, fit=values.fit) if values.photo else None
    check_label(model, values.label)
    check_photo(values, photo, config)
    if photo:
        print(photo.note)
    warps = [parse_warp(text) for text in values.warp]
    drawn = read_drawn(values, shape)
    stats = statistics(model.gan.generator, model.variables["generator"])
    before = inverted_photo(model, photo, config, out, values.label) if photo else None
    drawn = with_warps(drawn, warps, before)
    results = {
        name: solved(model, drawn, program, out / WORK / name, stats, before, values.label)
        for name, program in programs.items()
    }
    reals = near_reals(model, values.data) if network is not None else None
    rows = [row for name, found in results.items() for row in table(drawn, name, found, network, reals)]
    edit = []
    if before is not None:
        save_latents(out / "photo.npz", photo.names, before, config.space)
        edited = transferred(out, model, values.photo, values.fit, before, list(results.values())[-1])
        edit = [("at the generator's size", photo.images[0]), ("inverted", to_uint8(before.images[0]))]
        edit += [("edited, at its own size", edited)]
    write(out, model, drawn, results, rows, programs, edit)
    shutil.rmtree(out / WORK)
    print(text_table(rows))
    print(f"report: {out / 'report.html'}")


def read(values: flags.FlagValues, name: str) -> ConfigDict:
    """A config of scribbles, with what the flags say."""
    config = configs.load(name)
    if "search" not in config:
        raise UserError(f"--config={name} is no config of scribbles; start from configs/scribble.py")
    configs.override(config, values.overrides)
    for field in ("space", "steps", "batch"):
        if getattr(values, field) is not None:
            config[field] = getattr(values, field)
    for field in ("candidates", "steps", "kept"):
        if config.search[field] < 1:
            raise UserError(f"config.search.{field}={config.search[field]} must be 1 or more")
    if (values.sketch or values.warp) and not config.weights.hog:
        config.weights.hog = _HOG
    if config.snapshots:  # those that are reached, and the end
        config.snapshots = tuple(sorted({s for s in config.snapshots if s <= config.steps} | {config.steps}))
    return config


def plain(config: ConfigDict, space: str | None = None) -> ConfigDict:
    """scribble_plain, in its own space or another, with the steps and optimiser of another config."""
    found = configs.load("scribble_plain")
    found.space = space or found.space
    for field in ("steps", "batch", "seed", "optimizer", "snapshots", "report", "trunk", "trunk_weights"):
        found[field] = config[field]
    for field in ("l1", "l2", "conv", "gram", "hog"):
        found.weights[field] = config.weights[field]
    return found


def check_photo(values: flags.FlagValues, photo: Photos | None, config: ConfigDict) -> None:
    """Raises UserError for what goes together only with, or only without, a photograph."""
    if not (values.scribble or values.sketch or values.warp):
        raise UserError("nothing is drawn; give --scribble=drawing.png, --sketch or --warp")
    if values.warp and photo is None:
        raise UserError("--warp drags a patch of a photograph; give --photo")
    if photo is not None and config.space == "z":
        raise UserError("a photograph is edited in w or w+, which its inversion ends in; give --space=w+")
    if photo is not None and len(photo.names) != 1:
        raise UserError(f"--photo={values.photo} holds {len(photo.names)} pictures; give one")
    if photo is not None and max(len(values.scribble), len(values.sketch)) > 1:
        raise UserError("--photo is edited by one drawing; give one --scribble and one --sketch at most")
    if values.mask and len(values.scribble) != 1:
        raise UserError("--mask goes with a single --scribble")
    if values.scribble and values.sketch and len(values.scribble) != len(values.sketch):
        raise UserError(f"{len(values.scribble)} scribbles and {len(values.sketch)} sketches; give as many of each")


def read_drawn(values: flags.FlagValues, shape: tuple[int, int, int]) -> Drawn:
    """All drawings at the generator's size, without the warps."""
    colours = [read_scribble(p, shape, mask_path=values.mask, fit=values.fit) for p in values.scribble]
    lines = [read_sketch(p, shape, fit=values.fit) for p in values.sketch]
    names = tuple(Path(p).stem for p in (values.scribble or values.sketch)) or ("warp",)
    nothing = Strokes(np.zeros(shape, np.float32), np.zeros((*shape[:2], 1), np.float32))
    colours = colours or [nothing] * len(names)
    targets = [unite(line, colour) for line, colour in zip(lines, colours)] if lines else colours
    return Drawn(
        names,
        np.stack([t.colours for t in targets]),
        np.stack([c.mask for c in colours]),
        np.stack([line.mask for line in lines]) if lines else None,
    )


def with_warps(drawn: Drawn, warps: list[Warp], before: Inversion) -> Drawn:
    """One drawing over patches of the inverted photograph, which ask for their colours and their edges."""
    if not warps:
        return drawn
    patches = apply_warps(before.images[0], warps)
    sketch = np.zeros_like(drawn.masks[0]) if drawn.sketches is None else drawn.sketches[0]
    everything = Strokes(drawn.colours[0], np.maximum(drawn.masks[0], sketch))
    masks, sketches = (unite(patches, Strokes(drawn.colours[0], m)).mask[None] for m in (drawn.masks[0], sketch))
    return Drawn(drawn.names, unite(patches, everything).colours[None], masks, sketches)


def drawing_files(sources: Sequence[str]) -> list[str]:
    """The files themselves, and the PNGs of folders in order of name.

    Raises:
        UserError: a folder has none.
    """
    files = []
    for source in sources:
        inside = sorted(map(str, Path(source).glob("*.png"))) if Path(source).is_dir() else [source]
        if not inside:
            raise UserError(f"{source} holds no .png; give drawings on transparent ground")
        files += inside
    return files


def solved(
    model: Model,
    drawn: Drawn,
    config: ConfigDict,
    folder: Path,
    stats: Statistics,
    before: Inversion | None = None,
    label: int | None = None,
) -> Inversion:
    """One program for all drawings, with a bar, continued where an earlier one was interrupted."""
    sketches = () if drawn.sketches is None else (drawn.sketches,)
    start = None if before is None else np.repeat(before.ws, len(drawn.names), 0)
    identity = {
        "config": config.to_dict(),
        "images": digest(drawn.colours, drawn.masks, *sketches),
        "start": None if start is None else digest(start),
        "label": label,
        "model": checkpoint.digest(model.variables["generator"]),
    }
    with progress_bar("drawing") as bar:
        return scribble(
            model.gan,
            model.variables["generator"],
            model.variables.get("discriminator"),
            drawn.colours,
            drawn.masks,
            config.to_dict(),
            sketches=drawn.sketches,
            labels=label,
            start=start,
            stats=stats,
            folder=folder,
            identity=identity,
            progress=bar,
        )


def near_reals(model: Model, data: str) -> np.ndarray | None:
    """The real images to compare with, or None where they are not at hand."""
    source, split = (data, "train") if data else (model.config.data.source, model.config.data.split)
    try:
        with progress_bar("decoding") as bar:
            images = open_images(source, split=split, progress=bar)
    except UserError as error:
        print(f"no distance to real images is reported: {error}")
        return None
    if (*images.resolution, images.channels) != tuple(model.gan.generator.image_shape):
        print(f"no distance to real images is reported: those of {source} have another size")
        return None
    return images.gather(np.arange(len(images)))


def table(
    drawn: Drawn, name: str, found: Inversion, network: Network | None, reals: np.ndarray | None
) -> list[dict[str, Any]]:
    """A row a drawing."""
    columns: dict[str, np.ndarray] = {"masked L1": masked_l1(drawn, found.images), "prior": found.prior}
    if found.logits is not None:
        columns["D"] = found.logits
    if network is not None and reals is not None:
        columns[f"{network_label(network.name)} to the nearest real"] = nearest_real(
            found.images, reals, network
        ).distance
    columns |= {"evaluations": found.evaluations, "seconds": found.seconds}
    return [
        {"drawing": drawing, "program": name} | {k: v[i].item() for k, v in columns.items()}
        for i, drawing in enumerate(drawn.names)
    ]


def masked_l1(drawn: Drawn, images: np.ndarray) -> np.ndarray:
    """Mean absolute difference where something is drawn, [N], in [-1, 1]."""
    difference = np.abs(images - drawn.colours) * drawn.masks
    return difference.sum((1, 2, 3)) / np.maximum(images.shape[-1] * drawn.masks.sum((1, 2, 3)), 1e-5)


def write(
    out: Path,
    model: Model,
    drawn: Drawn,
    results: Mapping[str, Inversion],
    rows: list[dict],
    programs: Mapping[str, ConfigDict],
    edit: list[tuple[str, np.ndarray]],
) -> None:
    """Pictures, latents, sheet, table, configs, report; `edit` is of a photograph, pictures with captions."""
    for name, found in results.items():
        save_latents(out / f"{name}.npz", drawn.names, found, programs[name].space)
        write_atomic(out / f"config-{name}.json", configs.to_json(programs[name]).encode())
        for drawing, image in zip(drawn.names, found.images):
            save_png(out / f"{drawing}-{name}.png", image)
    sheet = side_by_side(drawn, results)
    save_png(out / "sheet.png", sheet, scale=max(1, min(4, 1600 // sheet.shape[1])))
    write_atomic(out / "table.json", (json.dumps(rows, indent=1) + "\n").encode())
    snapshots = [
        (f"{name}, after {', '.join(map(str, programs[name].snapshots))} steps", stages(found.snapshots))
        for name, found in results.items()
        if found.snapshots is not None
    ]
    facts = {"generator": repr(model), "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}
    write_page(
        out / "report.html",
        f"{len(drawn.names)} scribbles",
        [
            facts_section("Summary", facts | {name: described(program) for name, program in programs.items()}),
            picture_section("Drawings and results", [(f"drawing, {', '.join(results)}", sheet)]),
            picture_section("The photograph", edit),
            picture_section("On the way", snapshots),
            table_section("Each drawing", rows),
        ],
    )


def described(config: ConfigDict) -> str:
    """A program in words."""
    terms = ", ".join(f"{weight:g} {name}" for name, weight in config.weights.items() if weight)
    search = f", the best {config.search.kept} of {config.search.candidates} candidates"
    return (
        f"{terms} in {config.space}, {config.steps} steps of {config.optimizer.kind}"
        f"{search if config.search.candidates > 1 else ''}"
    )


def stages(snapshots: np.ndarray) -> np.ndarray:
    """Snapshots [S, N, H, W, C]: a row a drawing."""
    return image_grid(snapshots.swapaxes(0, 1).reshape(-1, *snapshots.shape[2:]), columns=len(snapshots))


def side_by_side(drawn: Drawn, results: Mapping[str, Inversion]) -> np.ndarray:
    """A row a drawing: what is drawn on grey, then each program's result."""
    masks = drawn.masks if drawn.sketches is None else np.maximum(drawn.masks, drawn.sketches)
    shown = drawn.colours * masks + _BACKGROUND * (1 - masks)
    columns = [to_uint8(shown), *(to_uint8(found.images) for found in results.values())]
    return image_grid(np.stack(columns, 1).reshape(-1, *shown.shape[1:]), columns=len(columns), padding=4)
