"""What the dataset tool reads, as one type: pictures, IDX, CIFAR-10, embedded and TFDS sets, crops of land, tiles."""

import dataclasses
import functools
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from jaxgan.data import archives, embedded, geotiff, land, records
from jaxgan.errors import UserError

# fmt: off
EXTENSIONS = frozenset((
    ".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".tga",
))
# fmt: on
LABELS_FILE = "dataset.json"
LABELS = ("auto", "folders", "none")
MAX_FILE_BYTES = 2**30  # a larger member of a zip is not a picture

# Where a picture lies: a path, a zip and its member, an encoded picture, or an image.
Payload = Path | tuple[Path, str] | bytes | np.ndarray


@dataclasses.dataclass(frozen=True)
class Item:
    """One picture of a source: a `name` for messages, where it lies, and its class, or None."""

    name: str
    payload: Payload
    label: int | None


@dataclasses.dataclass(frozen=True)
class Source:
    """What there is to prepare.

    Attributes:
      name: for the records.
      splits: for each split its number of pictures and the pictures, read as they are asked for, once.
      class_names: one name a class; None where the items have no labels.
    """

    name: str
    splits: Mapping[str, tuple[int, Iterable[Item]]]
    class_names: tuple[str, ...] | None


def open_source(source: str, *, labels: str = "auto", resolution: tuple[int, int]) -> Source:
    """Finds out what `source` is and lists what is in it.

    Args:
      source: see `jaxgan.data.prepare.prepare`.
      labels: "auto" takes the labels that the source has (`dataset.json`, IDX, CIFAR-10, TFDS); "folders" makes a class
        of every folder at the top of a folder or zip of pictures; "none" takes none.
      resolution: `(H, W)`; IDX images 4 smaller are padded with zeros to it.

    Raises:
      UserError: there is nothing there, it is not of a kind that is read, or its labels cannot be used.
    """
    path = Path(source).expanduser()
    if labels not in LABELS:
        raise UserError(f"labels={labels!r}; choose one of {', '.join(LABELS)}")
    if source in embedded.CLASS_NAMES:
        opened = _embedded(source)
    elif source == "land" or source.startswith("land:"):
        opened = _land(source, resolution)
    elif source.startswith("geotiff:"):
        opened = _tiles(source, resolution)
    elif source.startswith("tfds:"):
        opened = _prepared(records.find_catalogue_set(source) or records.prepare_catalogue_set(source))
    elif not path.exists():
        raise UserError(f"{source}: no such file or folder")
    elif path.is_dir() and records.is_prepared(path):
        opened = _prepared(path)
    elif path.is_dir() and archives.is_idx_folder(path):
        opened = _idx(path, resolution)
    elif not zipfile.is_zipfile(path) and (members := archives.cifar_members(path)):
        opened = _arrays("cifar10", *archives.read_cifar(members, str(path)))
    else:
        return _pictures(path, labels)
    if labels == "folders":
        raise UserError(
            f"labels='folders' is for folders and zips of pictures, and {source} is none; use labels='auto'"
        )
    return without_labels(opened) if labels == "none" else opened


def read_payload(payload: Payload) -> bytes | np.ndarray:
    """The encoded picture or the image behind `payload`.

    Raises:
      OSError, zipfile.BadZipFile, ValueError: it cannot be read.
    """
    if isinstance(payload, Path):
        return payload.read_bytes()
    if not isinstance(payload, tuple):
        return payload
    archive = _open_zip(payload[0], os.stat(payload[0]).st_mtime_ns)
    if archive.getinfo(payload[1]).file_size > MAX_FILE_BYTES:
        raise ValueError("larger than a picture can be")
    return archive.read(payload[1])


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    """Kept open, because the list of a large zip takes a second to read."""
    return zipfile.ZipFile(path)


def without_labels(source: Source) -> Source:
    """The same pictures, with `label` None throughout."""

    def strip(items: Iterable[Item]) -> Iterator[Item]:
        return (dataclasses.replace(item, label=None) for item in items)

    splits = {name: (count, strip(items)) for name, (count, items) in source.splits.items()}
    return Source(source.name, splits, None)


def _embedded(name: str) -> Source:
    loaded = embedded.load(name)
    chosen = {"train": ~loaded.held_out, "test": loaded.held_out}
    splits = {split: (loaded.images[which], loaded.labels[which]) for split, which in chosen.items()}
    return _arrays(name, splits, loaded.class_names)


def _land(source: str, resolution: tuple[int, int]) -> Source:
    count = source.removeprefix("land").removeprefix(":") or str(land.DEFAULT_COUNT)
    if not count.isdecimal() or not int(count):
        raise UserError(f"{source}: land:COUNT takes a whole number of crops, such as land:{land.DEFAULT_COUNT}")

    def items(split: str, number: int) -> tuple[int, Iterator[Item]]:
        crops = land.crops(resolution, split, number)
        return number, (Item(f"{split} {i}", crop, None) for i, crop in enumerate(crops))

    return Source("land", {split: items(split, number) for split, number in land.counts(int(count)).items()}, None)


