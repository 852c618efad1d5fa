"""Writes a trained generator and discriminator to one file: this library's own, another project's, or a program.

jaxgan export --run=runs/fashion --out=fashion.npz [--format=npz] [--half] [--weights=raw] [--data=...] [--card=FILE]

npz and safetensors are what every --run=FILE and `jaxgan.load` open; --half, --data and --card are theirs. nvidia and
rosinality open with those projects' own code. stablehlo is the generator alone, a program that needs JAX only.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from jaxgan.cli import check_writable
from jaxgan.errors import UserError
from jaxgan.experiment import Model, export, load
from jaxgan.interchange import nvidia, rosinality, stablehlo


class Format(NamedTuple):
    """How a file of the format ends, and what writes it; None is `jaxgan.experiment.export`."""

    suffix: str
    write: Callable[[Model, Path], None] | None = None


FORMATS = {
    "npz": Format(".npz"),
    "safetensors": Format(".safetensors"),
    "nvidia": Format(".pkl", nvidia.write),
    "rosinality": Format(".pt", rosinality.write),
    "stablehlo": Format(stablehlo.SUFFIX, stablehlo.write),
}

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file", required=True, flag_values=FLAGS)
flags.DEFINE_string("out", None, "the file to write", required=True, flag_values=FLAGS)
flags.DEFINE_enum("format", None, list(FORMATS), "by default what --out ends in says", flag_values=FLAGS)
flags.DEFINE_bool("half", False, "half precision: half the size", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_string("data", "", "what config.data.source says in the file; by default as in the run", flag_values=FLAGS)
flags.DEFINE_string("card", "", "a JSON file of how it was made, kept inside", flag_values=FLAGS)


def run(values: flags.FlagValues) -> None:
    """Loads, writes, says how large it is."""
    out = Path(values.out)
    chosen = choose_format(values.format, out)
    ours = chosen.write is None
    for flag in ("half", "data", "card"):
        if getattr(values, flag) and not ours:
            raise UserError(f"--{flag} is for --format=npz and safetensors; leave it out")
    card = read_card(values.card) if values.card else {}
    model = load(values.run, values.weights)
    check_writable(out.parent, named=out)
    if values.data:
        model.config.data.source = values.data
    if ours:
        export(model, out, card, half=values.half)
    else:
        chosen.write(model, out)
    print(f"{out}: {model}, {model.weights} weights, {out.stat().st_size / 1e6:.2f} MB")


def choose_format(name: str | None, out: Path) -> Format:
    """The format of that name, or of a file that ends so.

    Raises:
        UserError: the file ends in something else.
    """
    if name is None:
        found = [known for known in FORMATS.values() if known.suffix == out.suffix]
        if not found:
            endings = ", ".join(f"{known.suffix} ({key})" for key, known in FORMATS.items())
            raise UserError(f"--out={out} must end in one of {endings}")
        return found[0]
    if out.suffix != FORMATS[name].suffix:
        raise UserError(f"--out={out} must end in {FORMATS[name].suffix} for --format={name}")
    return FORMATS[name]


def read_card(path: str) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: it cannot be read or is no object.
    """
    try:
        card = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--card={path} cannot be read ({error}); give a JSON file") from error
    if not isinstance(card, dict):
        raise UserError(f'--card={path} holds no JSON object; write {{"commands": [...], ...}}')
    return card
