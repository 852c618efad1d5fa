"""A user's pictures at a generator's size: one file, a folder, a zip, or a set of images by name."""

import dataclasses
from pathlib import Path

import numpy as np

from jaxgan.data import pictures
from jaxgan.data.readers import open_source, read_payload
from jaxgan.data.sources import is_embedded, open_images
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Photos:
    """Pictures, and what was done to them.

    Attributes:
        names: a unique one each, fit for a file's name.
        images: uint8 [N, H, W, C].
        labels: [N], or None.
        note: in words, how they came to their size.
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
) -> Photos:
    """Reads pictures of any size and mode and brings them to one shape.

    Args:
        source: a picture, a folder or zip of pictures, or a set that `open_images` opens.
        shape: (H, W, C) of the generator.
        split: of a set.
        first, count: which of them.
        filter, fit: as in `jaxgan.data.pictures.Target`; pictures that have the size already keep their pixels.

    Raises:
        UserError: nothing is there, or a picture cannot be read; it is named.
    """
    target = pictures.Target(tuple(shape[:2]), shape[2], filter, fit)
    path = Path(source).expanduser()
    if is_embedded(source):
        opened = open_images(source, split=split)
        chosen = _chosen(len(opened), first, count, source)
        arrays, labels = opened.gather(chosen), opened.labels
        names = [f"{source}-{split}-{i:05d}" for i in chosen]
        found = [pictures.from_array(a) for a in arrays]
        labels = None if labels is None else labels[chosen]
    elif path.is_file() and path.suffix.lower() != ".zip":
        found, names, labels = [_opened(path.name, path.read_bytes())], [path.stem], None
    else:
        if not path.exists():
            raise UserError(f"--images={source}: no such file or folder")
        total, items = next(iter(open_source(source, labels="none", resolution=target.resolution).splits.values()))
        chosen = set(_chosen(total, first, count, source).tolist())
        kept = [item for i, item in enumerate(items) if i in chosen]
        found = [_opened(item.name, _payload(item)) for item in kept]
        names, labels = [Path(item.name).with_suffix("").as_posix().replace("/", "-") for item in kept], None
    sizes = {p.size for p in found}
    fitted = [pictures.fit(pictures.to_channels(p, target.channels), target) for p in found]
    images = np.stack([np.asarray(p).reshape(*shape) for p in fitted])
    return Photos(_unique(names), images, labels, _note(sizes, target))


def _chosen(total: int, first: int, count: int | None, source: str) -> np.ndarray:
    last = total if count is None else min(first + count, total)
    if not 0 <= first < last:
        raise UserError(f"{source} has {total} pictures; none is left from number {first} on")
    return np.arange(first, last)


def _payload(item):
    try:
        return read_payload(item.payload)
    except Exception as error:
        raise UserError(f"{item.name} cannot be read ({error}); mend or remove it") from error


def _opened(name: str, data):
    try:
        return pictures.from_array(data) if isinstance(data, np.ndarray) else pictures.open_picture(data)
    except Exception as error:  # Pillow raises many kinds
        raise UserError(f"{name} is no picture that can be read ({error}); mend or remove it") from error


def _unique(names: list[str]) -> tuple[str, ...]:
    """The names, numbered where two are the same."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(unique)


def _note(sizes: set[tuple[int, int]], target: pictures.Target) -> str:
    height, width = target.resolution
    if sizes == {(width, height)}:
        return f"pictures are {height}x{width} already"
    how = "cut to the centre's" if target.fit == "crop" else "padded to the"
    found = ", ".join(f"{h}x{w}" for w, h in sorted(sizes)[:3]) + (" ..." if len(sizes) > 3 else "")
    return f"pictures of {found} {how} shape and resized once to {height}x{width} ({target.filter})"
