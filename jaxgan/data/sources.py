"""Sets of images of one size, by name: embedded ones, prepared folders, and the TFDS catalogue."""

import concurrent.futures
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxgan.data import embedded, records
from jaxgan.data.cache import cached_array, default_cache_dir
from jaxgan.data.ordered_map import ordered_map
from jaxgan.errors import UserError

Progress = Callable[[int, int], None]  # called with (images done, images in all)

_CHUNK = 256  # images decoded by one call of a thread
_CACHE_FORMAT = "1"  # raise it when the same fingerprint would mean other pixels
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, read by index.

    Attributes:
      name: the name of the set.
      split: the split it was opened with.
      images: uint8 `[N, H, W, C]`: an array, a memory map, or a store that decodes what `images[indices]` asks for.
      labels: int32 `[N]` in `[0, num_classes)`, or None.
      num_classes: the number of classes, 0 without labels.
      class_names: one name a class, empty without labels.
      fingerprint: a hexadecimal hash that changes whenever the images may have changed; a key for caches.
      resize_filter: what the images were resized with ("lanczos", "box"), or None where none was or none is known.
    """

    name: str
    split: str
    images: np.ndarray | records.EncodedImages
    labels: np.ndarray | None
    num_classes: int
    class_names: tuple[str, ...]
    fingerprint: str
    resize_filter: str | None

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def resolution(self) -> tuple[int, int]:
        """`(H, W)`."""
        return self.images.shape[1:3]

    @property
    def channels(self) -> int:
        """1, 3 or 4."""
        return self.images.shape[3]

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (integers `[n]`, any order, repeats allowed) as a new uint8 array `[n, H, W, C]`.

        They are read in ascending order, which is how disks and memory maps like it. Any thread may call this.
        """
        indices = np.asarray(indices)
        order = np.argsort(indices, kind="stable")
        gathered = np.empty((len(indices), *self.images.shape[1:]), np.uint8)
        if isinstance(self.images, np.ndarray):
            for i in order:  # one copy an image; indexing with arrays on both sides would make two
                gathered[i] = self.images[indices[i]]
        else:
            gathered[order] = self.images[indices[order]]
        return gathered


