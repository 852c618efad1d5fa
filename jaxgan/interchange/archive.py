"""jaxgan's own file of a trained pair of networks: arrays by path, and a JSON text of what they are.

It is an .npz, compressed, or a .safetensors, by its name.
"""

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.report import write_atomic
from jaxgan.weights import safetensors
from jaxgan.weights.mapped import check_zip, mapped
from jaxgan.weights.pickle_machine import Refused

SUFFIXES = (".npz", ".safetensors")
ABOUT = "about"
FORMAT = 1
_SEPARATOR = "/"
_DEEPEST = 32  # folders in a tensor's name
_LONGEST_ABOUT = 4 << 20  # bytes; JSON takes a hundred times its size of memory
_MOST_EXPANDED = 1000  # a file may claim so many times its own size; deflate cannot give back more
_DAMAGE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    Refused,
    zlib.error,
    zipfile.BadZipFile,
)


def save(path: str | Path, tree: Mapping[str, Any], about: Mapping[str, Any], *, half: bool = False) -> None:
    """Writes nested dicts of arrays and what is to be said of them; whole or not at all.

    Args:
        path: the file; the end of its name, one of `SUFFIXES`, is its format.
        tree: nested dicts of arrays; names hold no "/".
        about: plain data for JSON.
        half: floats are kept in half precision, each array where its largest number has a place there (below 65,504).

    Raises:
        UserError: the file cannot be written, or a number is not finite.
    """
    arrays = {name: _stored(name, np.asarray(jax.device_get(leaf)), half) for name, leaf in flat(tree).items()}
    text = json.dumps({"format": FORMAT, **about}, indent=2)
    if Path(path).suffix == ".safetensors":
        data = safetensors.encode(arrays, {ABOUT: text})
    else:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays, **{ABOUT: np.frombuffer(text.encode(), np.uint8)})
        data = buffer.getvalue()
    try:
        write_atomic(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tree of float32 and integer arrays, about) of a file that `save` wrote; nothing in it is executed.

    Raises:
        UserError: there is no such file, or it is no such archive.
    """
    try:
        if Path(path).suffix == ".safetensors":
            arrays, metadata = safetensors.read(path)
            about = json.loads(metadata[ABOUT])
        else:
            arrays = _read_npz(path)
            about = json.loads(arrays.pop(ABOUT).tobytes())
        version = about.get("format")
        tree = _nested(arrays)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist; give a run directory, zoo:NAME or a file of `jaxgan export`"
        ) from error
    except (OSError, *_DAMAGE) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path} is no file of `jaxgan export` ({reason}); export the run again") from error
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this version reads {FORMAT}; export the run again")
    return tree, about


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz of ours, each compared with the bytes that are there before memory is spent on it."""
    check_zip(mapped(path))
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        claimed, size = sum(entry.file_size for entry in entries), Path(path).stat().st_size
        # Weights hardly compress; only a file of zeros would claim so much, and none that anybody trained is one.
        if claimed > _MOST_EXPANDED * size or (claimed > 1 << 28 and claimed > 16 * size):
            raise ValueError(f"it claims to hold {claimed:,} bytes in {size:,}")
        for entry in entries:
            if entry.filename == f"{ABOUT}.npy" and entry.file_size > _LONGEST_ABOUT:
                raise ValueError(f"it says {entry.file_size:,} bytes of itself; {_LONGEST_ABOUT:,} are known")
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = read_header[version](member)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename[:100]} claims the shape {shape} in {entry.file_size:,} bytes")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A tree of arrays by path; half precision becomes float32."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split(_SEPARATOR)
        if len(folders) > _DEEPEST:
            raise ValueError(f"{name[:100]} lies in {len(folders):,} folders")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name[:100]} is below a tensor")
        if last in node:
            raise ValueError(f"{name[:100]} is there twice")
        node[last] = array.astype(np.float32) if array.dtype == np.float16 else array
    return tree


def fitted(tree: Mapping[str, Any], shapes: Any, path: str | Path) -> Any:
    """The tree in the structure of `shapes`, a tree of dicts of shaped leaves; empty dicts are filled in.

    Raises:
        UserError: a tensor is missing, left over, or of another shape; it is named.
    """
    wanted, given = flat(shapes), flat(tree)
    for name in sorted(wanted.keys() | given.keys()):
        if name not in given:
            raise UserError(f"{path} lacks {name} {tuple(wanted[name].shape)}, which its network needs")
        if name not in wanted:
            raise UserError(f"{path} holds {name} {given[name].shape}, which its network does not have")
        if given[name].shape != tuple(wanted[name].shape):
            raise UserError(
                f"{path}: {name} has shape {given[name].shape} where the network has {tuple(wanted[name].shape)}"
            )
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: given[_name(keys)].astype(leaf.dtype), shapes)


def flat(tree: Any) -> dict[str, Any]:
    """The leaves of nested dicts by their paths, as a file has them."""
    return {_name(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(keys: tuple[Any, ...]) -> str:
    return _SEPARATOR.join(str(key.key) for key in keys)


def _stored(name: str, array: np.ndarray, half: bool) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds NaN or infinite numbers; export an earlier checkpoint of the run")
    fits = np.abs(array, dtype=np.float32).max(initial=0.0) <= np.finfo(np.float16).max
    return array.astype(np.float16 if half and fits else np.float32)
