"""What does the realism direction cost an image: as released and as searches for one number, alone and in batches?

python benchmarks/realism_cost.py [--run=zoo:fashion-dcgan] [--num=64] [--batches=1,64] [--alone=8] [--rounds=3]
    [--config=realism --config.FIELD=...] [--json=FILE]

Four ways with the same inversions, so that only their own stages differ: "released" (the recursion, then steps on s),
"forward" (steps on the angle, then on s), "grid" (values alone, for both) and "both sides" (the same on both sides of
x, where a recursion may end). A row a way and batch: for the stages of the prototype and the selection gradient steps,
evaluations without a gradient and seconds an image; what they reached (the prototype's objective; how far the way is
above the released one, code by code: median and most; the selection's loss); the seconds of the inversion before them.
A batch of one is measured on the first --alone codes. Medians with their range over alternating rounds, without
compilation.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import command
from benchmarks.tables import table
from benchmarks.train_step import spread
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.cli.realism import real_logits
from jaxgan.experiment import Model, load, seeds_to_z
from jaxgan.latent.realism import Realism, Search

WAYS = {
    "released": ("prototype.method=recursion", "select.method=forward"),
    "forward": ("prototype.method=forward", "select.method=forward"),
    "grid": ("prototype.method=grid", "select.method=grid"),
    "both sides": ("prototype.method=grid", "select.method=grid", "prototype.both_sides=True"),
}
STAGES = ("prototype", "select")

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", "zoo:fashion-dcgan", "a run directory, zoo:NAME or a file", flag_values=FLAGS)
flags.DEFINE_integer("num", 64, "codes", flag_values=FLAGS)
flags.DEFINE_list("batches", ["1", "64"], "codes a call", flag_values=FLAGS)
flags.DEFINE_integer("alone", 8, "codes that a batch of one is measured on", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)
DEFINE_config(FLAGS, "how: realism (default), or a file")


def searches(model: Model, values: flags.FlagValues) -> dict[tuple[str, int], Search]:
    """{(way, batch): search}."""
    reals, found = real_logits(model, ""), {}
    for batch in map(int, values.batches):
        for way, fields in WAYS.items():
            config = configs.load(values.config or "realism")
            configs.override(config, [*values.overrides, f"batch={batch}", *fields])
            variables = model.variables
            found[way, batch] = Search(
                model.gan, variables["generator"], variables["discriminator"], config.to_dict(), real_logits=reals
            )
    return found


def row(way: str, batch: int, runs: list[Realism], released: Realism) -> dict[str, Any]:
    """What the rounds of a way took and reached, beside what the released way did."""
    last = runs[-1]
    count = len(last.x)
    found: dict[str, Any] = {"way": way, "batch": batch, "codes": count}
    for stage in STAGES:
        found[f"{stage} steps"] = float(last.steps[stage].mean())
        found[f"{stage} evaluations"] = float(last.evaluations[stage].mean())
        found[f"{stage} s"] = spread([run.seconds[stage] / count for run in runs])
    found["recover steps"] = float(last.steps["recover"].mean())
    found["recover s"] = spread([run.seconds["recover"] / count for run in runs])
    found["objective"] = float(last.objective.mean())
    above = last.objective - released.objective
    found["above released, median"], found["most"] = float(np.median(above)), float(above.max())
    scores = (last.logits["chosen"] - last.calibration["offset"]) / last.calibration["scale"]
    found["selection loss"] = float(np.square(scores - last.calibration["target"]).mean())
    return found


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    model = load(values.run)
    generator = model.gan.generator
    made = searches(model, values)
    runs: dict[tuple[str, int], list[Realism]] = {key: [] for key in made}
    for number in range(values.rounds + 1):
        for (way, batch), search in made.items():
            count = min(values.alone, values.num) if batch == 1 else values.num
            labels = np.arange(count) % generator.num_classes if generator.num_classes else None
            found = search.find(seeds_to_z(list(range(count)), generator), labels)
            if number:  # the first compiles
                runs[way, batch].append(found)
    rows = [row(way, batch, found, runs["released", batch][-1]) for (way, batch), found in runs.items()]
    print(table(rows))
    if values.json:
        Path(values.json).write_text(json.dumps({"run": values.run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
