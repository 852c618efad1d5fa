"""Edits latents: an attribute, everywhere or within a mask, or the layout of what a picture shows.

jaxgan edit --run=runs/fashion --seeds=0-7 --attribute=brightness --strength=-2,2 --out=DIR
jaxgan edit --run=RUN --latents=inverted/latents.npz --attribute=class:Sneaker --set=2 --mask=part.png --out=DIR
jaxgan edit --run=RUN --latents=inverted/latents.npz --layout=copy:0.1,0.1,0.5,0.5:0.5,0.5 --out=DIR
"""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan.cli import check_writable
from jaxgan.cli.edit_flags import numbers, parse_layers, parse_layout, read_mask
from jaxgan.cli.latents import as_found, checked, of_seeds
from jaxgan.cli.sample import check_label, parse_seeds
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load
from jaxgan.features.extract import features
from jaxgan.features.networks import load as load_network
from jaxgan.latent import attributes, edit, equalise, maps, scores
from jaxgan.latent.keys import Keys, read_latents
from jaxgan.latent.space import Statistics, has_mapping
from jaxgan.latent.spaces import kept_components, statistics, to_prior
from jaxgan.latent.walk import check_noise, render
from jaxgan.networks.gan import draw_z, extras_dim, image_box
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
    "set",
    [],
    "instead of --strength: the score to reach, in deviations over random images from their mean",
    flag_values=FLAGS,
)
flags.DEFINE_list("keep", [], "attributes whose scores stay as they are", flag_values=FLAGS)
flags.DEFINE_enum("model", "linear", ["linear", "mlp"], "of the attribute", flag_values=FLAGS)
flags.DEFINE_float(
    "equalise",
    None,
    "weight of R_eq, which keeps parts like random ones: scores are then reached by optimisation, as far as it allows; "
    "0.1 of an mlp, otherwise none",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "mask", "", "a picture, white where the edit acts, or a box top,left,bottom,right in 0..1", flag_values=FLAGS
)
flags.DEFINE_enum(
    "fit", "crop", ["crop", "pad"], "of a mask of another shape, as the photograph was fitted", flag_values=FLAGS
)
flags.DEFINE_bool("hard", False, "cells are in the mask or not, nothing between", flag_values=FLAGS)
flags.DEFINE_string("layers", "", "rows of ws that are edited, such as 0-5; all by default", flag_values=FLAGS)
flags.DEFINE_integer("grid", 8, "cells a side of the maps that are made of vectors", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "layout",
    "",
    "copy:BOX:TOP,LEFT; move:BOX:TOP,LEFT; tile:2x2 or tile:BOX:2x2, which fills the picture with all or a part of it; "
    "blend:NAME (of the latents, within --mask); BOX as in --mask",
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
_EQUALISE = 0.1  # weight of R_eq where scores are reached by optimisation
_CHUNK = 1024  # random images whose ws are held at a time


@dataclasses.dataclass(frozen=True)
class Edited:
    """Latents after an edit, what it was in a word or two, and what the attribute's model says of each, [N]."""

    name: str
    ws: np.ndarray
    predicted: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def run(values: flags.FlagValues) -> None:
    """Checks, fits, edits, measures, writes."""
    check_flags(values)
    model = load(values.run, values.weights)
    check_label(model, values.label)
    if not has_mapping(model.gan.generator) or not hasattr(model.gan.generator, "row_shapes"):
        raise UserError("edits are made in w of a StyleGAN2; this generator is none")
    model, keys = latents(model, values)
    generator, ws = model.gan.generator, keys.ws
    check_names(values, keys.names, generator.channels)
    layers = parse_layers(values.layers, generator.num_ws)
    mask = read_mask(values.mask, generator.image_shape, values.fit) if values.mask else None
    if values["grid"].present and ws.ndim == 5:
        raise UserError("--grid makes maps of vectors, and these latents are maps; leave it out")
    if values.layout and ws.ndim == 3 and parse_layout(values.layout)[0] != "blend":
        raise UserError(
            f"--layout={values.layout}: these latents are vectors, whose parts are all alike; give --latents of an "
            "inversion in --space=sw+:8, or change a part with --attribute and --mask first"
        )
    if (mask is not None or values.layout) and ws.ndim == 3:
        size = maps.size_of(str(values.grid), generator, "--grid=")
        ws = np.asarray(maps.resized(jnp.asarray(ws), size))
    cells = edit.masks_of(jnp.asarray(ws), mask, image=image_box(generator), hard=values.hard)
    out = Path(values.out)
    if values.latents and Path(values.latents).resolve().parent == out.resolve():
        raise UserError(f"--latents={values.latents} lies in --out, whose results are replaced; choose another --out")
    check_writable(out)
    stats = statistics(generator, model.variables["generator"])
    scorer, about = None, ""
    if values.layout:
        results = [laid_out(values.layout, keys.names, ws, cells, stats, image_box(generator), layers)]
        mask = mask if mask is not None else target_of(values.layout, generator.image_shape)
    else:
        results, scorer, about = attributed(model, stats, ws, cells, layers, values)
    write(out, model, dataclasses.replace(keys, ws=ws), results, mask, scorer, about, stats, values)


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
    if values.model == "mlp" and values.keep:
        raise UserError("--keep projects a linear direction; use --model=linear")
    if values.label is not None and values.latents:
        raise UserError("--label is the class of --seeds; latents have theirs in them")
    if values.hard and not values.mask:
        raise UserError("--hard is of a --mask; give one, or leave it out")
    if values["fit"].present and not Path(values.mask).is_file():
        raise UserError(f"--fit={values.fit} is of a picture as --mask; give one, or leave it out")
    if not values.layout:
        return
    kind = parse_layout(values.layout)[0]
    if kind == "blend" and not values.mask:
        raise UserError("--layout=blend needs --mask, where the other picture is to show")
    idle = [name for name in ("strength", "set", "keep", "equalise") if values[name].value]
    idle += ["mask"] if values.mask and kind != "blend" else []
    if idle:
        raise UserError(f"--{idle[0]} does nothing with --layout={kind}; leave it out")


def check_names(values: flags.FlagValues, names: list[str], channels: int) -> None:
    """Raises UserError for attributes of pixels, or a picture to blend with, that there are not."""
    for name in [values.attribute, *values.keep]:
        if name and not is_direction(name) and name.partition(":")[0] != "class":
            scores.pixel_scorer(name, channels)
    if values.layout:
        kind, other, _ = parse_layout(values.layout)
        if kind == "blend" and other not in names:
            raise UserError(f"--layout={values.layout}: there is no {other} among {', '.join(names[:8])}")


def latents(model: Model, values: flags.FlagValues) -> tuple[Model, Keys]:
    """The latents of --latents or --seeds, with the model as they were found with it.

    Raises:
        UserError: they are another generator's, or of a space whose maps differ in size.
    """
    if values.seeds:
        return model, of_seeds(model, parse_seeds(values.seeds), values.label)[0]
    keys = read_latents(values.latents)
    model = as_found(model, keys)
    keys = checked(keys, model, values.latents)
    noise = check_noise(model.gan.generator, keys.noise, len(keys.names)) if keys.noise else ()
    return model, dataclasses.replace(keys, noise=noise)


def random_images(model: Model, stats: Statistics, values: flags.FlagValues) -> tuple[np.ndarray, np.ndarray]:
    """(whitened w [N, w_dim] of random latents, their uint8 images) that attributes are fitted to."""
    generator = model.gan.generator
    parts, images = [], []
    with progress_bar("random images") as bar:
        for first in range(0, values.samples, _CHUNK):
            count = min(_CHUNK, values.samples - first)
            labels = jnp.arange(first, first + count) % generator.num_classes if generator.num_classes else None
            ws = model.map(draw_z(generator, jax.random.key(_SEED + first), count), labels)
            parts.append(attributes.whitened(generator, stats, np.asarray(ws[:, 0])))
            drawn = draw_numbers(generator, count, first)
            frames = render(generator, model.variables["generator"], np.asarray(ws)[None], batch=_BATCH, extras=drawn)
            images.append(frames.frames[0])
            bar(first + count, values.samples)
    return np.concatenate(parts), np.concatenate(images)


def draw_numbers(generator: Any, count: int, seed: int) -> np.ndarray | None:
    """What a generator takes beside ws, [1, count, D], drawn; None for most."""
    if not extras_dim(generator):
        return None
    return np.asarray(generator.draw_extras(jax.random.split(jax.random.key(seed), count)))[None]


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
    if is_direction(name):
        if targets or values.keep or values.model != "linear" or values.equalise is not None:
            raise UserError(
                "--set, --keep, --equalise and --model=mlp are for attributes with a score, and a direction has none"
            )
        direction = direction_of(name, model, layers, values)
        made = [
            Edited(f"{s:+g}", np.asarray(edit.shift(given, direction, s, layers=layers, cells=cells)))
            for s in strengths
        ]
        return made, None, direction.about
    scorer, about = scorer_of(name, model, values)
    others = [scorer_of(other, model, values)[0] for other in values.keep]
    v, images = random_images(model, stats, values)
    kept = kept_components(stats)
    fit = attributes.fit_mlp if values.model == "mlp" else attributes.fit_linear
    fitted = fit(v, scorer(images), kept)
    # With --keep the score is the whole model's, and the way to it one that leaves the others alone.
    along = fitted
    if others:
        along = attributes.without(fitted, [attributes.fit_linear(v, other(images), kept) for other in others])
    where = {"layers": layers, "cells": cells}
    if ws.ndim == 5:
        where["seen"] = edit.shown_cells(ws.shape[2:4], image_box(generator))
    made = []
    for amount in targets or strengths:
        now = edit.score(fitted, generator, stats, given, **where)
        change = amount - now if targets else jnp.full(len(given), amount)
        # Along the projected normal the whole score changes as much as the projected one.
        wanted = edit.score(along, generator, stats, given, **where) + change
        if values.model == "linear" and values.equalise is None:
            changed = edit.set_score(along, generator, stats, given, wanted, **where)
        else:
            weight = _EQUALISE if values.equalise is None else values.equalise
            changed = edit.reach_score(along, generator, stats, given, wanted, kept=kept, weight=weight, **where)
        reached = edit.score(fitted, generator, stats, changed, **where)
        predicted = {"model: before": now, "model: asked for": now + change, "model: after": reached}
        label = f"= {amount:g}" if targets else f"{amount:+g}"
        made.append(Edited(label, np.asarray(changed), {k: np.asarray(v) for k, v in predicted.items()}))
    about += f"; {values.model} model on {values.samples} random images, correlation {fitted.fit:.2f} on held-out ones"
    mean, deviation = fitted.mean, fitted.deviation
    return made, lambda shown: (scorer(shown) - mean) / deviation, about


def is_direction(name: str) -> bool:
    """Whether --attribute names a direction, which has no score."""
    return name.partition(":")[0] in ("pca", "sefa") or name.endswith(".npy")


def direction_of(name: str, model: Model, layers: range | None, values: flags.FlagValues) -> attributes.Direction:
    """The direction of pca:K, sefa:K or a file.

    Raises:
        UserError: there is none.
    """
    generator, (kind, _, number) = model.gan.generator, name.partition(":")
    if name.endswith(".npy"):
        return attributes.from_file(name, generator)
    if not number.isdecimal():
        raise UserError(f"--attribute={name}: give a number, such as {kind}:0")
    z = np.random.default_rng(_SEED).standard_normal((10_000, generator.z_dim)).astype(np.float32)
    labels = jnp.arange(len(z)) % generator.num_classes if generator.num_classes else None
    w = np.asarray(model.map(jnp.asarray(z), labels))[:, 0]
    if kind == "pca":
        return attributes.principal(w, int(number))
    return attributes.factor(model.variables["generator"], w, int(number), layers)


def target_of(layout: str, shape: tuple[int, int, int]) -> np.ndarray | None:
    """[H, W]: where a part is copied or moved to; None for other layouts."""
    kind, box, to = parse_layout(layout)
    if kind not in ("copy", "move"):
        return None
    top, left = to
    bottom, right = min(top + box[2] - box[0], 1.0), min(left + box[3] - box[1], 1.0)
    found = edit.feathered((top, left, bottom, right), shape[:2], feather=0.0)[..., 0]
    return found if found.any() else None


def laid_out(
    text: str,
    names: list[str],
    ws: np.ndarray,
    cells: Any,
    stats: Statistics,
    image: edit.Box,
    layers: range | None,
) -> Edited:
    """The edit of --layout, in a picture that lies at `image` on the canvas of its maps, in some layers or all.

    Raises:
        UserError: maps that are larger than the image are to be tiled, or a part would not move.
    """
    edited = _laid_out(text, names, jnp.asarray(ws), cells, stats, image)
    if layers is None:
        return edited
    chosen = np.isin(np.arange(ws.shape[1]), list(layers)).reshape(-1, *(1,) * (ws.ndim - 2))
    return Edited(edited.name, np.where(chosen, edited.ws, ws))


def _laid_out(text: str, names: list[str], given: jax.Array, cells: Any, stats: Statistics, image: edit.Box) -> Edited:
    kind, first, second = parse_layout(text)
    if kind in ("copy", "move"):
        box, to = edit.on_canvas(first, image), edit.on_canvas(second, image)
        size = given.shape[2:4]
        if not any(edit.moved_part(box, to, size)[0]):
            raise UserError(f"--layout={text}: that is less than half of a cell away; these maps have {size}")
        if kind == "copy":
            return Edited(kind, np.asarray(edit.paste(given, box, to)))
        return Edited(kind, np.asarray(edit.move(given, box, to, stats.w_mean[None])))
    if kind == "tile":
        if image[0] > 0:
            raise UserError(f"--layout={text}: this generator paints any size; use `jaxgan sample --size`")
        return Edited(kind, np.asarray(edit.tile(given, *second, first)))
    other = given[names.index(first)][None]
    return Edited(f"with {first}", np.asarray(edit.blend(given, jnp.broadcast_to(other, given.shape), cells)))


def likeliness(model: Model, stats: Statistics, ws: np.ndarray) -> np.ndarray:
    """R_eq [N] of latents: 0 where each part is like a random w."""
    generator, kept = model.gan.generator, kept_components(stats)
    parts = jnp.asarray(ws).reshape(len(ws), -1, generator.w_dim)
    v = to_prior(generator, stats, parts)[..., :kept]
    return np.asarray(equalise.equalise(v, equalise.level(kept)))


def changes(before: np.ndarray, after: np.ndarray, mask: np.ndarray | None) -> dict[str, np.ndarray]:
    """Mean squared change of images in [0, 1], [N] each: of all, or within a mask [H, W] and outside."""
    difference = np.square((after.astype(np.float64) - before) / 255).mean(-1)
    if mask is None:
        return {"MSE": difference.mean((1, 2))}
    parts = {"MSE within the mask": mask, "MSE outside": 1 - mask}
    return {name: (difference * part).sum((1, 2)) / max(part.sum(), 1e-9) for name, part in parts.items()}


def reach_of(generator: Any, grid: tuple[int, int], layers: range | None) -> str:
    """The words for how far a change of a map's cells reaches in the image."""
    if extras_dim(generator):
        return "everywhere: this generator normalises over the image"
    top, left, bottom, right = image_box(generator)
    height, width, _ = generator.image_shape
    cell = max(height / ((bottom - top) * grid[0]), width / ((right - left) * grid[1]))
    pixels = edit.reach(generator.resolution, cell, layers)
    return f"up to {pixels:.0f} px beyond it, of an image of {width}x{height}"


def write(
    out: Path,
    model: Model,
    keys: Keys,
    results: list[Edited],
    mask: np.ndarray | None,
    scorer: scores.Scorer | None,
    about: str,
    stats: Statistics,
    values: flags.FlagValues,
) -> None:
    """latents-N.npz and images of each edit, sheet.png, table.json, report.html; prints the table of their means."""
    generator, names, ws = model.gan.generator, keys.names, keys.ws
    for stale in (*out.glob("edit[0-9]*"), *out.glob("latents-[0-9]*.npz")):  # of an earlier edit in the folder
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    beside = None if keys.extras is None else keys.extras[:, None]

    def images_of(codes: np.ndarray) -> np.ndarray:
        noise = tuple(keys.noise) or "const"
        return render(generator, model.variables["generator"], codes[:, None], noise, _BATCH, extras=beside).frames[
            :, 0
        ]

    before = images_of(ws)
    columns, rows, of_each = [before], [], []
    old = None if scorer is None else scorer(before)
    was = likeliness(model, stats, ws)
    for number, edited in enumerate(results):
        after = images_of(edited.ws)
        columns.append(after)
        each = edited.predicted | changes(before, after, mask)
        if scorer is not None:
            each |= {"score before": old, "score after": scorer(after)}
        each |= {"R_eq before": was, "R_eq after": likeliness(model, stats, edited.ws)}
        rows.append({"edit": edited.name, **{k: float(v.mean()) for k, v in each.items()}})
        of_each += [
            {"edit": edited.name, "picture": name, **{k: float(v[i]) for k, v in each.items()}}
            for i, name in enumerate(names)
        ]
        for name, image in zip(names, after):
            save_png(out / f"edit{number}" / f"{name}.png", image)
        buffer = io.BytesIO()
        more = {f"noise{i}": m for i, m in enumerate(keys.noise)}
        more |= {} if keys.extras is None else {"extras": keys.extras}
        if edited.ws.ndim == 5:
            more["maps_as"] = np.asarray(keys.maps_as or (generator.demodulation, generator.latent_filter))
        np.savez(buffer, ws=edited.ws, names=np.asarray(names), space="edited", **more)
        write_atomic(out / f"latents-{number}.npz", buffer.getvalue())
    shown = np.stack([c[:_SHEET] for c in columns], axis=1).reshape(-1, *before.shape[1:])
    sheet = image_grid(shown, columns=len(columns))
    save_png(out / "sheet.png", sheet, scale=max(1, 600 // sheet.shape[1]))
    what = values.attribute or values.layout
    facts = {"generator": repr(model), "edit": what, "attribute": about, "layers": values.layers or "all"}
    facts |= {"mask": values.mask or "none", "latents": values.latents or f"seeds {values.seeds}"}
    if ws.ndim == 5:
        facts["reach"] = reach_of(generator, ws.shape[2:4], parse_layers(values.layers, generator.num_ws))
    write_atomic(
        out / "table.json", (json.dumps({"about": facts, "edits": rows, "images": of_each}, indent=1) + "\n").encode()
    )
    heads = ", ".join(["before", *(e.name for e in results)])
    write_page(
        out / "report.html",
        f"Edit of {len(names)} latents: {what}",
        [
            facts_section("Summary", facts),
            picture_section("Pictures", [(heads, sheet)]),
            table_section("Edits, in the mean", rows),
            table_section("Each picture", of_each),
        ],
    )
    if about:
        print(f"{what}: {about}")
    if "reach" in facts:
        print(f"a change of a cell reaches {facts['reach']}")
    print(text_table(rows))
    print(f"report: {out / 'report.html'}   latents: {out / 'latents-0.npz'} ...")
