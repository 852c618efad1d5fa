"""The dataset tool: from any source of pictures to a TFDS data set of one size, stored as ArrayRecord."""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import errno
import functools
import itertools
import math
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from jaxgan.data import pictures, readers, records
from jaxgan.data.ordered_map import ordered_map
from jaxgan.data.writer import RecordWriter
from jaxgan.errors import UserError
from jaxgan.version import __version__

SKIPPED_FILE = "skipped.txt"
_CHUNK = 16  # pictures that one task converts


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `prepare` made.

    Attributes:
      dest: the folder.
      counts: for each split the number of images.
      class_names: one name a class, or None without labels.
      skipped: a line for each picture that could not be read, with its name and the reason.
    """

    dest: Path
    counts: dict[str, int]
    class_names: tuple[str, ...] | None
    skipped: tuple[str, ...]


def prepare(
    source: str | os.PathLike,
    dest: str | os.PathLike,
    *,
    resolution: int | tuple[int, int],
    filter: str = "lanczos",
    channels: int = 3,
    fit: str = "crop",
    labels: str = "auto",
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    version: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Brings every picture of `source` to one size and writes them to `dest`.

    The result is read by `jaxgan.data.sources.open_images(dest)` and by
    `tfds.builder_from_directory(dest).as_data_source(split=...)`, neither of which needs TensorFlow. A record has an
    "image", PNG, and where there are labels a "label". Images keep the order of the source: sorted by path for folders
    and zips. Pictures that cannot be read are left out and listed in `dest/skipped.txt`.

    All is built in a folder beside `dest` that takes its place at the end; an interruption leaves `dest` as it was.

    Args:
      source: a folder of pictures, searched to the bottom, or a zip of them, both with or without StyleGAN2-ADA's
        `dataset.json`; a folder of IDX files as of MNIST; a CIFAR-10 archive (Python version) or its unpacked folder;
        a folder prepared before; "fashion" or "emoji"; "land" or "land:COUNT", random crops of the Blue Marble (see
        `jaxgan.data.land`); "geotiff:DIR", crops of satellite tiles (`jaxgan.data.geotiff`); or
        `tfds:NAME[/CONFIG][@DATA_DIR]`.
      dest: a folder that does not exist or is empty.
      resolution: a side, a power of two from 4 upward; or `(H, W)`, both at least 4. Grey IDX images that are 4 smaller
        on both sides (28 for 32) are padded with zeros, others are resized.
      filter: "lanczos" or "box".
      channels: 1, 3 or 4; with 1 and 3 transparent pixels are composited on white.
      fit: "crop" cuts out the centre; "pad" keeps all on white, or on transparent with 4 channels.
      labels: "auto", "folders" or "none"; see `jaxgan.data.readers.open_source`.
      splits: which splits of the source to take; all if None.
      workers: processes that convert; as many as there are cores if None; 1 converts in this process.
      overwrite: replaces `dest` if it is a prepared set.
      version: of jaxgan, for the records; that of the installed package if None.
      progress: called with (pictures done, pictures in all).

    Raises:
      UserError: an argument is out of range, `dest` is in use, the source cannot be read or holds no readable picture,
        or the disk is full.
    """
    target = pictures.Target(check_resolution(resolution), channels, filter, fit)
    _check_target(target)
    dest = Path(os.path.abspath(Path(dest).expanduser()))
    _check_dest(dest, overwrite)
    opened = readers.open_source(os.fspath(source), labels=labels, resolution=target.resolution)
    opened = _choose_splits(opened, splits)
    metadata = {
        "source": opened.name,
        "resolution": target.resolution,
        "channels": target.channels,
        "filter": target.filter,
        "fit": target.fit,
        "jaxgan_version": version or __version__,
    }
    with _replacing(dest) as folder:
        counts, skipped = _write(opened, target, metadata, folder, workers or _cores(), progress)
        if skipped:
            (folder / SKIPPED_FILE).write_text("".join(f"{line}\n" for line in skipped), encoding="utf-8")
    return Summary(dest, counts, opened.class_names, tuple(skipped))


def check_resolution(resolution: int | tuple[int, int]) -> tuple[int, int]:
    """`(H, W)`, from a side that is a power of two or from both sides.

    Raises:
      UserError: a side below 4, or a single side that is no power of two.
    """
    if isinstance(resolution, int):
        if resolution < 4 or resolution & (resolution - 1):
            raise UserError(f"resolution={resolution} is not a power of two from 4 upward; or give both sides, HxW")
        return resolution, resolution
    height, width = resolution
    if min(height, width) < 4:
        raise UserError(f"resolution={height}x{width}: both sides must be at least 4")
    return height, width


