"""Pushes a generator's own samples towards realism, without labels: a direction, and the point on it, for each.

jaxgan realism --run=zoo:fashion-dcgan [--num=64] [--variant=mean] [--select=s:0.3] --out=DIR
"""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, check_writable
from jaxgan.cli.sample import choose_labels, parse_seeds
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_z
from jaxgan.features.extract import batched, padded
from jaxgan.latent.realism import Realism, Search, at_share, mean_prototype
from jaxgan.latent.realism_settings import check_config
from jaxgan.latent.realism_stages import WALK, walked
from jaxgan.report import (
    facts_section,
    image_grid,
    notes_section,
    picture_section,
    save_png,
    table_section,
    text_table,
    write_atomic,
    write_page,
)
from jaxgan.training.evaluation import at_level

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "how: realism (default), realism_celeba ... (as released), or a file")
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file", required=True, flag_values=FLAGS)
flags.DEFINE_integer("num", 64, "samples: the seeds from 0 on", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("seeds", "", "these seeds instead, such as 0-63 or 1,5,10-20", flag_values=FLAGS)
flags.DEFINE_enum(
    "variant",
    "per_sample",
    ["per_sample", "mean"],
    "a prototype for each sample, or the mean one of config.mean_of others for all",
    flag_values=FLAGS,
)
flags.DEFINE_string("select", "auto", "where on the arc: auto, or s:SHARE such as s:0.3", flag_values=FLAGS)
flags.DEFINE_integer("batch", None, "codes a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("label", None, "class of all samples, for a generator of classes", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_string(
    "data", "", "real images, whose mean score is aimed at; by default those of training", flag_values=FLAGS
)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

WORK = ".work"  # the job that can be continued, in --out
_SHOWN = 64  # samples on the sheets and in the page's table
_COLUMNS = 16
_REALS = 2000  # real images that are scored
_OTHERS = 1_000_000  # first seed of the samples behind a mean prototype
_OF_WHAT_IS_RECOVERED = ("theta", "feature L1", "pixel L1", "D recovered")
_STRIPS = ("original", "recovered", "improved", "prototype")


def run(values: flags.FlagValues) -> None:
    """Checks everything, searches, writes."""
    config = read(values)
    model = load(values.run, values.weights)
    seeds = parse_seeds(values.seeds) if values.seeds else list(range(values.num))
    labels = choose_labels(model, seeds, values.label)
    check_config(config.to_dict(), model.gan, model.variables.get("discriminator"))
    out = Path(values.out)
    check_writable(out)
    reals = None if config.select.method == "fixed" else real_logits(model, values.data)
    with progress_bar("candidates") as bar:
        search = Search(
            model.gan,
            model.variables["generator"],
            model.variables["discriminator"],
            config.to_dict(),
            real_logits=reals,
            classes=None if labels is None else labels.tolist(),
            progress=bar,
        )
    print(search.note)
    work = out / WORK / values.variant  # the other variant's may lie beside it, unfinished
    found = searched(model, search, seeds, labels, config, work, mean=values.variant == "mean")
    write(out, model, search, found, seeds, labels, config, values)
    shutil.rmtree(work)
    with contextlib.suppress(OSError):
        work.parent.rmdir()


def read(values: flags.FlagValues) -> ConfigDict:
    """The config, with what the flags say."""
    config = configs.load(values.config or "realism")
    if "prototype" not in config:
        raise UserError(
            f"--config={values.config} is no config of the realism direction; start from configs/realism.py"
        )
    configs.override(config, values.overrides)
    if values.batch is not None:
        config.batch = values.batch
    if values.select != "auto":
        kind, _, number = values.select.partition(":")
        try:
            share = float(number) if kind == "s" else -1.0
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise UserError(f"--select={values.select} is not auto or s:SHARE with a share from 0 to 1, such as s:0.3")
        config.select.method = "fixed"
        config.select.low = config.select.start = config.select.high = share
    if values.data and config.select.method == "fixed":
        raise UserError(f"--data={values.data} is for a selection by scores; leave it out, or --select")
    return config


def real_logits(model: Model, data: str) -> np.ndarray | None:
    """The discriminator's scores of up to 2,000 real images; None, with a line that says so, where there are none."""
    source, split = (data, "train") if data else (model.config.data.source, model.config.data.split)
    try:
        if not source:
            raise UserError("the model names no data; give --data")
        with progress_bar("decoding") as bar:
            images = open_images(source, split=split, progress=bar)
        images = at_level(model.config.to_dict(), images, model.gan)
        generator = model.gan.generator
        if (*images.resolution, images.channels) != tuple(generator.image_shape):
            raise UserError(f"those of {source} have another size")
        if generator.num_classes and images.num_classes != generator.num_classes:
            raise UserError(f"{source} has not the generator's classes")
    except UserError as error:
        if data:
            raise
        print(f"no real images are scored: {error}")
        return None
    chosen = np.random.default_rng(0).permutation(len(images))[:_REALS]
    parts = []
    for rows in batched(chosen, 64):
        pictures = padded(images.gather(rows), 64).astype(np.float32) / 127.5 - 1.0
        labels = padded(images.labels[rows], 64) if generator.num_classes else None
        parts.append(np.asarray(model.discriminate(pictures, labels))[: len(rows)])
    return np.concatenate(parts)


def searched(
    model: Model,
    search: Search,
    seeds: list[int],
    labels: np.ndarray | None,
    config: ConfigDict,
    work: Path,
    *,
    mean: bool,
) -> Realism:
    """The search with a bar, continued where an earlier one was interrupted."""
    generator = model.gan.generator
    z = seeds_to_z(seeds, generator)
    if not mean:
        with progress_bar("searching") as bar:
            return search.find(z, labels, folder=work, progress=bar)
    others = seeds_to_z(list(range(_OTHERS, _OTHERS + config.mean_of)), generator)
    if labels is None or len(set(labels.tolist())) == 1:
        given = None if labels is None else np.full(len(others), labels[0])
    else:
        raise UserError("--variant=mean has one prototype for all samples, so of one class; give --label")
    with progress_bar("searching for the mean") as bar:
        mean_of = search.find(others, given, folder=work / "others", progress=bar)
    with progress_bar("selecting") as bar:
        return search.towards(mean_prototype(mean_of), z, labels, folder=work / "towards", progress=bar)


def write(
    out: Path,
    model: Model,
    search: Search,
    found: Realism,
    seeds: list[int],
    labels: np.ndarray | None,
    config: ConfigDict,
    values: flags.FlagValues,
) -> None:
    """Pictures, sheets, latents.npz, table.json, report.html, config.json; prints the table's means."""
    names = [f"seed{seed:04d}" for seed in seeds]
    shown = slice(0, _SHOWN)
    for stale in (*out.glob("original/seed*.png"), *out.glob("improved/seed*.png"), out / "walk.png"):
        stale.unlink(missing_ok=True)  # of an earlier result in the folder

    def pictures(codes: np.ndarray) -> np.ndarray:
        return np.concatenate(list(search.pictures(codes, None if labels is None else labels[shown])))

    strips = dict(zip(_STRIPS, map(pictures, (found.x[shown], found.y[shown], found.code[shown], found.p[shown]))))
    if values.variant == "mean":
        del strips["recovered"]
    for folder, codes in (("original", found.x), ("improved", found.code)):
        written = iter(names)
        for images in search.pictures(codes, labels):
            for image in images:
                save_png(out / folder / f"{next(written)}.png", image)
    sheet = striped(list(strips.values()))
    arc = progression(pictures, [at_share(found.x[shown], found.p[shown], s) for s in np.linspace(0, 1, WALK)])
    plain = progression(pictures, np.asarray(walked(found.x[shown], found.y[shown])).swapaxes(0, 1))
    sheets = {"sheet": sheet, "arc": arc} | ({} if values.variant == "mean" else {"walk": plain})
    for name, picture in sheets.items():
        save_png(out / f"{name}.png", picture, scale=max(1, min(4, 1600 // picture.shape[1])))
    save_latents(out / "latents.npz", names, search, found, labels, config.space)
    rows = table(names, found)
    mean = means(found)
    facts = summary(model, found, config, values)
    kept = {"about": facts, "mean": mean, "images": rows}
    write_atomic(out / "table.json", (json.dumps(kept, indent=1) + "\n").encode())
    write_atomic(out / "config.json", configs.to_json(config).encode())
    what = {
        "sheet": f"{', '.join(strips)}, a column a sample",
        "arc": f"a row a sample, the first {_COLUMNS}: {WALK} points of the arc from the original to the prototype",
        "walk": f"a row a sample, the first {_COLUMNS}: the original, what is recovered of it, and on in the same "
        f"direction, {WALK} points",
    }
    write_page(
        out / "report.html",
        f"{len(names)} samples towards realism",
        [
            facts_section("Summary", facts | mean),
            picture_section("Samples", [(what[name], picture) for name, picture in sheets.items()]),
            table_section("Each sample", rows[:_SHOWN]),
            notes_section("Notes", notes(search, found, names, config)),
        ],
    )
    print(text_table([mean]))
    print(f"report: {out / 'report.html'}   latents: {out / 'latents.npz'}")


def striped(strips: list[np.ndarray]) -> np.ndarray:
    """A column a sample, a row a kind of picture; of many samples, block under block."""
    count = len(strips[0])
    columns = min(count, _COLUMNS)
    blank = np.full_like(strips[0][:1], 255)
    cells = []
    for first in range(0, count, columns):
        for strip in strips:
            part = strip[first : first + columns]
            cells += [part, *[blank] * (columns - len(part))]
    return image_grid(np.concatenate(cells), columns=columns)


def progression(pictures: Callable[[np.ndarray], np.ndarray], steps: Iterable[np.ndarray]) -> np.ndarray:
    """A row a sample (16 at most), a column a step."""
    frames = np.stack([pictures(np.asarray(codes)) for codes in steps], 1)[:_COLUMNS]
    return image_grid(frames.reshape(-1, *frames.shape[2:]), columns=frames.shape[1])


def save_latents(
    path: Path, names: list[str], search: Search, found: Realism, labels: np.ndarray | None, space: str
) -> None:
    """What `jaxgan walk` reads (names and ws of the improved samples; their codes, which are z in the space z), and all
    codes and numbers: of the inversion every step's loss [steps, N], of the critic its calibration."""
    arrays: dict[str, Any] = {"names": np.asarray(names), "space": np.asarray(space)}
    arrays |= {"ws": search.ws(found.code, labels), "code": found.code}
    numbers = ("x", "y", "p", "share", "theta", "whole", "angle", "objective", "degenerate", "features", "pixels")
    arrays |= {name: getattr(found, name) for name in numbers}
    arrays |= {f"logit_{name}": value for name, value in found.logits.items()}
    arrays |= {f"steps_{name}": value for name, value in found.steps.items()}
    arrays |= {f"evaluations_{name}": value for name, value in found.evaluations.items()}
    arrays |= {f"critic_{name}": np.asarray(value) for name, value in found.calibration.items()}
    arrays |= {"losses": found.losses}
    arrays |= {} if labels is None else {"labels": labels}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def table(names: list[str], found: Realism) -> list[dict[str, Any]]:
    """A row a sample."""
    columns = numbers_of(found)
    return [{"sample": name} | {k: np.asarray(v)[i].item() for k, v in columns.items()} for i, name in enumerate(names)]


def numbers_of(found: Realism) -> dict[str, np.ndarray]:
    """Columns [N] of the table."""
    columns = {"s": found.share, "theta": found.theta, "to prototype": found.whole, "angle": found.angle}
    columns |= {"feature L1": found.features, "pixel L1": found.pixels, "objective": found.objective}
    columns |= {f"D {name}": value for name, value in found.logits.items()}
    if not len(found.losses):  # towards a mean prototype nothing is recovered
        columns = {name: value for name, value in columns.items() if name not in _OF_WHAT_IS_RECOVERED}
    for kind, counts in (("steps", found.steps), ("evaluations", found.evaluations)):
        columns |= {f"{name} {kind}": value for name, value in counts.items() if np.any(value)}
    return columns | {"no direction": found.degenerate}


def means(found: Realism) -> dict[str, float]:
    """Of the columns, over the samples."""
    return {name: float(np.mean(values)) for name, values in numbers_of(found).items()}


def summary(model: Model, found: Realism, config: ConfigDict, values: flags.FlagValues) -> dict[str, Any]:
    """What was done, for the head of a page."""
    how = config.select
    critic = {name: value for name, value in found.calibration.items() if name != "target" or how.method != "fixed"}
    box = f"s = {how.start:g}" if how.method == "fixed" else f"s from {how.low:g} to {how.high:g}, {how.method}"
    count = len(found.x)
    return {
        "run": values.run,
        "generator": repr(model),
        "weights": values.weights or "ema",
        "samples": count,
        "variant": values.variant.replace("_", " "),
        "space": config.space,
        "prototype": f"{config.prototype.method}, {config.prototype.sign:+g} D {config.prototype.away:+g} cos",
        "selection": box,
        "critic": ", ".join(f"{name} {value:.4g}" for name, value in critic.items()),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    } | {
        f"{stage}, s a sample{'' if np.any(found.steps.get(stage)) else ' with compilation'}": round(s / count, 4)
        for stage, s in found.seconds.items()
    }


def notes(search: Search, found: Realism, names: list[str], config: ConfigDict) -> list[str]:
    """What a reader should know of the numbers."""
    said = [
        f"{search.note}.",
        "Angles are in degrees; s is the share of the arc from the sample to its prototype; D is the discriminator's "
        "raw score, each image judged on its own; the objective is counted in the critic's units.",
    ]
    if config.select.method != "fixed":
        low, high = (float(np.isclose(found.share, config.select[end]).mean()) for end in ("low", "high"))
        said.append(f"{low:.0%} of the choices lie at the lower end of the box, {high:.0%} at the upper one.")
    left = [name for name, none in zip(names, found.degenerate) if none]
    if left:
        said.append(
            f"{len(left)} of {len(names)} samples were left as they are, as what was recovered of them was their own "
            f"code, or no number: {', '.join(left[:8])}{' ...' if len(left) > 8 else ''}. Recover with fewer steps, or "
            "at a lower rate."
        )
    return said
