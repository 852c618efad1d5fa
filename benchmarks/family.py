"""How good are several generators, measured alike?

python benchmarks/family.py --runs=runs/fashion_dcgan,zoo:fashion-pggan,... [--data=fashion] [--samples=5000]
    [--metrics=fd,kid,swd,ms_ssim] [--repeats=1] [--out=DIR] [--json=FILE]

Prints a Markdown table: a row a generator, a column a measure, each with its spread, and the real-against-real floor
last (of MS-SSIM: its value among reals). --out keeps a grid of the same 64 seeds of each.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command
from jaxgan.cli import enable_compilation_cache, parse
from jaxgan.cli.evaluate import open_reals
from jaxgan.experiment import Model, load, model_file, seeds_to_z
from jaxgan.metrics import Card, Settings, evaluate
from jaxgan.report import image_grid, save_png, to_uint8
from jaxgan.training.evaluation import at_level
from jaxgan.training.watch import read_metrics

FLAGS = flags.FlagValues()
flags.DEFINE_list("runs", None, "run directories, zoo:NAME or exported files", required=True, flag_values=FLAGS)
flags.DEFINE_string("data", "", "the real images; by default those of the first one's training", flag_values=FLAGS)
flags.DEFINE_string("split", "train", "their split", flag_values=FLAGS)
flags.DEFINE_list("metrics", ["fd", "kid", "swd", "ms_ssim"], "see `jaxgan evaluate --help`", flag_values=FLAGS)
flags.DEFINE_integer("samples", 5000, "fakes of each", flag_values=FLAGS)
flags.DEFINE_integer("repeats", 1, "draws of fakes", flag_values=FLAGS)
flags.DEFINE_string("out", "", "a folder for grids", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the cards", flag_values=FLAGS)


def name_of(run: str) -> str:
    """A short name for a row."""
    file = model_file(run)
    return Path(run).name if file is None else file.stem


def grid(model: Model) -> np.ndarray:
    """Images of seeds 0 to 63, without truncation."""
    z = jnp.asarray(seeds_to_z(list(range(64)), model.gan.generator))
    classes = model.gan.generator.num_classes
    labels = jnp.arange(64) % classes if classes else None
    return image_grid(to_uint8(np.asarray(model.synthesize(model.map(z, labels)))))


def training_minutes(run: str) -> float | None:
    """Minutes that a run took by its own rows, from the first step to the last; None of a file."""
    if model_file(run) is not None:
        return None
    rows = read_metrics(run)
    seen = [0, *(r["images_seen"] for r in rows)]
    seconds = [r["seconds_per_kimg"] * (b - a) / 1000 for r, (a, b) in zip(rows, itertools.pairwise(seen))]
    return sum(seconds) / 60


def value(card: Card) -> str:
    """A number with its spread, to four places of what matters."""
    spread = f" ± {card.spread:.2g}" if card.spread is not None else ""
    return f"{card.value:.4g}{spread}"


def table(rows: dict[str, dict[str, Any]], floors: dict[str, str]) -> str:
    """Markdown."""
    columns = list(floors)
    lines = [f"| generator | minutes | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for name, row in rows.items():
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.0f}"
        lines.append(f"| {name} | {minutes} | {' | '.join(value(c) for c in row['cards'])} |")
    return "\n".join([*lines, f"| reals | | {' | '.join(floors.values())} |"])


def main(argv: list[str]) -> None:
    """Parses the flags, measures, prints."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    settings = Settings(tuple(values.metrics), num_samples=values.samples, repeats=values.repeats)
    rows: dict[str, dict[str, Any]] = {}
    images = None
    for run in values.runs:
        model = load(run)
        images = images or open_reals(values.data or model.config.data.source, values.split)
        start = time.monotonic()
        found = evaluate(model.subject(), at_level(model.config.to_dict(), images, model.gan), settings)
        rows[name_of(run)] = {"minutes": training_minutes(run), "cards": found.cards}
        print(f"{run}: measured in {time.monotonic() - start:.0f} s", file=sys.stderr)
        if values.out:
            save_png(Path(values.out) / f"{name_of(run)}.png", grid(model))
    cards = next(iter(rows.values()))["cards"]
    floors = {c.metric: f"{c.of_reals if c.floor is None else c.floor:.4g}" for c in cards}
    print(table(rows, floors))
    kind = jax.devices()[0].device_kind
    print(f"\n{values.samples:,} fakes each; reals: {cards[0].data}; {jax.device_count()} x {kind}")
    if values.json:
        kept = {name: row | {"cards": [c.to_dict() for c in row["cards"]]} for name, row in rows.items()}
        Path(values.json).write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
