"""jaxgan's own file of a trained pair of networks: arrays by path, and a JSON text of what they are.

It is an .npz, compressed, or a .safetensors, by its name.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.report import write_atomic
from jaxgan.weights import safetensors

SUFFIXES = (".npz", ".safetensors")
ABOUT = "about"
FORMAT = 1
_SEPARATOR = "/"


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
    arrays = {name: _stored(name, np.asarray(jax.device_get(leaf)), half) for name, leaf in _flat(tree).items()}
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
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(arrays.pop(ABOUT).tobytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist; give a run directory, zoo:NAME or a file of `jaxgan export`"
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no file of `jaxgan export` ({reason}); export the run again") from error
    if about.get("format") != FORMAT:
        raise UserError(f"{path} has format {about.get('format')}, this version reads {FORMAT}; export the run again")
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split(_SEPARATOR)
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array.astype(np.float32) if array.dtype == np.float16 else array
    return tree, about


def fitted(tree: Mapping[str, Any], shapes: Any, path: str | Path) -> Any:
    """The tree in the structure of `shapes`, a tree of dicts of shaped leaves; empty dicts are filled in.

    Raises:
        UserError: a tensor is missing, left over, or of another shape; it is named.
    """
    wanted, given = _flat(shapes), _flat(tree)
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


def _flat(tree: Any) -> dict[str, Any]:
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
