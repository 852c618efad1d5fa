"""Makes a run directory of weights in a file, on which every verb works and training goes on; with a report.

jaxgan import --source=ffhq.pkl --workdir=runs/ffhq [--config.field=value ...] [--reference=CHECKOUT]

The file is another program's, one of `jaxgan export`, or zoo:NAME. For DCGANs of PyTorch's tutorial --reference=torch.
"""

import dataclasses
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxgan import config as configs
from jaxgan.cli import check_writable
from jaxgan.errors import UserError
from jaxgan.experiment import CONFIG_FILE, Model, adopt, model_file, model_of, seeds_to_z
from jaxgan.interchange import archive, own, parity, reference
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.read import open_file
from jaxgan.networks.build import check

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "source", None, "a file of another program or of `jaxgan export`, or zoo:NAME", required=True, flag_values=FLAGS
)
flags.DEFINE_string("workdir", None, "the run directory to make", required=True, flag_values=FLAGS)
flags.DEFINE_multi_string("overrides", [], "what --config.field=value gave, for the training", flag_values=FLAGS)
flags.DEFINE_integer(
    "images",
    -1,
    "in the report's grid; by default 16, fewer above 256 px",
    lower_bound=-1,
    upper_bound=256,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "reference",
    "",
    "a checkout of the project that wrote the file: its code, which may execute what is in the file, opens it too, and "
    "the outputs are compared; the word torch for DCGANs of PyTorch's tutorial, which need no more",
    flag_values=FLAGS,
)
flags.DEFINE_string("reference_python", sys.executable, "an interpreter that has what that needs", flag_values=FLAGS)

FOLDER = "imported"  # in the run directory: report.html and report.json
_GRID_PIXELS = 1 << 20
# What may be set for the training; everything else of the network is the file's.
_FREE = ("dtype", "low_precision_levels", "mbstd_group", "conv_clamp")


def run(values: flags.FlagValues) -> None:
    """Reads, checks, writes the checkpoint and the report."""
    workdir = Path(values.workdir)
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"--workdir={workdir} is not empty; name a new one")
    source, imported = _opened(values.source)
    _set_fields(imported.config, values.overrides)
    differences = None
    if values.reference:
        reference.check(imported.format, values.reference)
        differences = reference.compare(imported, source, values.reference, values.reference_python)
    check_writable(workdir)
    model = imported.config.model
    count = values.images
    if count < 0:
        count = min(max(_GRID_PIXELS // model.resolution**2, 1), 16)
    # Before the run is made, whose optimisers need several times the networks' memory.
    drawing = dataclasses.replace(imported, raw=None, discriminator=None)
    images = _grid(model_of(drawing, source), count) if count else None
    adopt(imported, workdir)
    found = parity.facts(imported, source, differences)
    parity.write(workdir / FOLDER, found, images)
    print(
        f"{values.source} ({imported.format}): {model.architecture}, {model.resolution} px, {model.num_classes} classes"
    )
    print(", ".join(f"{count} tensors {what}" for what, count in found["tensors"].items()))
    for difference in differences or []:
        print(f"{difference.output}: {difference.relative:.2g} relative to the reference")
    if found["raw_is_average"]:
        print("raw generator: a copy of the average in the file")
    for name, what in imported.account.made_up.items():
        print(f"made up: {name}: {what}")
    print(f"report: {workdir / FOLDER / parity.PAGE}")
    print(f"next:   jaxgan sample --run={workdir} --seeds=0-63 --out={workdir / 'images'}")
    seen, total = imported.images_seen / 1000, imported.config.total_kimg
    more = f" --config.total_kimg={seen + 1000:g}" if seen >= total else ""
    print(f"        jaxgan train --workdir={workdir} --config.data.source=DATA{more}")


def _opened(source: str) -> tuple[Path, Imported]:
    """The file that --source means, and what it holds.

    Raises:
        UserError: it is a run directory, or no file that can be read.
    """
    if (Path(source) / CONFIG_FILE).is_file():
        raise UserError(
            f"--source={source} is a run directory already: every --run takes it, and "
            f"`jaxgan train --workdir={source}` goes on from it"
        )
    path = model_file(source) or Path(source)
    if path.suffix not in archive.SUFFIXES:
        return path, open_file(path)
    imported, _ = own.read(path)
    imported.config.data.num_images = configs.AUTO  # it may be trained on with other data than before
    return path, imported


def _set_fields(config: configs.ConfigDict, overrides: list[str]) -> None:
    """Applies --config.field=value.

    Raises:
        UserError: it would change the network.
    """
    for text in overrides:
        part, _, field = text.partition("=")[0].partition(".")
        if part == "model" and field not in _FREE:
            raise UserError(f"--config.{text}: the network is the file's; of it, {', '.join(_FREE)} can be set")
    configs.override(config, overrides)
    check(config.model.to_dict())


def _grid(model: Model, count: int) -> np.ndarray:
    """Images of the first seeds, one at a time: large ones need not fit the memory together."""
    generator = model.gan.generator
    images = []
    for seed in range(count):
        labels = jnp.asarray([seed % generator.num_classes]) if generator.num_classes else None
        ws = model.map(jnp.asarray(seeds_to_z([seed], generator)), labels)
        images.append(np.asarray(model.synthesize(ws)))
    return np.concatenate(images)
