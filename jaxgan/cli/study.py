"""Compares models, spaces and perceptual weights on held-out images, and programs on scribbles: tables, sheets, walks.

jaxgan study [--config=study_inversion] --out=DIR
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan import movie
from jaxgan.cli import DEFINE_config, check_writable
from jaxgan.cli.invert import WORK, inverted, reporting_network, save_latents
from jaxgan.cli.scribble import Drawn, drawing_files, near_reals, plain, side_by_side, stages, table
from jaxgan.cli.scribble import solved as drawn_by
from jaxgan.data.embedded import DRAWINGS
from jaxgan.data.photos import Photos, read_photos
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load
from jaxgan.features.networks import Network
from jaxgan.latent.brushes import read_scribble
from jaxgan.latent.invert import Inversion, check_config
from jaxgan.latent.measures import network_label, quality
from jaxgan.latent.spaces import statistics
from jaxgan.latent.walk import linear, render, smoothness
from jaxgan.report import (
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
DEFINE_config(FLAGS, "what is compared: study_inversion (default), or a file")
flags.DEFINE_integer("count", None, "images", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_integer("steps", None, "of every inversion", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

_SHOWN = 4  # images of the contact sheet


def run(values: flags.FlagValues) -> None:
    """Checks every set-up, runs what is not done yet, writes the table, the sheet and the walks."""
    config = read(values)
    models = {run: load(run) for run, _ in config.pairs}
    setups = [(run, space, weight) for run, space in config.pairs for weight in config.perceptual]
    for run_name, space, weight in setups:
        check_config(setup_config(config, space, weight).to_dict(), models[run_name].gan.generator)
    network = reporting_network(config.invert)
    shapes = {model.gan.generator.image_shape for model in models.values()}
    if len(shapes) > 1:
        raise UserError(f"config.pairs: the generators make images of {' and '.join(map(str, shapes))}; take one size")
    series_of = open_scribbles(config, models) if config.scribbles.run else None
    photos = read_photos(config.source, shapes.pop(), split=config.split, first=config.first, count=config.count)
    out = Path(values.out)
    check_writable(out)
    rows, found = [], {}
    for setup in setups:
        print(f"{len(rows) + 1} of {len(setups)}: {setup_name(*setup)}")
        found[setup] = solved(models[setup[0]], photos, setup_config(config, *setup[1:]), out, setup)
        rows.append(row(setup, photos, found[setup], network))
    best = min(found, key=lambda setup: found[setup].terms["l1"].mean())
    moved = walks(out, models[best[0]], photos, found[best], config, network)
    series = scribbles(out, *series_of, config, network) if series_of else Series([], [])
    write(out, photos, found, rows, moved, best, series)
    shutil.rmtree(out / WORK)
    print(text_table(rows))
    if series.rows:
        print(text_table(series.rows))
    print(f"report: {out / 'report.html'}")


def read(values: flags.FlagValues) -> ConfigDict:
    """The config, with what the flags say."""
    config = configs.load(values.config or "study_inversion")
    if "pairs" not in config:
        raise UserError(f"--config={values.config} is no config of a study; start from configs/study_inversion.py")
    configs.override(config, values.overrides)
    config.count = values.count or config.count
    config.invert.steps = values.steps or config.invert.steps
    return config


def setup_config(config: ConfigDict, space: str, weight: float) -> ConfigDict:
    """The inversion of one set-up."""
    found = ConfigDict(config.invert.to_dict())
    found.space, found.weights.conv = space, weight
    return found


def setup_name(run: str, space: str, weight: float) -> str:
    """A set-up in words."""
    return f"{Path(run.removeprefix('zoo:')).name} {space}, conv_5 x {weight:g}"


def solved(model: Model, photos: Photos, config: ConfigDict, out: Path, setup: tuple[str, str, float]) -> Inversion:
    """The inversion of one set-up; kept in the work folder, so that an interrupted study goes on with the next."""
    stem = setup_name(*setup).replace(" ", "-").replace(",", "").replace("+", "plus")
    return inverted(model, photos, config, out / WORK / stem)


def row(setup: tuple[str, str, float], photos: Photos, found: Inversion, network: Network | None) -> dict[str, Any]:
    """Means over the images, and the standard deviation of those that matter."""
    run, space, weight = setup
    measured: Mapping[str, np.ndarray] = quality(photos.images, found.images, network)
    columns = {"model": Path(run.removeprefix("zoo:")).name, "space": space, "conv_5 weight": weight}
    columns["first loss"], columns["last loss"] = float(found.losses[0].mean()), float(found.loss.mean())
    for name, numbers in {"L1": found.terms["l1"], **measured, "prior": found.prior}.items():
        columns[name] = f"{numbers.mean():.4g} ± {numbers.std():.2g}"
    if found.logits is not None:
        columns["D"] = float(found.logits.mean())
    return columns | {"evaluations": int(found.evaluations.mean()), "s an image": float(found.seconds.mean())}


def walks(
    out: Path, model: Model, photos: Photos, found: Inversion, config: ConfigDict, network: Network | None
) -> list[dict[str, Any]]:
    """Interpolations between neighbouring images of one set-up, a GIF each; their smoothness and end points' loss."""
    pairs = [(i, i + 1) for i in range(0, min(2 * config.walks, len(photos.names) - 1), 2)]
    ws, beside = (
        None if given is None else np.asarray(linear(np.stack([given[[a, b]] for a, b in pairs]), config.frames))
        for given in (found.ws, found.extras)
    )
    frames = render(model.gan.generator, model.variables["generator"], ws, extras=beside).frames
    smooth = smoothness(network, frames) if network is not None else None
    moved = []
    for i, (a, b) in enumerate(pairs):
        path = out / f"walk-{photos.names[a]}-{photos.names[b]}.gif"
        scale = max(1, 128 // frames.shape[2])
        write_atomic(path, movie.encode_gif(frames[i], milliseconds=60, scale=scale))
        facts = {"from": photos.names[a], "to": photos.names[b], "loss": [float(found.loss[a]), float(found.loss[b])]}
        if smooth is not None:
            facts |= {
                f"{network_label(network.name)} mean": float(smooth.mean[i]),
                "max / mean": float(smooth.ratio[i]),
            }
        moved.append(facts | {"file": path.name})
    save_png(out / "walks.png", image_grid(frames.reshape(-1, *frames.shape[2:]), columns=config.frames), scale=2)
    return moved


class Series(NamedTuple):
    """The scribbles' part of a study: a row for each kind of drawing and program, and pictures with captions."""

    rows: list[dict[str, Any]]
    pictures: list[tuple[str, np.ndarray]]


def scribble_programs(config: ConfigDict) -> dict[str, ConfigDict]:
    """The plain and the revised program in each space."""
    programs = {}
    for name in ("plain", "revised"):
        for space in config.scribbles.spaces:
            found = configs.load("scribble")
            found.space, found.steps, found.batch = space, config.scribbles.steps, config.scribbles.batch
            found.search.steps = min(found.search.steps, found.steps)
            found.weights.conv = config.scribbles.conv
            found.snapshots = tuple(s for s in found.snapshots if s <= found.steps)
            found.report = config.invert.report
            programs[f"{name} {space}"] = found if name == "revised" else plain(found, space)
    return programs


def open_scribbles(config: ConfigDict, models: Mapping[str, Model]) -> tuple[Model, Drawn]:
    """The generator and the drawings of the series; raises UserError for one that cannot be run, before anything is."""
    model = models.get(config.scribbles.run) or load(config.scribbles.run)
    for program in scribble_programs(config).values():
        check_config(program.to_dict(), model.gan.generator)
    files = drawing_files(config.scribbles.drawings or [str(DRAWINGS)])
    strokes = [read_scribble(file, model.gan.generator.image_shape) for file in files]
    names = tuple(Path(file).stem for file in files)
    return model, Drawn(names, np.stack([s.colours for s in strokes]), np.stack([s.mask for s in strokes]), None)


def scribbles(out: Path, model: Model, drawn: Drawn, config: ConfigDict, network: Network | None) -> Series:
    """The same drawings through every program: scribbles.png, drawings-PROGRAM.npz, means over each kind of drawing.

    A drawing's kind is what its name has before the first "-", such as dense-boot.png.
    """
    stats = statistics(model.gan.generator, model.variables["generator"])
    reals = near_reals(model, "") if network is not None else None
    results, rows = {}, []
    for name, program in scribble_programs(config).items():
        stem = name.replace(" ", "-").replace("+", "plus")
        results[name] = drawn_by(model, drawn, program, out / WORK / "scribbles" / stem, stats)
        save_latents(out / f"drawings-{stem}.npz", drawn.names, results[name], program.space)
        rows += by_kind(table(drawn, name, results[name], network, reals))
    sheet = side_by_side(drawn, results)
    save_png(out / "scribbles.png", sheet, scale=max(1, min(4, 1600 // sheet.shape[1])))
    pictures = [(f"drawing, {', '.join(results)}", sheet)]
    pictures += [(f"{name}, on the way", stages(r.snapshots)) for name, r in results.items() if r.snapshots is not None]
    return Series(rows, pictures)


def by_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means of one program's rows over the drawings of each kind."""
    kinds = dict.fromkeys(row["drawing"].split("-")[0] for row in rows)
    found = []
    for kind in kinds:
        mine = [row for row in rows if row["drawing"].split("-")[0] == kind]
        numbers = {k: float(np.mean([row[k] for row in mine])) for k in mine[0] if k not in ("drawing", "program")}
        found.append({"drawings": f"{len(mine)} {kind}", "program": mine[0]["program"]} | numbers)
    return found


def write(
    out: Path,
    photos: Photos,
    found: Mapping[tuple[str, str, float], Inversion],
    rows: list[dict[str, Any]],
    moved: list[dict[str, Any]],
    best: tuple[str, str, float],
    series: Series,
) -> None:
    """The contact sheet (a row an image: the image, then every set-up in the table's order), tables, latents."""
    shown = min(_SHOWN, len(photos.names))
    columns = [photos.images[:shown], *(to_uint8(f.images[:shown]) for f in found.values())]
    sheet = image_grid(np.stack(columns, 1).reshape(-1, *photos.images.shape[1:]), columns=len(columns))
    save_png(out / "sheet.png", sheet, scale=max(1, min(4, 1600 // sheet.shape[1])))
    save_latents(out / "latents.npz", photos.names, found[best], best[1])
    write_atomic(
        out / "table.json",
        (json.dumps({"setups": rows, "walks": moved, "scribbles": series.rows}, indent=1) + "\n").encode(),
    )
    names = ", ".join(setup_name(*setup) for setup in found)
    write_page(
        out / "report.html",
        f"{len(rows)} set-ups on {len(photos.names)} images",
        [
            picture_section("Images and set-ups", [(f"image, then {names}", sheet)]),
            table_section("Means and standard deviations over the images", rows),
            picture_section(
                f"Interpolations, {setup_name(*best)}", [(f"{m['from']} to {m['to']}", out / m["file"]) for m in moved]
            ),
            table_section("Interpolations", moved),
            picture_section("Scribbles", series.pictures),
            table_section("Scribbles, means", series.rows),
        ],
    )