def open_images(
    source: str,
    *,
    split: str = "train",
    resolution: int | tuple[int, int] | None = None,
    channels: int | None = None,
    memory_map_gb: float = 4.0,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Opens one split of a set of images.

    A set whose decoded size is at most `memory_map_gb` is decoded once, by several threads, into a memory map under
    `cache_dir`; a larger one is decoded as it is read. If `cache_dir` cannot be written, the memory map becomes an
    array in memory.

    Args:
      source: "fashion" or "emoji" (they come with the package, splits "train" and "test"; a folder of that name is
        "./fashion"); a folder made by
        `jaxgan dataset` or by TFDS as ArrayRecord; or `tfds:NAME[/CONFIG][@DATA_DIR]`, a catalogue set that is
        prepared as ArrayRecord on this machine.
      split: the name of a split; prepared sets also take slices such as `train[:1000]`.
      resolution: a side or `(H, W)`; if given, the set must have it.
      channels: if given, the set must have as many.
      memory_map_gb: in units of 2**30 bytes.
      cache_dir: `$XDG_CACHE_HOME/jaxgan` or `~/.cache/jaxgan` if None.
      progress: called with (images decoded, images in all) while a set is decoded.

    Raises:
      UserError: there is no such set or split, it is not prepared, or it differs from what is asked for.
    """
    resolution = (resolution, resolution) if isinstance(resolution, int) else resolution
    if is_embedded(source):
        images = _open_embedded(source, split)
        _check_asked_for(source, (*images.resolution, images.channels), resolution, channels)
        return images
    opened = records.open_records(_prepared_folder(source), split)
    _check_asked_for(source, opened.shape, resolution, channels)
    if len(opened) == 0:
        raise UserError(f"{source}: its split {split!r} is empty; choose another")
    cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    return _open_records(opened, memory_map_gb, cache_dir, progress)


def is_embedded(source: str) -> bool:
    """Whether it names a set that comes with the package, whatever lies in the current folder."""
    return source in embedded.CLASS_NAMES


def _open_embedded(name: str, split: str) -> ImageSet:
    if split not in ("train", "test"):
        raise UserError(f"{name}: no split {split!r}; it has 'train' and 'test'")
    loaded = embedded.load(name)
    chosen = loaded.held_out == (split == "test")
    return ImageSet(
        name=name,
        split=split,
        images=loaded.images[chosen],
        labels=loaded.labels[chosen],
        num_classes=len(loaded.class_names),
        class_names=loaded.class_names,
        fingerprint=f"{loaded.digest}-{split}",
        resize_filter=None,
    )


def _open_records(
    opened: records.Records, memory_map_gb: float, cache_dir: Path, progress: Progress | None
) -> ImageSet:
    store = records.EncodedImages(opened)
    key = f"{opened.fingerprint}-{_CACHE_FORMAT}"
    chunks = functools.partial(in_chunks, len(opened))
    images = store
    if math.prod(store.shape) <= memory_map_gb * 2**30:
        path = cache_dir / f"images-{key}.npy"
        images = cached_array(path, store.shape, np.uint8, functools.partial(chunks, store.__getitem__, progress))
    labels, class_names = None, opened.class_names or ()
    if class_names:
        path = cache_dir / f"labels-{key}.npy"
        labels = np.array(cached_array(path, (len(opened),), np.int32, functools.partial(chunks, opened.read_labels)))
        if labels.min() < 0:
            _log.warning("%s: split %s has images without a label; its labels are not used", opened.name, opened.split)
            labels, class_names = None, ()
    return ImageSet(
        name=opened.name,
        split=opened.split,
        images=images,
        labels=labels,
        num_classes=len(class_names),
        class_names=class_names,
        fingerprint=opened.fingerprint,
        resize_filter=opened.metadata.get("filter"),
    )


def in_chunks(
    count: int, read: Callable[[np.ndarray], np.ndarray], progress: Progress | None = None
) -> Iterator[np.ndarray]:
    """Yields `read` of consecutive ranges of `range(count)` in order, with several threads at work."""
    workers = min(os.cpu_count() or 1, 16)
    ranges = [np.arange(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    done = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as executor:
        for chunk in ordered_map(executor, read, ranges, window=2 * workers):
            yield chunk
            done += len(chunk)
            if progress:
                progress(done, count)


def _prepared_folder(source: str) -> Path:
    """The folder of prepared records that `source` means; a `UserError` with the way to get one if there is none."""
    if source.startswith("tfds:"):
        if (folder := records.find_catalogue_set(source)) is None:
            raise UserError(
                f'{source} is not prepared as ArrayRecord on this machine; pip install "jaxgan[tfds-prepare]", then '
                f"jaxgan dataset --source={source} --dest=FOLDER --resolution=SIDE, and open FOLDER"
            )
        return folder
    folder = Path(source).expanduser()
    if not folder.exists():
        known = ", ".join(sorted(embedded.CLASS_NAMES))
        raise UserError(f"{source}: no such folder; give a prepared folder, tfds:NAME, or one of {known}")
    if folder.is_dir() and not any(folder.iterdir()):
        raise UserError(f"{source}: the folder is empty; make a set in it with {_dataset_command('PICTURES', source)}")
    if not records.is_prepared(folder):
        raise UserError(f"{source}: not a prepared set of images; first run {_dataset_command(source, 'FOLDER')}")
    return folder


def _check_asked_for(
    source: str,
    stored: tuple[int | None, int | None, int],
    resolution: tuple[int, int] | None,
    channels: int | None,
) -> None:
    """Raises a `UserError` unless the images, `(H, W, C)`, have one size and are what the caller asked for."""
    asked = (*(resolution or stored[:2]), channels or stored[2])
    if None in asked:
        command = _dataset_command(source, "FOLDER")
        raise UserError(f"{source}: its images differ in size; bring them to one with {command}")
    if tuple(asked) != tuple(stored):
        command = _dataset_command(source, "FOLDER", asked[:2], asked[2])
        raise UserError(
            f"{source} holds images of {_size(stored)}, asked for are {_size(asked)}; make them with {command}"
        )


def _size(shape: tuple[int | None, int | None, int]) -> str:
    return "x".join("any" if side is None else str(side) for side in shape)


def _dataset_command(source: str, dest: str, resolution: tuple[int, int] | None = None, channels: int = 3) -> str:
    """The command line that makes a set at `dest`."""
    height, width = resolution or ("SIDE", "SIDE")
    side = height if height == width else f"{height}x{width}"
    command = f"jaxgan dataset --source={source} --dest={dest} --resolution={side}"
    return command if channels == 3 else f"{command} --channels={channels}"
