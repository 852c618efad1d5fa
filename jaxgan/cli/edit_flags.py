"""What the flags of `jaxgan edit` say: numbers, boxes, layers, layouts, masks."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import pictures
from jaxgan.errors import UserError
from jaxgan.latent import edit


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
    """(kind, box or name, where to or how many times) of --layout.

    Raises:
        UserError: it is none.
    """
    kind, _, rest = text.partition(":")
    if kind in ("copy", "move"):
        box, _, to = rest.partition(":")
        try:
            place = tuple(float(part) for part in to.split(","))
        except ValueError:
            place = ()
        if len(place) != 2 or not all(0 <= v <= 1 for v in place):
            raise UserError(f"--layout={text}: say where to, between 0 and 1, such as {kind}:0,0,0.5,0.5:0.5,0.5")
        return kind, parse_box(box), place
    if kind == "tile":
        box, _, times = rest.rpartition(":")
        rows, _, columns = times.partition("x")
        if rows.isdecimal() and columns.isdecimal():
            return kind, parse_box(box or "0,0,1,1"), (int(rows), int(columns))
        raise UserError(f"--layout={text}: give rows x columns, such as tile:2x2, or tile:0,0,0.5,1:2x2 of a part")
    if kind == "blend" and rest:
        return kind, rest, None
    raise UserError(f"--layout={text} is not known; use copy:BOX:TO, move:BOX:TO, tile:2x2, tile:BOX:2x2 or blend:NAME")


def parse_layers(text: str, count: int) -> range | None:
    """The rows of "0-5"; None for all.

    Raises:
        UserError: the generator does not have them.
    """
    if not text:
        return None
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < count):
        raise UserError(
            f"--layers={text}: this generator has the rows 0 to {count - 1}; give some such as 0-{count // 2}"
        )
    return range(int(first), int(last) + 1)


def read_mask(text: str, shape: tuple[int, int, int], fit: str = "crop") -> np.ndarray:
    """[H, W] in [0, 1] of a picture, fitted as the photograph was that it lies on, or of a box.

    Raises:
        UserError: it cannot be read, or marks nothing.
    """
    if Path(text).is_file():
        try:
            picture = pictures.to_channels(pictures.open_picture(Path(text).read_bytes()), 1, "black")
        except (OSError, ValueError) as error:
            raise UserError(f"--mask={text} cannot be read; give a picture, white where the edit acts") from error
        target = pictures.Target(shape[:2], 1, "box", fit, "black")
        mask = np.asarray(pictures.fit(picture, target), np.float32) / 255
    elif "," in text:
        mask = edit.feathered(parse_box(text), shape[:2], feather=0.0)[..., 0]
    else:
        raise UserError(f"--mask={text} is neither a picture nor a box top,left,bottom,right")
    if mask.max() <= 0:
        raise UserError(f"--mask={text} marks nothing; it is white where the edit acts")
    return mask
