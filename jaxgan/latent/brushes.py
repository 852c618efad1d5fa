"""What a user draws: strokes of colour, sketches, and patches dragged to another place.

Every brush gives `Strokes`, a picture and a mask of where it counts, of the size that the generator has. The loss that
a mask is used in decides what the strokes ask for: colours, or edges.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgan.data import pictures
from jaxgan.errors import UserError
from jaxgan.ops import resize

CHANNELS = (1, 3, 4)
_ROUNDING = 1e-6  # opacity below which nothing is drawn


class Strokes(NamedTuple):
    """What is asked for, and where.

    Attributes:
      colours: float32 `[H, W, C]` in [-1, 1]; 0 where nothing is drawn.
      mask: float32 `[H, W, 1]` in [0, 1], 1 where it counts in full.
    """

    colours: np.ndarray
    mask: np.ndarray


def read_scribble(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    *,
    mask_path: str | os.PathLike | None = None,
    fit: str = "crop",
    filter: str = "bilinear",
    binarise: bool = False,
) -> Strokes:
    """A drawing on a transparent background, as colours and mask.

    It is brought to the size by one resize. There colours count as much as they are opaque, in floating point, so that
    the arbitrary colours of transparent pixels do not bleed into the strokes and faint strokes keep their colours.

    Args:
      path: a picture of any size, mode and format that Pillow reads.
      shape: `(H, W, C)` of the generator's images. C = 1 turns colours to grey by Pillow's rule (ITU-R 601-2); the
        fourth of four channels is 1: what is drawn is opaque.
      mask_path: a picture of the drawing's size that takes the place of its transparency: white where it counts. Its
        transparent pixels are black.
      fit: "crop" cuts the centre to the proportions of `shape`, "pad" keeps all of the drawing in the middle. The
        photograph that was drawn on must have been fitted alike.
      filter: one of `jaxgan.ops.resize.ANTIALIASED`. What the negative lobes of a sharper one leave outside of the
        ranges is clipped.
      binarise: make the mask 1 where it is at least 1/2, and 0 elsewhere, after resizing.

    Raises:
      UserError: the file cannot be read, has no transparency, or nothing is drawn where it would count.
    """
    _check_arguments(shape, fit, filter)
    drawing = _open(path)
    if mask_path is None and drawing.mode == "RGB":
        raise UserError(
            f"{path}: a picture without transparency does not show where it is drawn on; draw on a transparent "
            "background, or give --mask"
        )
    alpha = None if mask_path is None else _read_mask(mask_path, drawing.size, path)
    colours, mask = fitted(drawing, shape, fit, filter, alpha=alpha)
    drawn = mask > _ROUNDING
    if binarise:
        drawn = mask >= 0.5
        mask = drawn.astype(np.float64)
    if not drawn.any():
        where = "" if fit == "pad" else " inside the centre that fit='crop' keeps (fit='pad' keeps all)"
        what = "covers half a pixel (draw thicker, or do without binarise)" if binarise else "is drawn"
        raise UserError(f"{mask_path or path}: nothing {what}{where}")
    return Strokes(np.where(drawn, colours, 0).astype(np.float32), np.where(drawn, mask, 0).astype(np.float32))


def fitted(
    drawing: Image.Image, shape: tuple[int, int, int], fit: str, filter: str, *, alpha: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A drawing at a size: (colours `[H, W, C]` in [-1, 1], mask `[H, W, 1]` in [0, 1]), float64.

    Args:
      drawing, shape, fit, filter: as in `read_scribble`.
      alpha: `[H', W', 1]` in [0, 1], of the drawing's size, in place of its own transparency.
    """
    values = _values(drawing, "LA" if shape[2] == 1 else "RGBA")
    if alpha is not None:
        values[..., -1:] = alpha
    values[..., :-1] *= values[..., -1:]
    values = _fit(values, shape[:2], fit, filter)
    mask = values[..., -1:].clip(0, 1)
    colours = (values[..., :-1] / np.where(mask > _ROUNDING, values[..., -1:], 1)).clip(0, 1) * 2 - 1
    if shape[2] == 4:
        colours = np.concatenate((colours, np.ones_like(mask)), axis=-1)
    return colours, mask


def read_sketch(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    *,
    mask_path: str | os.PathLike | None = None,
    fit: str = "crop",
    filter: str = "bilinear",
    binarise: bool = False,
) -> Strokes:
    """A drawing of which only the lines matter, for losses on edges (HOG): black on white, whatever its colours.

    The mask is of the strokes, and the picture is white where the mask is 0, so the edges beside a line are in it.
    Arguments and errors are those of `read_scribble`.
    """
    mask = read_scribble(path, shape, mask_path=mask_path, fit=fit, filter=filter, binarise=binarise).mask
    image = np.repeat(1 - 2 * mask, shape[-1], axis=-1)
    if shape[-1] == 4:
        image[..., 3] = 1
    return Strokes(image, mask)


@dataclasses.dataclass(frozen=True)
class Warp:
    """A square patch of an image, dragged. All are whole pixels of the generator's image, x to the right and y down.

    Attributes:
      x, y: the patch's middle where it is taken; it has the columns from `x - size // 2`, `size` of them, and the rows
        likewise. The top left pixel of an image is (0, 0).
      dx, dy: how far it is dragged. (0, 0) holds it in place.
      size: its side, at least 1.
    """

    x: int
    y: int
    dx: int
    dy: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"warp {self}: a patch of size {self.size}; give 1 or more")

    def __str__(self) -> str:
        return ",".join(map(str, dataclasses.astuple(self)))


