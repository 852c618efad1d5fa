"""Finds the latents of pictures: reconstructions, a sheet, a table of how near they come.

jaxgan invert --run=runs/fashion --images=photos/ --space=w+ [--steps=1000] [--batch=16] [--tune_generator] --out=DIR
"""

import dataclasses
import io
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxgan import checkpoint, movie
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, check_writable
from jaxgan.cli.sample import check_label
from jaxgan.data import pictures
from jaxgan.data.photos import Photos, read_photos
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.experiment import Model, export, load, model_file
from jaxgan.features.networks import Network
from jaxgan.features.networks import load as load_network
from jaxgan.latent.encode import check_stages, encode, plan, staged
from jaxgan.latent.invert import Inversion, check_config, invert
from jaxgan.latent.keys import Keys, read_latents
from jaxgan.latent.measures import quality
from jaxgan.latent.stream import Job, digest
from jaxgan.latent.tune import Tuned, check_tuning, tune
from jaxgan.report import (
    facts_section,
    image_grid,
    notes_section,
    picture_section,
    save_png,
    table_section,
    to_uint8,
    write_atomic,
    write_page,
)

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "how: invert (default), invert_projector, or a file")
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_string(
    "images", None, "a picture, a folder or zip of pictures, or a set by name", required=True, flag_values=FLAGS
)
flags.DEFINE_string("split", "test", "of a set by name", flag_values=FLAGS)
flags.DEFINE_integer("first", 0, "the first picture", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("count", None, "so many of them; all by default", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("fit", "crop", ["crop", "pad"], "of pictures of another shape", flag_values=FLAGS)
flags.DEFINE_enum(
    "background",
    "white",
    list(pictures.BACKGROUNDS),
    "put under transparent pixels, and round pictures with --fit=pad",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "space", None, "z, w, w+; maps: sw:8, sw+:8, sw+:4x6, sw+:8:0-5, pyramid:32, ss:8, sz:8", flag_values=FLAGS
)
flags.DEFINE_integer(
    "steps",
    None,
    "of the optimisation; of maps those on maps, after those of config.stages in w and w+",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer("batch", None, "images a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("start", "", "latents.npz of an earlier inversion of the same pictures", flag_values=FLAGS)
flags.DEFINE_enum(
    "weights",
    None,
    ["ema", "raw"],
    "averaged (default) or raw generator (the loss's weights are --config.weights.NAME)",
    flag_values=FLAGS,
)
flags.DEFINE_integer("label", None, "class of all pictures, for a generator of classes", flag_values=FLAGS)
flags.DEFINE_bool(
    "tune_generator", False, "then tune the generator to each picture, a file each in tuned/", flag_values=FLAGS
)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

WORK = ".work"  # the job that can be continued, in --out
_TUNED = "tuned"  # the folder of tuned generators, in --out
_RECONSTRUCTIONS = "reconstructions"  # that of pictures
_SNAPSHOTS = "snapshots.gif"
_SHEET = 32  # pictures on the sheet


def run(values: flags.FlagValues) -> None:
    """Checks everything, inverts, measures, writes."""
    config = read(values)
    model = load(values.run, values.weights)
    (check_stages if staged(config.space) else check_config)(config.to_dict(), model.gan.generator)
    last = plan(config.to_dict())[-1] if staged(config.space) and not values.start else config.to_dict()
    if not all(0 <= step <= last["steps"] for step in config.snapshots):
        raise UserError(
            f"config.snapshots={tuple(config.snapshots)}: give steps from 0 to {last['steps']}, of those in "
            f"{last['space']}"
        )
    if _tunes(config):
        check_tuning(config.to_dict(), model.gan.generator, values.label)
        load_network(config.lpips_network, config.lpips_weights or None)
    network = reporting_network(config)
    photos = read_photos(
        values.images,
        model.gan.generator.image_shape,
        split=values.split,
        first=values.first,
        count=values.count,
        fit=values.fit,
        background=values.background,
    )
    out = Path(values.out)
    check_writable(out)
    check_kept(values.run, out, photos if _tunes(config) else None)
    start = read_start(values.start, photos, config) if values.start else None
    stages = [config.to_dict()]
    if staged(config.space):
        stages = plan(config.to_dict(), None if start is None else start.ws)
    print(f"{len(photos.names)} pictures; {photos.note}")
    if len(stages) > 1:
        print(f"steps: {steps_of(stages)}")
    found = inverted(model, photos, config, out, label=values.label, start=start)
    changed = tuned(model, photos, found, config, out, label=values.label) if _tunes(config) else None
    write(out, model, photos, found, config, stages, network, changed)
    shutil.rmtree(out / WORK)


def read(values: flags.FlagValues) -> ConfigDict:
    """The config, with what the flags say."""
    config = configs.load(values.config or "invert")
    if "space" not in config:
        raise UserError(f"--config={values.config} is no config of an inversion; start from configs/invert.py")
    configs.override(config, values.overrides)
    for name in ("space", "steps", "batch"):
        if getattr(values, name) is not None:
            config[name] = getattr(values, name)
    if values.tune_generator:
        if "tune" not in config:
            raise UserError(f"--tune_generator: --config={values.config} has no `tune`; start from configs/invert.py")
        config.tune.enabled = True
    return config


def _tunes(config: ConfigDict) -> bool:
    return "tune" in config and config.tune.enabled


def check_kept(run: str, out: Path, photos: Photos | None) -> None:
    """Raises UserError where the generator that is read would be overwritten by one that is tuned to `photos`, or
    removed with the earlier result that it belongs to."""
    source = model_file(run)
    if source is None:
        return
    for name in photos.names if photos is not None else ():
        if source.resolve() == (out / _TUNED / f"{name}.npz").resolve():
            raise UserError(f"--run={run} is where the generator tuned to {name} goes; choose another --out")
    if source.resolve() in {path.resolve() for path in earlier(out)}:
        raise UserError(f"--run={run} belongs to the result in {out}, which would be replaced; choose another --out")


def reporting_network(config: ConfigDict) -> Network | None:
    """The network of the reported distance; None, with a line that says so, where it is not installed."""
    report = config.report
    if (config.weights.lpips or _tunes(config)) and config.lpips_network == report.perceptual:
        raise UserError(
            f"config.report.perceptual={report.perceptual} is what is minimised; report another, such as stlpips-alex"
        )
    if not report.perceptual:
        return None
    try:
        return load_network(report.perceptual, report.perceptual_weights or None)
    except UserError as error:
        print(f"no perceptual distance is reported: {error}")
        return None


def read_start(path: str, photos: Photos, config: ConfigDict) -> Keys:
    """An earlier result's latents in the order of the pictures."""
    keys = read_latents(path)
    if keys.ws.ndim not in (3, 5):
        raise UserError(f"--start={path}: styles, or maps that differ in size, cannot be a start; use w+ or sw+:8")
    missing = [name for name in photos.names if name not in keys.names]
    if missing:
        raise UserError(f"--start={path} has no latent of {missing[0]}; invert the same pictures")
    for field, theirs in zip(("demodulation", "latent_filter"), keys.maps_as or ()):
        if theirs != config[field]:
            raise UserError(f"--start={path} was found with {field}={theirs}; give --config.{field}={theirs}")
    rows = [keys.names.index(name) for name in photos.names]
    ws, extras = keys.ws[rows], None if keys.extras is None else keys.extras[rows]
    return Keys(list(photos.names), ws, noise=tuple(maps[rows] for maps in keys.noise), extras=extras)


def inverted(
    model: Model,
    photos: Photos,
    config: ConfigDict,
    out: Path,
    *,
    label: int | None = None,
    start: Keys | None = None,
) -> Inversion:
    """The inversion with a bar, continued where an earlier one was interrupted."""
    check_label(model, label)
    arrays, begin = [photos.images], {}
    if start is not None:
        begin = {"start": start.ws, "noise": start.noise, "extras": start.extras}
        arrays += [start.ws, *start.noise, *([] if start.extras is None else [start.extras])]
    identity = {
        "config": config.to_dict(),
        "images": digest(*arrays),
        "names": photos.names,
        "label": label,
        "model": checkpoint.digest(model.variables["generator"]),
    }
    job = Job(out / WORK, identity, config.checkpoint_seconds)
    with progress_bar("inverting") as bar:
        return (encode if staged(config.space) else invert)(
            model.gan,
            model.variables["generator"],
            model.variables.get("discriminator"),
            photos.images,
            config.to_dict(),
            labels=label,
            **begin,
            job=job,
            progress=bar,
        )


def tuned(
    model: Model, photos: Photos, found: Inversion, config: ConfigDict, out: Path, *, label: int | None = None
) -> Tuned:
    """A generator a picture, tuned/NAME.npz, with a bar; continued with the next one after an interruption."""

    def keep(number: int, params: Any) -> None:
        generator = model.variables["generator"] | {"params": params}
        changed = dataclasses.replace(model, variables=model.variables | {"generator": generator})
        card = {"tuned to": photos.names[number], "by": config.tune.to_dict(), "network": config.lpips_network}
        export(changed, out / _TUNED / f"{photos.names[number]}.npz", card)

    # The folder is the inversion's, which has refused the work of another command; its results are the same again.
    job = Job(
        out / WORK / _TUNED,
        {"pivots": digest(found.ws, *found.noise, *([] if found.extras is None else [found.extras]))},
    )
    with progress_bar("tuning") as bar:
        return tune(
            model.gan.generator,
            model.variables["generator"],
            photos.images,
            found.ws,
            config.to_dict(),
            w_avg=model.w_avg,
            noise=found.noise,
            extras=found.extras,
            labels=label,
            keep=keep,
            job=job,
            progress=bar,
        )


def write(
    out: Path,
    model: Model,
    photos: Photos,
    found: Inversion,
    config: ConfigDict,
    stages: list[dict[str, Any]],
    network: Network | None,
    changed: Tuned | None = None,
) -> None:
    """latents.npz, reconstructions, sheet.png, snapshots.gif, table.json, report.html, config.json; prints the table's
    means. Of an earlier result in the folder nothing stays.
    """
    maps_as = (config.demodulation, config.latent_filter) if ":" in config.space else None
    save_latents(out / "latents.npz", photos.names, found, config.space, maps_as)
    rows = table(photos, found, network, changed)
    results = {_RECONSTRUCTIONS: found.images} | ({_TUNED: changed.images} if changed else {})
    for folder, images in results.items():
        for name, image in zip(photos.names, images):
            save_png(out / folder / f"{name}.png", image)
    sheet = side_by_side(photos.images, *results.values())
    scale = max(1, min(4, 1600 // sheet.shape[1]))
    save_png(out / "sheet.png", sheet, scale=scale)
    if found.snapshots is not None:
        write_atomic(out / _SNAPSHOTS, snapshots_gif(found.snapshots))
    remove(out, earlier(out) - set(files(out, rows, found.snapshots is not None)))
    write_atomic(out / "config.json", configs.to_json(config).encode())
    mean = means(rows)
    write_atomic(out / "table.json", (json.dumps({"mean": mean, "images": rows}, indent=1) + "\n").encode())
    first = f" (the first {_SHEET})" if len(rows) > _SHEET else ""
    write_page(
        out / "report.html",
        f"Inversion of {len(rows)} pictures in {config.space}",
        [
            facts_section("Summary", summary(model, photos, found, config, stages) | mean),
            picture_section("Pictures and results", [(", ".join(["the picture", *results]) + first, sheet)]),
            picture_section("On the way", on_the_way(found.snapshots, stages[-1], first)),
            table_section("Each picture", rows),
            notes_section("Notes", [photos.note]),
        ],
    )
    print("\n".join(f"{name:24s} {value:.4g}" for name, value in mean.items()))
    print(f"compilation took {found.compile_seconds:.0f} s beside that")
    print(f"report: {out / 'report.html'}   latents: {out / 'latents.npz'}")
    if changed:
        print(f"generators: {out / _TUNED}, such as --run={shlex.quote(f'{out / _TUNED / photos.names[0]}.npz')}")


def files(out: Path, rows: list[dict[str, Any]], snapshots: bool) -> list[Path]:
    """The files of a result, whose table this is, that not every result has."""
    names = [row["picture"] for row in rows]
    found = [out / _RECONSTRUCTIONS / f"{name}.png" for name in names]
    if any("tuning steps" in row for row in rows):
        found += [out / _TUNED / f"{name}.{kind}" for name in names for kind in ("npz", "png")]
    return found + [out / _SNAPSHOTS] * snapshots


def earlier(out: Path) -> set[Path]:
    """Those of the result that the folder holds; what its table does not name is not ours."""
    try:
        rows = json.loads((out / "table.json").read_text())["images"]
        known = [row for row in rows if Path(row["picture"]).name == row["picture"]]
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or another verb's
        return set()
    return {path for path in files(out, known, True) if path.is_file()}


def remove(out: Path, stale: set[Path]) -> None:
    """Removes files, then their folders where they are empty."""
    for path in stale:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in stale} - {out}:
        if not any(folder.iterdir()):
            folder.rmdir()
    if stale:
        print(f"removed {len(stale)} file(s) of the earlier result in {out}")


def summary(
    model: Model, photos: Photos, found: Inversion, config: ConfigDict, stages: list[dict[str, Any]]
) -> dict[str, Any]:
    """What was done, for the head of a page."""
    active = {name: w for name, w in stages[-1]["weights"].items() if w and name in found.terms}
    facts = {
        "generator": repr(model),
        "space": config.space,
        "minimised": ", ".join(f"{w:g} {name}" for name, w in active.items()),
        "steps": steps_of(stages),
        "optimiser": config.optimizer.kind,
        "batch": min(config.batch, len(photos.names)),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "compilation, s": round(found.compile_seconds, 1),
    }
    if _tunes(config):
        how = config.tune
        facts["tuned by"] = (
            f"{how.l2:g} l2, {how.lpips:g} {config.lpips_network} until it is {how.threshold:g}, {how.locality:g} "
            f"locality; at most {how.steps} steps at {how.lr:g}"
        )
    return facts


def steps_of(stages: list[dict[str, Any]]) -> str:
    """The words for the steps of each stage."""
    return ", ".join(f"{stage['steps']} in {stage['space']}" for stage in stages)


def table(
    photos: Photos, found: Inversion, network: Network | None, changed: Tuned | None = None
) -> list[dict[str, Any]]:
    """A row a picture."""
    columns = quality(photos.images, found.images, network)
    columns |= {"prior": found.prior} if np.isfinite(found.prior).any() else {}  # of styles none is known
    columns |= {"R_eq": found.terms["equalise"]} if "equalise" in found.terms else {}
    if found.logits is not None:
        columns["D"] = found.logits
    columns |= {"loss": found.loss, "evaluations": found.evaluations, "seconds": found.seconds}
    failed = found.failed
    if changed is not None:
        after = quality(photos.images, changed.images, network)
        columns |= {f"tuned {name}": numbers for name, numbers in after.items()}
        columns |= {"tuning distance": changed.lpips, "tuning steps": changed.used, "tuning seconds": changed.seconds}
        failed = failed | changed.failed
    rows = []
    for i, name in enumerate(photos.names):
        numbers = {k: v[i].item() for k, v in columns.items()}
        rows.append({"picture": name, **numbers} | ({"failed": "not finite"} if failed[i] else {}))
    return rows


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of every number over the pictures that did not fail."""
    fine = [row for row in rows if "failed" not in row] or rows
    return {k: float(np.mean([row[k] for row in fine])) for k in fine[0] if k not in ("picture", "failed")}


def side_by_side(images: np.ndarray, *results: np.ndarray) -> np.ndarray:
    """Each picture and its results beside it, four pictures a row."""
    together = np.concatenate([x[:_SHEET] for x in (images, *map(to_uint8, results))], axis=2)
    return image_grid(together, columns=min(4, len(together)), padding=4)


def snapshots_gif(snapshots: np.ndarray) -> bytes:
    """Snapshots [S, N, H, W, C]: a frame each, of the first pictures."""
    frames = np.stack([image_grid(images[:_SHEET]) for images in snapshots])
    scale = max(1, min(4, 800 // frames.shape[2]))
    return movie.encode_gif(frames, milliseconds=500, ping_pong=False, scale=scale)


def on_the_way(snapshots: np.ndarray | None, stage: dict[str, Any], first: str) -> list[tuple[str, np.ndarray]]:
    """A picture of the last stage's snapshots, a row a picture and a column a step, with its caption."""
    if snapshots is None:
        return []
    chunk = min(stage["chunk"], stage["steps"])
    steps = [min(-(-step // chunk) * chunk, stage["steps"]) for step in sorted(set(stage["snapshots"]))]  # their ends
    rows = snapshots[:, :_SHEET].swapaxes(0, 1).reshape(-1, *snapshots.shape[2:])
    return [
        (f"after {', '.join(map(str, steps))} steps in {stage['space']}{first}", image_grid(rows, columns=len(steps)))
    ]


def save_latents(
    path: Path, names: tuple[str, ...], found: Inversion, space: str, maps_as: tuple[str, str] | None = None
) -> None:
    """The file that `walk --latents`, `edit`, `invert --start` and NumPy read: ws, names, space, code, loss, noise0,
    extras, and how maps are treated."""
    buffer = io.BytesIO()
    more = {f"noise{i}": m for i, m in enumerate(found.noise)}
    more |= {} if found.extras is None else {"extras": found.extras}
    more |= {"maps_as": np.asarray(maps_as)} if maps_as else {}
    np.savez(buffer, ws=found.ws, names=np.asarray(names), space=space, code=found.code, loss=found.loss, **more)
    write_atomic(path, buffer.getvalue())