def _check_target(target: pictures.Target) -> None:
    for name, choices in (("filter", pictures.FILTERS), ("channels", pictures.MODES), ("fit", pictures.FITS)):
        if (value := getattr(target, name)) not in choices:
            raise UserError(f"{name}={value!r}; choose one of {', '.join(map(str, choices))}")


def _check_dest(dest: Path, overwrite: bool) -> None:
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return
    if not dest.is_dir() or not records.is_prepared(dest):
        raise UserError(f"{dest}: holds something else than a prepared set; give --dest a new name")
    if not overwrite:
        raise UserError(f"{dest}: a prepared set is there already; --overwrite replaces it")


def _choose_splits(source: readers.Source, splits: Sequence[str] | None) -> readers.Source:
    if splits is None:
        return source
    if unknown := [split for split in splits if split not in source.splits]:
        raise UserError(f"{source.name}: no split {unknown[0]!r}; it has {', '.join(source.splits)}")
    return dataclasses.replace(source, splits={split: source.splits[split] for split in splits})


@contextlib.contextmanager
def _replacing(dest: Path) -> Iterator[Path]:
    """A new folder that becomes `dest` if the block ends well and vanishes if it does not."""
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    except OSError as error:
        raise UserError(f"{dest}: cannot be made ({error.strerror}); give another --dest") from error
    try:
        (room / "new").mkdir()
        yield room / "new"
        _swap(room / "new", dest, room / "old")
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise UserError(f"{dest}: the disk is full; make room or give another --dest") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _swap(new: Path, dest: Path, old: Path) -> None:
    """Moves `new` to `dest` and what was there to `old`; on an error `dest` is as before."""
    existed = dest.exists()
    if existed:
        os.replace(dest, old)
    try:
        os.replace(new, dest)
    except BaseException:  # an interrupt too must not leave the old set in the room that is cleared next
        if existed and not dest.exists():
            os.replace(old, dest)
        raise


def _is_disk_full(error: Exception) -> bool:
    # ArrayRecord's writer reports it as a RuntimeError with the text of the system.
    return getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)


def _write(
    source: readers.Source,
    target: pictures.Target,
    metadata: dict,
    folder: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, int], list[str]]:
    """Converts all splits into `folder`; returns the number of images a split and the skipped pictures."""
    total, done = sum(count for count, _ in source.splits.values()), 0
    counts: dict[str, int] = collections.Counter()
    skipped: list[str] = []
    writer = RecordWriter(folder, (*target.resolution, target.channels), source.class_names)
    with _executor(min(workers, math.ceil(total / _CHUNK))) as executor:
        for split, (_, items) in source.splits.items():
            task = functools.partial(_convert_chunk, target=target)
            for chunk in ordered_map(executor, task, _chunked(items), window=4 * workers):
                examples = [(png, label) for png, label, _ in chunk if png]
                writer.add(split, examples)
                counts[split] += len(examples)
                skipped += [problem for _, _, problem in chunk if problem]
                done += len(chunk)
                if progress:
                    progress(done, total)
    if not sum(counts.values()):
        raise UserError(f"{source.name}: none of {total} pictures can be read; the first: {(skipped or ['-'])[0]}")
    writer.close({**metadata, "counts": dict(counts), "skipped": len(skipped)})
    return dict(counts), skipped


def _chunked(items: Iterable[readers.Item]) -> Iterator[list[readers.Item]]:
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, _CHUNK)), [])


def _convert_chunk(
    items: list[readers.Item], target: pictures.Target
) -> list[tuple[bytes | None, int | None, str | None]]:
    """For each item its PNG, its label, and None; or None, None, and what is wrong with it."""
    results = []
    for item in items:
        try:
            results.append((pictures.convert(readers.read_payload(item.payload), target), item.label, None))
        except Exception as error:  # decoders raise nearly anything on broken pictures
            text = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "it", str(error))
            reason = " ".join(f"{type(error).__name__}: {text}".split())
            results.append((None, None, f"{item.name}\t{reason}"))
    return results


class _Inline(concurrent.futures.Executor):
    """Runs a task when it is submitted, in this process."""

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextlib.contextmanager
def _executor(workers: int) -> Iterator[concurrent.futures.Executor]:
    """Worker processes; on an error or Ctrl-C what waits is dropped."""
    if workers <= 1:
        yield _Inline()
        return
    context = multiprocessing.get_context("spawn")  # the parent has threads, which a fork would break
    executor = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_ctrl_c)
    try:
        yield executor
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a converting process was killed, probably for want of memory; give --workers a smaller number than "
            f"{workers}, 1 for none"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c() -> None:
    """In a worker: the parent alone answers Ctrl-C, and its way with SIGTERM is not the worker's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
