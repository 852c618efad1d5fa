"""Writes a trained generator and discriminator to one file, which every --run=FILE and `jaxgan.load` open.

jaxgan export --run=runs/fashion --out=fashion.npz [--half] [--weights=raw] [--data=...] [--card=card.json]
"""

import json
from pathlib import Path

from absl import flags

from jaxgan.errors import UserError
from jaxgan.experiment import export, load

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_string("out", None, "the file to write, NAME.npz", required=True, flag_values=FLAGS)
flags.DEFINE_bool("half", False, "half precision: half the size", flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)
flags.DEFINE_string("data", "", "what config.data.source says in the file; by default as in the run", flag_values=FLAGS)
flags.DEFINE_string("card", "", "a JSON file of how it was made, kept inside", flag_values=FLAGS)


def run(values: flags.FlagValues) -> None:
    """Loads, writes, says how large it is."""
    out = Path(values.out)
    if out.suffix != ".npz":
        raise UserError(f"--out={out} must end in .npz")
    card = read_card(values.card) if values.card else {}
    model = load(values.run, values.weights)
    if values.data:
        model.config.data.source = values.data
    export(model, out, card, half=values.half)
    print(f"{out}: {model}, {model.weights} weights, {out.stat().st_size / 1e6:.2f} MB")


def read_card(path: str) -> dict:
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
