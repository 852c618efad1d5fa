"""Decoded arrays kept on disk, so that a set is decoded once and read as a memory map ever after."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/jaxgan`, or `~/.cache/jaxgan`. Nothing in it is ever needed: it can be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxgan"


def cached_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype | type,
    chunks: Callable[[], Iterable[np.ndarray]],
    agree: Callable[[bool], bool] = lambda there: there,
) -> np.ndarray:
    """The array stored at `path`, made first if it is not there.

    Several processes may call this at once: each writes a file of its own and renames it, so a reader sees a whole
    array or none. Where the folder cannot be written or is full, the array is made in memory and a warning is logged.

    Args:
      path: where the array is kept, ending in `.npy`; its name must say all that its content depends on.
      shape: the shape of the array.
      dtype: its type.
      chunks: called if the array has to be made; yields consecutive pieces of it along the first axis.
      agree: whether an array that is there is used. Processes that make it together must all decide the same.

    Returns:
      A read-only memory map, or a read-only array in memory.
    """
    array = _open(path, shape, dtype)
    if agree(array is not None):
        return array
    try:
        _write(path, shape, dtype, chunks)
    except OSError as error:
        _log.warning("cannot keep decoded images at %s (%s); decoding them into memory instead", path, error)
        return _in_memory(shape, dtype, chunks)
    array = _open(path, shape, dtype)
    return _in_memory(shape, dtype, chunks) if array is None else array


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray | None:
    """The memory map at `path`, or None if there is no whole array of this shape and type."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    # As a plain array: indexing the subclass memmap costs microseconds an image.
    return np.asarray(array) if array.shape == shape and array.dtype == dtype else None


def _write(path: Path, shape: tuple[int, ...], dtype: np.dtype | type, chunks: Callable[[], Iterable[np.ndarray]]):
    # Written as a file, not through a memory map: on a full disk a write to a map kills the process with SIGBUS.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks():
                file.write(np.ascontiguousarray(chunk, dtype).data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _in_memory(shape: tuple[int, ...], dtype: np.dtype | type, chunks: Callable[[], Iterable[np.ndarray]]):
    array, start = np.empty(shape, dtype), 0
    for chunk in chunks():
        array[start : start + len(chunk)] = chunk
        start += len(chunk)
    array.setflags(write=False)
    return array