def parse_warp(text: str) -> Warp:
    """A warp from "x,y,dx,dy,size".

    Raises:
      UserError: it is not five whole numbers, or the size is less than 1.
    """
    try:
        return Warp(*map(int, text.split(",")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"warp {text!r}: not five whole numbers; give x,y,dx,dy,size in pixels, for example 32,20,0,-6,9"
        ) from error


def apply_warps(image: np.ndarray, warps: Sequence[Warp]) -> Strokes:
    """Each patch of an image `[H, W, C]` at its new place, and nothing elsewhere.

    All patches are taken from the image as it is given; where they meet, the last one stands. As in iGAN (Zhu et al.
    2016, arXiv 1609.03552) the same strokes are meant for a loss on colours and one on HOG, and the old place is free.

    Raises:
      UserError: a patch lies partly outside of the image, before or after.
    """
    image = np.asarray(image, np.float32)
    height, width, _ = image.shape
    for warp in warps:
        _check_inside(warp, height, width)
    colours, mask = np.zeros_like(image), np.zeros((height, width, 1), np.float32)
    for warp in warps:
        new = _patch(warp, warp.dx, warp.dy)
        colours[new], mask[new] = image[_patch(warp, 0, 0)], 1
    return Strokes(colours, mask)


def unite(*strokes: Strokes) -> Strokes:
    """All strokes as one, from the oldest to the newest: newer ones cover older ones, and masks are united.

    A soft stroke covers as much as its mask says, so this is the usual "over" of colours with transparency.

    Raises:
      UserError: there are none, or they are of different sizes.
    """
    if not strokes:
        raise UserError("no strokes to unite; give at least one")
    shapes = {(*s.colours.shape, *s.mask.shape[:2]) for s in strokes}
    if len(shapes) > 1:
        sizes = " and ".join(str(s.colours.shape) for s in strokes)
        raise UserError(f"strokes of shapes {sizes} cannot be united; read them all with the generator's shape")
    colours, mask = strokes[0]
    for newer in strokes[1:]:
        left = mask * (1 - newer.mask)
        united = newer.mask + left
        total = newer.mask * newer.colours + left * colours
        colours = np.where(united > 0, total / np.where(united > 0, united, 1), 0).astype(np.float32)
        mask = united.astype(np.float32)
    return Strokes(colours, mask)


def _check_arguments(shape: tuple[int, int, int], fit: str, filter: str) -> None:
    if len(shape) != 3 or min(shape) < 1 or shape[-1] not in CHANNELS:
        raise UserError(f"shape={shape} is no shape of images; give (H, W, C) with C one of 1, 3, 4")
    if fit not in pictures.FITS:
        raise UserError(f"fit={fit!r}; choose one of {', '.join(pictures.FITS)}")
    if filter not in resize.ANTIALIASED:
        raise UserError(f"filter={filter!r}; choose one of {', '.join(resize.ANTIALIASED)}")


def _open(path: str | os.PathLike) -> Image.Image:
    """In mode RGBA if anything in it may be transparent, otherwise RGB."""
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a picture") from error
    try:
        picture = pictures.open_picture(data)
        return picture.convert("RGBA") if picture.has_transparency_data else pictures.to_channels(picture, 3)
    except Exception as error:  # decoders raise nearly anything on broken pictures
        raise UserError(f"{path}: not a picture that Pillow reads ({type(error).__name__}); save it as PNG") from error


def _values(picture: Image.Image, mode: str) -> np.ndarray:
    """In mode "LA" or "RGBA": float64 `[H, W, K]` in [0, 1]."""
    return np.asarray(picture.convert("RGBA").convert(mode)) / 255


def _read_mask(path: str | os.PathLike, size: tuple[int, int], drawing: str | os.PathLike) -> np.ndarray:
    picture = _open(path)
    if picture.size != size:
        (w, h), (width, height) = picture.size, size
        raise UserError(f"{path}: {w}x{h} pixels, but {drawing} has {width}x{height}; give a mask of the same size")
    values = _values(picture, "LA")
    return values[..., :1] * values[..., 1:]


def _fit(values: np.ndarray, size: tuple[int, int], fit: str, filter: str) -> np.ndarray:
    """`[H', W', K]` -> `[*size, K]`, as `jaxgan.data.pictures.fit` does, but in float64."""
    height, width = values.shape[:2]
    if fit == "crop":
        left, upper, right, lower = pictures.centre_box((width, height), size[::-1])
        return _resize(values[upper:lower, left:right], size, filter)
    scale = min(size[0] / height, size[1] / width)
    inner = tuple(max(1, round(side * scale)) for side in (height, width))
    result = np.zeros((*size, values.shape[-1]))
    top, left = ((outer - side) // 2 for outer, side in zip(size, inner))
    result[top : top + inner[0], left : left + inner[1]] = _resize(values, inner, filter)
    return result


def _resize(values: np.ndarray, size: tuple[int, int], filter: str) -> np.ndarray:
    rows, columns = (resize.matrix(*sides, filter) for sides in zip(values.shape[:2], size))
    return np.einsum("oh,hwc,pw->opc", rows, values, columns, optimize=True)


def _patch(warp: Warp, dx: int, dy: int) -> tuple[slice, slice]:
    left, top = warp.x + dx - warp.size // 2, warp.y + dy - warp.size // 2
    return slice(top, top + warp.size), slice(left, left + warp.size)


def _check_inside(warp: Warp, height: int, width: int) -> None:
    for name, dx, dy in (("taken", 0, 0), ("put", warp.dx, warp.dy)):
        rows, columns = _patch(warp, dx, dy)
        for what, places, size in (("columns", columns, width), ("rows", rows, height)):
            if places.start < 0 or places.stop > size:
                raise UserError(
                    f"warp {warp}: the patch would be {name} at {what} {places.start} to {places.stop - 1}, outside of "
                    f"the image's 0 to {size - 1}; move it or make it smaller"
                )