def _tiles(source: str, resolution: tuple[int, int]) -> Source:
    folder, bands = geotiff.parse(source)
    found = geotiff.scan(folder, bands, resolution)

    def items(split: str) -> tuple[int, Iterator[Item]]:
        crops = geotiff.crops(found, split, bands, resolution)
        return len(found.crops[split]), (Item(name, crop, None) for name, crop in crops)

    return Source(f"geotiff:{folder.name}", {split: items(split) for split in found.crops}, None)


def _idx(folder: Path, resolution: tuple[int, int]) -> Source:
    splits = archives.read_idx_folder(folder)
    for split, (images, labels) in splits.items():
        if resolution == (images.shape[1] + 4, images.shape[2] + 4):
            splits[split] = (np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))), labels)
    if any(labels is None for _, labels in splits.values()):
        splits = {split: (images, None) for split, (images, _) in splits.items()}
        return _arrays(folder.resolve().name, splits, None)
    classes = 1 + max(int(labels.max(initial=0)) for _, labels in splits.values())
    return _arrays(folder.resolve().name, splits, tuple(map(str, range(classes))))


def _arrays(
    name: str, splits: Mapping[str, tuple[np.ndarray, np.ndarray | None]], class_names: tuple[str, ...] | None
) -> Source:
    """A source of images uint8 `[N, H, W, C]` and labels `[N]` in memory."""

    def items(split: str, images: np.ndarray, labels: np.ndarray | None) -> Iterator[Item]:
        for i, image in enumerate(images):
            yield Item(f"{split} {i}", image, None if labels is None else int(labels[i]))

    return Source(name, {s: (len(images), items(s, images, y)) for s, (images, y) in splits.items()}, class_names)


def _prepared(folder: Path) -> Source:
    opened = {split: records.open_records(folder, split) for split in records.prepared_splits(folder)}
    if not opened:
        raise UserError(f"{folder}: a prepared set without images; prepare it again")
    first = next(iter(opened.values()))

    def items(split: str) -> Iterator[Item]:
        for start in range(0, len(opened[split]), 64):
            indices = range(start, min(start + 64, len(opened[split])))
            for i, record in zip(indices, opened[split].read(indices)):
                yield Item(f"{split} {i}", record["image"], int(record["label"]) if first.class_names else None)

    return Source(first.name, {split: (len(r), items(split)) for split, r in opened.items()}, first.class_names)


def _pictures(path: Path, labels: str) -> Source:
    """A folder or zip of pictures, with or without `dataset.json`; all of it is the split "train"."""
    if path.is_dir():
        names = _folder_names(path)
        payloads = {name: path / name for name in names}
        labels_file = path / LABELS_FILE
        labels_text = labels_file.read_bytes() if labels_file.is_file() else None
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if _is_picture(PurePosixPath(n)))
            labels_text = archive.read(LABELS_FILE) if LABELS_FILE in archive.namelist() else None
        payloads = {name: (path, name) for name in names}
    else:
        raise UserError(f"{path}: neither a folder, a zip of pictures, nor a CIFAR-10 archive")
    if not names:
        raise UserError(f"{path}: no pictures in it (looked for {' '.join(sorted(EXTENSIONS))})")
    if labels == "folders":
        of_name, class_names = _labels_from_folders(path, names)
    elif labels == "auto" and labels_text is not None:
        of_name, class_names = _labels_from_json(path, names, labels_text)
    else:
        of_name, class_names = {}, None
    items = (Item(name, payloads[name], of_name.get(name)) for name in names)
    return Source(path.stem if path.is_file() else path.resolve().name, {"train": (len(names), items)}, class_names)


def _folder_names(folder: Path) -> list[str]:
    """The pictures under `folder`, by their paths within it with forward slashes, sorted."""
    names = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        inner = Path(parent).relative_to(folder)
        names += [(inner / name).as_posix() for name in files if _is_picture(inner / name)]
    return sorted(names)


def _is_picture(path: PurePosixPath | Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.suffix.lower() in EXTENSIONS


def _labels_from_folders(path: Path, names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    if loose := [name for name in names if "/" not in name]:
        raise UserError(f"{path}: labels='folders', but {loose[0]} lies in no folder; move it into one")
    class_names = tuple(sorted({name.split("/")[0] for name in names}))
    index = {name: i for i, name in enumerate(class_names)}
    return {name: index[name.split("/")[0]] for name in names}, class_names


def _labels_from_json(path: Path, names: list[str], text: bytes) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """StyleGAN2-ADA's `{"labels": [[name, class], ...]}`; `{"labels": null}` and a missing entry mean no labels."""
    where = f"{path}: {LABELS_FILE}"
    try:
        content = json.loads(text)
        entries = content.get("labels") if isinstance(content, dict) else content
        of_name = {str(name).replace("\\", "/"): label for name, label in entries or ()}
    except (ValueError, TypeError) as error:
        raise UserError(f'{where}: not {{"labels": [[name, class], ...]}} ({error}); correct it') from error
    if not of_name:
        return {}, None
    for name, label in of_name.items():
        if type(label) is not int or label < 0:
            raise UserError(
                f"{where}: the label of {name} is {json.dumps(label)[:40]}; a label is one integer from 0 upward "
                "(continuous labels are not supported: use --labels=none)"
            )
    if missing := [name for name in names if name not in of_name]:
        raise UserError(f"{where}: no label for {len(missing)} pictures, the first is {missing[0]}; label all or none")
    return of_name, tuple(map(str, range(1 + max(of_name.values()))))
