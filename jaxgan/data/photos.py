"""A user's pictures at a generator's size: one file, a folder, a zip, or a set of images by name."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.readers import Payload, open_source, read_payload
from jaxgan.data.sources import is_embedded, open_images
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Photos:
    """Pictures, and what was done to them.

    Attributes:
        names: a unique one each, fit for a file's name.
        images: uint8 [N, H, W, C].
        labels: [N], or None.
        note: in words, how they came to their size and what they lost on the way.
    """

    names: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray | None
    note: str


def read_photos(
    source: str,
    shape: tuple[int, int, int],
    *,
    split: str = "test",
    first: int = 0,
    count: int | None = None,
    filter: str = "lanczos",
    fit: str = "crop",
    background: str = "white",
) -> Photos:
    """Reads pictures of any size and mode and brings each, as it is read, to one shape.

    Args:
        source: a picture, a folder or zip of pictures, or a set that `open_images` opens; of a folder that
            `jaxgan sample` filled, without its grid.png.
        shape: (H, W, C) of the generator.
        split: of a set.
        first, count: which of them.
        filter, fit, background: as in `jaxgan.data.pictures.Target`; pictures that have the size already keep their
            pixels.

    Raises:
        UserError: nothing is there, or a picture cannot be read; it is named.
    """
    target = pictures.Target(tuple(shape[:2]), shape[2], filter, fit, background)
    path, left_out = Path(source).expanduser(), ""
    if is_embedded(source):
        opened = open_images(source, split=split)
        chosen = _chosen(len(opened), first, count, source)
        names = [f"{source}-{split}-{i:05d}" for i in chosen]
        found = [_read(name, image, target) for name, image in zip(names, opened.gather(chosen))]
        labels = None if opened.labels is None else opened.labels[chosen]
    elif path.is_file() and path.suffix.lower() != ".zip":
        _chosen(1, first, count, source)
        found, names, labels = [_read(path.name, path, target)], [path.stem], None
    else:
        if not path.exists():
            raise UserError(f"--images={source}: no such file or folder")
        total, items = next(iter(open_source(source, labels="none", resolution=target.resolution).splits.values()))
        if sheet := _sheet_of_samples(path):
            total, items = total - 1, (item for item in items if item.name != sheet)
            left_out = f"; {sheet}, the sheet of the samples beside it, left out"
        chosen = set(_chosen(total, first, count, source).tolist())
        found, names, labels = [], [], None
        for item in (item for i, item in enumerate(items) if i in chosen):
            found.append(_read(item.name, item.payload, target))
            names.append(Path(item.name).with_suffix("").as_posix().replace("/", "-"))
    return Photos(_unique(names), np.stack([f.image for f in found]), labels, _note(found, target) + left_out)


def _sheet_of_samples(path: Path) -> str:
    """The name of the sheet in a folder that `jaxgan sample` filled; "" in other folders."""
    made = path.is_dir() and (path / "grid.png").is_file() and any(path.glob("seed[0-9]*.png"))
    return "grid.png" if made else ""


class _Read(NamedTuple):
    """A picture brought to its shape, uint8 [H, W, C], the size (W, H) it had, and what it lost."""

    image: np.ndarray
    size: tuple[int, int]
    lost: tuple[str, ...]


def _chosen(total: int, first: int, count: int | None, source: str) -> np.ndarray:
    last = total if count is None else min(first + count, total)
    if not 0 <= first < last:
        have = "1 picture" if total == 1 else f"{total} pictures"
        raise UserError(f"{source} has {have}; none is left from number {first} on")
    return np.arange(first, last)


def _read(name: str, payload: Payload, target: pictures.Target) -> _Read:
    try:
        data = read_payload(payload)
    except Exception as error:
        raise UserError(f"{name} cannot be read ({error}); mend or remove it") from error
    try:
        picture = pictures.from_array(data) if isinstance(data, np.ndarray) else pictures.open_picture(data)
        fitted = pictures.fit(pictures.to_channels(picture, target.channels, target.background), target)
        lost = _lost(picture, not isinstance(data, np.ndarray) and pictures.is_deep(data), target)
    except Exception as error:  # Pillow raises many kinds
        raise UserError(f"{name} is no picture that can be read ({error}); mend or remove it") from error
    return _Read(np.asarray(fitted).reshape(*target.resolution, target.channels), picture.size, lost)


def _lost(picture: Image.Image, deep: bool, target: pictures.Target) -> tuple[str, ...]:
    """What the target's channels, of 8 bits, cannot hold of a picture."""
    lost = {
        f"with transparent pixels, put on {target.background}": target.channels != 4
        and pictures.is_transparent(picture),
        "of 16 bits a channel, reduced to 8": deep,
        "in colour, turned to grey": target.channels == 1 and pictures.is_coloured(picture),
    }
    return tuple(words for words, true in lost.items() if true)


def _unique(names: list[str]) -> tuple[str, ...]:
    """The names, numbered where two are the same."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(unique)


def _note(found: list[_Read], target: pictures.Target) -> str:
    lost = Counter(words for f in found for words in f.lost)
    return "; ".join([_resized({f.size for f in found}, target), *(f"{n} {words}" for words, n in lost.items())])


def _resized(sizes: set[tuple[int, int]], target: pictures.Target) -> str:
    height, width = target.resolution
    if sizes == {(width, height)}:
        return f"pictures are {height}x{width} already"
    ground = "transparent pixels" if target.channels == 4 else target.background
    how = "cut to the centre's" if target.fit == "crop" else f"padded with {ground} to the"
    found = ", ".join(f"{h}x{w}" for w, h in sorted(sizes)[:3]) + (" ..." if len(sizes) > 3 else "")
    return f"pictures of {found} {how} shape and resized once to {height}x{width} ({target.filter})"
