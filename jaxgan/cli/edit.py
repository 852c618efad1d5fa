"""Edits latents: an attribute, everywhere or within a mask, or the layout of what a picture shows.

jaxgan edit --run=runs/fashion --seeds=0-7 --attribute=brightness --strength=-2,2 --out=DIR
jaxgan edit --run=RUN --latents=inverted/latents.npz --attribute=class:Sneaker --set=2 --mask=part.png --out=DIR
jaxgan edit --run=RUN --latents=inverted/latents.npz --layout=copy:0.1,0.1,0.5,0.5:0.5,0.5 --out=DIR
"""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan.cli import check_writable
from jaxgan.cli.sample import check_label, choose_labels, parse_seeds
from jaxgan.data import pictures
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_z
from jaxgan.features.extract import features
from jaxgan.features.networks import load as load_network
from jaxgan.latent import attributes, edit, equalise, maps, scores
from jaxgan.latent.keys import read_latents
from jaxgan.latent.space import Statistics, has_mapping
from jaxgan.latent.spaces import statistics, to_prior
from jaxgan.latent.walk import check_ws, render
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

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "run", None, "a run directory, zoo:NAME or a file, of a StyleGAN2", required=True, flag_values=FLAGS
)
flags.DEFINE_string("latents", "", "latents.npz of `jaxgan invert`, in w, w+ or sw+:8 and the like", flag_values=FLAGS)
flags.DEFINE_string("seeds", "", "instead of --latents: numbers and ranges", flag_values=FLAGS)
flags.DEFINE_string(
    "attribute",
    "",
    f"{', '.join(scores.PIXEL_SCORES)}; class:NAME of --data; pca:K; sefa:K; a .npy file of a direction",
    flag_values=FLAGS,
)
flags.DEFINE_list("strength", [], "by how much, in deviations over random images; default -2,2", flag_values=FLAGS)
flags.DEFINE_list(
    "set", [], "instead of --strength: the score to reach, in such deviations from the mean", flag_values=FLAGS
)
flags.DEFINE_list("keep", [], "attributes whose scores stay as they are", flag_values=FLAGS)
flags.DEFINE_enum("model", "linear", ["linear", "mlp"], "of the attribute", flag_values=FLAGS)
flags.DEFINE_string(
    "mask", "", "a picture, white where the edit acts, or a box top,left,bottom,right in 0..1", flag_values=FLAGS
)
flags.DEFINE_bool("hard", False, "cells are in the mask or not, nothing between", flag_values=FLAGS)
flags.DEFINE_string("layers", "", "rows of ws that are edited, such as 0-5; all by default", flag_values=FLAGS)
flags.DEFINE_integer("grid", 8, "cells a side of the maps that are made of vectors", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "layout",
    "",
    "copy:BOX:TOP,LEFT; move:BOX:TOP,LEFT; tile:2x2; blend:NAME (of the latents, within --mask); BOX as in --mask",
    flag_values=FLAGS,
)
flags.DEFINE_string("data", "", "labelled images for class:NAME; by default those of training", flag_values=FLAGS)
flags.DEFINE_integer(
    "samples", 4000, "random images that an attribute is fitted to", lower_bound=200, flag_values=FLAGS
)
flags.DEFINE_integer("label", None, "class of --seeds; by default the seed modulo the classes", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder for the results", required=True, flag_values=FLAGS)

_SHEET = 16  # latents on the sheet
_SEED = 7_000_000  # of the random images that attributes are fitted to
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Edited:
    """Latents after an edit, and what it was in a word or two."""

    name: str
    ws: np.ndarray


def run(values: flags.FlagValues) -> None:
    """Checks, fits, edits, measures, writes."""
    check_flags(values)
    model = load(values.run, values.weights)
    generator = model.gan.generator
    check_label(model, values.label)
    if not has_mapping(generator) or not hasattr(generator, "row_shapes"):
        raise UserError("edits are made in w of a StyleGAN2; this generator is none")
    names, ws = latents(model, values)
    layers = parse_layers(values.layers, generator.num_ws)
    mask = read_mask(values.mask, generator.image_shape) if values.mask else None
    if (mask is not None or values.layout) and ws.ndim == 3:
        ws = np.asarray(maps.resized(jnp.asarray(ws), (values.grid, grid_width(values.grid, generator))))
    cells = edit.masks_of(jnp.asarray(ws), mask, hard=values.hard)
    out = Path(values.out)
    check_writable(out)
    stats = statistics(generator, model.variables["generator"])
    scorer, about = None, ""
    if values.layout:
        results = [laid_out(values.layout, names, ws, cells, stats)]
    else:
        results, scorer, about = attributed(model, stats, ws, cells, layers, values)
    write(out, model, names, ws, results, mask, scorer, about, stats, values)


def check_flags(values: flags.FlagValues) -> None:
    """Raises UserError for flags that do not fit each other."""
    if bool(values.latents) == bool(values.seeds):
        raise UserError("give either --latents, what `jaxgan invert` found, or --seeds")
    if bool(values.attribute) == bool(values.layout):
        raise UserError("give either --attribute or --layout")
    if values.strength and values.set:
        raise UserError("give either --strength or --set")
    for name in ("strength", "set"):
        numbers(name, values[name].value)
    if values.layout:
        parse_layout(values.layout)
        if values.layout.startswith("blend:") and not values.mask:
            raise UserError("--layout=blend needs --mask, where the other picture is to show")


def numbers(name: str, given: list[str]) -> list[float]:
    """Finite numbers of a list flag.

    Raises:
        UserError: one is none.
    """
    try:
        found = [float(text) for text in given]
    except ValueError:
        found = [np.nan]
    if not np.isfinite(found).all():
        raise UserError(f"--{name}={','.join(given)} is no list of numbers such as -2,-1,1,2")
    return found


def parse_box(text: str) -> edit.Box:
    """(top, left, bottom, right) of "0.1,0.2,0.5,0.6".

    Raises:
        UserError: it is none.
    """
    try:
        box = tuple(float(part) for part in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4:
        raise UserError(f"{text!r} is no box; give top,left,bottom,right between 0 and 1")
    edit.check_box(box)
    return box


def parse_layout(text: str) -> tuple[str, Any, Any]:
    """(kind, box or sizes or name, where to) of --layout.

    Raises:
        UserError: it is none.
    """
    kind, _, rest = text.partition(":")
    if kind in ("copy", "move"):
        box, _, to = rest.partition(":")
        try:
            top, left = (float(part) for part in to.split(","))
        except ValueError as error:
            raise UserError(f"--layout={text}: say where to, such as {kind}:0,0,0.5,0.5:0.5,0.5") from error
        return kind, parse_box(box), (top, left)
    if kind == "tile":
        rows, _, columns = rest.partition("x")
        if rows.isdigit() and columns.isdigit():
            return kind, int(rows), int(columns)
        raise UserError(f"--layout={text}: give rows x columns, such as tile:2x2")
    if kind == "blend" and rest:
        return kind, rest, None
    raise UserError(f"--layout={text} is not known; use copy:BOX:TO, move:BOX:TO, tile:2x2 or blend:NAME")


def parse_layers(text: str, count: int) -> range | None:
    """The rows of "0-5"; None for all.

    Raises:
        UserError: the generator does not have them.
    """
    if not text:
        return None
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < count):
        raise UserError(
            f"--layers={text}: this generator has the rows 0 to {count - 1}; give some such as 0-{count // 2}"
        )
    return range(int(first), int(last) + 1)


def read_mask(text: str, shape: tuple[int, int, int]) -> np.ndarray:
    """[H, W] in [0, 1] of a picture or a box.

    Raises:
        UserError: it cannot be read, or marks nothing.
    """
    if Path(text).exists():
        picture = pictures.to_channels(pictures.open_picture(Path(text).read_bytes()), 1, "black")
        mask = np.asarray(picture.resize((shape[1], shape[0])), np.float32) / 255
    elif "," in text:
        mask = edit.feathered(parse_box(text), shape[:2], feather=0.0)[..., 0]
    else:
        raise UserError(f"--mask={text} is neither a picture nor a box top,left,bottom,right")
    if mask.max() <= 0:
        raise UserError(f"--mask={text} marks nothing; it is white where the edit acts")
    return mask


def grid_width(height: int, generator: Any) -> int:
    """Cells across a map of the image's proportions."""
    return max(round(height * generator.image_shape[1] / generator.image_shape[0]), 1)


def latents(model: Model, values: flags.FlagValues) -> tuple[list[str], np.ndarray]:
    """(names, ws) of --latents or --seeds.

    Raises:
        UserError: they are another generator's, or of a space whose maps differ in size.
    """
    generator = model.gan.generator
    if values.seeds:
        seeds = parse_seeds(values.seeds)
        labels = choose_labels(model, seeds, values.label)
        z = jnp.asarray(seeds_to_z(seeds, generator))
        ws = model.map(z, None if labels is None else jnp.asarray(labels))
        return [str(seed) for seed in seeds], np.asarray(ws)
    keys = read_latents(values.latents)
    if keys.ws.ndim not in (3, 5):
        raise UserError(f"--latents={values.latents} is of a space whose maps differ in size; use --space=sw+:8")
    return keys.names, check_ws(generator, keys.ws)


def random_w(model: Model, values: flags.FlagValues) -> tuple[np.ndarray, np.ndarray]:
    """(random w [N, w_dim], their uint8 images) that attributes are fitted to."""
    generator = model.gan.generator
    z = np.random.default_rng(_SEED).standard_normal((values.samples, generator.z_dim)).astype(np.float32)
    labels = jnp.arange(values.samples) % generator.num_classes if generator.num_classes else None
    ws = np.asarray(model.map(jnp.asarray(z), labels))
    with progress_bar("random images") as bar:
        images = render(generator, model.variables["generator"], ws[None], batch=_BATCH, progress=bar).frames[0]
    return ws[:, 0], images


def scorer_of(name: str, model: Model, values: flags.FlagValues) -> tuple[scores.Scorer, str]:
    """(scores of uint8 images, the words for them) of --attribute.

    Raises:
        UserError: there is no such attribute or class.
    """
    kind, _, which = name.partition(":")
    if kind != "class":
        return scores.pixel_scorer(name, model.gan.generator.channels), scores.PIXEL_SCORES[name][0]
    source = values.data or model.config.data.source
    images = open_images(source)
    known = list(images.class_names) or [str(i) for i in range(images.num_classes)]
    if images.labels is None or which not in known:
        has = f"classes {', '.join(known[:12])}" if known else "no classes"
        raise UserError(f"--attribute={name}: {source} has {has}; give one of those, or other --data")
    network = load_network("lite0")
    chosen = np.random.default_rng(0).permutation(len(images))[: values.samples]
    with progress_bar("features of labelled images") as bar:
        found = []
        for first in range(0, len(chosen), _BATCH):
            part = images.gather(chosen[first : first + _BATCH])
            found.append(features(network, part)[network.pooled])
            bar(min(first + _BATCH, len(chosen)), len(chosen))
    fitted = scores.fit_classifier(np.concatenate(found), images.labels[chosen] == known.index(which))
    return (
        lambda shown: fitted(features(network, shown)[network.pooled]),
        f"logit of a classifier on {network.name} features, {fitted.accuracy:.1%} of held-out images right",
    )


def attributed(
    model: Model,
    stats: Statistics,
    ws: np.ndarray,
    cells: Any,
    layers: range | None,
    values: flags.FlagValues,
) -> tuple[list[Edited], scores.Scorer | None, str]:
    """(the edits, the scorer that they are measured by or None, the words for the attribute)."""
    generator, name = model.gan.generator, values.attribute
    targets, given = numbers("set", values.set), jnp.asarray(ws)
    strengths = numbers("strength", values.strength or ([] if targets else ["-2", "2"]))
    kind = name.partition(":")[0]
    if kind in ("pca", "sefa") or name.endswith(".npy"):
        if targets or values.keep or values.model != "linear":
            raise UserError("--set, --keep and --model=mlp are for attributes with a score, and a direction has none")
        direction = direction_of(name, model, layers, values)
        made = [
            Edited(f"{s:+g}", np.asarray(edit.shift(given, direction, s, layers=layers, cells=cells)))
            for s in strengths
        ]
        return made, None, direction.about
    scorer, about = scorer_of(name, model, values)
    others = [scorer_of(other, model, values)[0] for other in values.keep]
    w, images = random_w(model, values)
    v, kept = attributes.whitened(generator, stats, w), attributes.components(stats)
    fit = attributes.fit_mlp if values.model == "mlp" else attributes.fit_linear
    fitted = fit(v, scorer(images), kept)
    if others:
        if values.model == "mlp":
            raise UserError("--keep projects a linear direction; use --model=linear")
        fitted = attributes.without(fitted, [attributes.fit_linear(v, other(images), kept) for other in others])
    where = {"layers": layers, "cells": cells}
    made = []
    for amount in targets or strengths:
        now = edit.score(fitted, generator, stats, given, **where)
        wanted = jnp.full(len(given), amount) if targets else now + amount
        if values.model == "mlp":
            # One target an image: those of --strength differ.
            parts = [
                edit.reach_score(fitted, generator, stats, given[i : i + 1], float(wanted[i]), kept=kept, **where)
                for i in range(len(given))
            ]
            changed = jnp.concatenate(parts)
        else:
            changed = edit.set_score(fitted, generator, stats, given, wanted, **where)
        made.append(Edited(f"= {amount:g}" if targets else f"{amount:+g}", np.asarray(changed)))
    about += f"; {values.model} model on {values.samples} random images, correlation {fitted.fit:.2f} on held-out ones"
    mean, deviation = fitted.mean, fitted.deviation
    return made, lambda shown: (scorer(shown) - mean) / deviation, about


def direction_of(name: str, model: Model, layers: range | None, values: flags.FlagValues) -> attributes.Direction:
    """The direction of pca:K, sefa:K or a file.

    Raises:
        UserError: there is none.
    """
    generator, (kind, _, number) = model.gan.generator, name.partition(":")
    if name.endswith(".npy"):
        return attributes.from_file(name, generator)
    if not number.isdigit():
        raise UserError(f"--attribute={name}: give a number, such as {kind}:0")
    z = np.random.default_rng(_SEED).standard_normal((10_000, generator.z_dim)).astype(np.float32)
    labels = jnp.arange(len(z)) % generator.num_classes if generator.num_classes else None
    w = np.asarray(model.map(jnp.asarray(z), labels))[:, 0]
    if kind == "pca":
        return attributes.principal(w, int(number))
    return attributes.factor(model.variables["generator"], w, int(number), layers)


def laid_out(text: str, names: list[str], ws: np.ndarray, cells: Any, stats: Statistics) -> Edited:
    """The edit of --layout.

    Raises:
        UserError: the latents have no picture of that name.
    """
    kind, first, second = parse_layout(text)
    given = jnp.asarray(ws)
    if kind == "copy":
        return Edited(kind, np.asarray(edit.paste(given, first, second)))
    if kind == "move":
        return Edited(kind, np.asarray(edit.move(given, first, second, stats.w_mean[None])))
    if kind == "tile":
        return Edited(kind, np.asarray(edit.tile(given, first, second)))
    if first not in names:
        raise UserError(f"--layout={text}: there is no {first} among {', '.join(names[:8])}")
    other = given[names.index(first)][None]
    return Edited(f"with {first}", np.asarray(edit.blend(given, jnp.broadcast_to(other, given.shape), cells)))


def likeliness(model: Model, stats: Statistics, ws: np.ndarray) -> np.ndarray:
    """R_eq [N] of latents: 0 where each part is like a random w."""
    generator, kept = model.gan.generator, attributes.components(stats)
    parts = jnp.asarray(ws).reshape(len(ws), -1, generator.w_dim)
    v = to_prior(generator, stats, parts)[..., :kept]
    return np.asarray(equalise.equalise(v, equalise.level(kept)))


def write(
    out: Path,
    model: Model,
    names: list[str],
    ws: np.ndarray,
    results: list[Edited],
    mask: np.ndarray | None,
    scorer: scores.Scorer | None,
    about: str,
    stats: Statistics,
    values: flags.FlagValues,
) -> None:
    """latents-N.npz and images of each edit, sheet.png, table.json, report.html; prints the table."""
    generator = model.gan.generator

    def images_of(codes: np.ndarray) -> np.ndarray:
        return render(generator, model.variables["generator"], codes[None], batch=_BATCH).frames[0]

    before = images_of(ws)
    columns, rows = [before], []
    old = None if scorer is None else scorer(before)
    was = likeliness(model, stats, ws)
    for number, edited in enumerate(results):
        after = images_of(edited.ws)
        columns.append(after)
        difference = np.square((after.astype(np.float64) - before) / 255).mean(-1)
        row: dict[str, Any] = {"edit": edited.name}
        if scorer is not None:
            new = scorer(after)
            row |= {"score before": float(old.mean()), "score after": float(new.mean())}
        if mask is None:
            row["MSE"] = float(difference.mean())
        else:
            row["MSE within the mask"] = float((difference * mask).sum() / (mask.sum() * len(before)))
            outside = 1 - mask
            row["MSE outside"] = float((difference * outside).sum() / max(outside.sum() * len(before), 1e-9))
        row |= {"R_eq before": float(was.mean()), "R_eq after": float(likeliness(model, stats, edited.ws).mean())}
        rows.append(row)
        for name, image in zip(names, after):
            save_png(out / f"edit{number}" / f"{name}.png", image)
        buffer = io.BytesIO()
        np.savez(buffer, ws=edited.ws, names=np.asarray(names), space="edited")
        write_atomic(out / f"latents-{number}.npz", buffer.getvalue())
    shown = np.stack([c[:_SHEET] for c in columns], axis=1).reshape(-1, *before.shape[1:])
    sheet = image_grid(shown, columns=len(columns))
    save_png(out / "sheet.png", sheet, scale=max(1, 600 // sheet.shape[1]))
    what = values.attribute or values.layout
    facts = {"generator": repr(model), "edit": what, "attribute": about, "layers": values.layers or "all"}
    facts |= {"mask": values.mask or "none", "latents": values.latents or f"seeds {values.seeds}"}
    write_atomic(out / "table.json", (json.dumps({"about": facts, "edits": rows}, indent=1) + "\n").encode())
    heads = ", ".join(["before", *(e.name for e in results)])
    write_page(
        out / "report.html",
        f"Edit of {len(names)} latents: {what}",
        [facts_section("Summary", facts), picture_section("Pictures", [(heads, sheet)]), table_section("Edits", rows)],
    )
    if about:
        print(f"{what}: {about}")
    print(text_table(rows))
    print(f"report: {out / 'report.html'}   latents: {out / 'latents-0.npz'} ...")
