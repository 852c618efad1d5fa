"""State dicts out of files that torch wrote (both of its layouts) or that hold pickled NumPy arrays, without torch."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxgan.errors import UserError
from jaxgan.weights.unpickle import Refused, Storage, Unpickler, arrays

_MAGIC = 0x1950A86A20F9469CFC6C
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    UnicodeDecodeError,
    NotImplementedError,
    OverflowError,
)


def read(path: str | Path) -> Any:
    """What a weights file holds: dicts and lists of NumPy arrays, numbers and texts.

    Reads torch's zip layout, its older stream layout, and plain pickles of NumPy arrays. Nothing in the file is
    executed; see `jaxgan.weights.unpickle`.

    Raises:
        UserError: the file is missing, cut short or damaged, or asks for more than tensors.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_stream(file)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); give the path of a weights file"
        ) from error
    except Refused as error:
        raise UserError(f"{path}: refused, {error}; give a file of plain tensors (a state dict)") from error
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: cut short, damaged or no weights file ({reason}); fetch it again") from error


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a weights file by name, out of `state_dict` or `model` where the file wraps them.

    Raises:
        UserError: as `read`, or there is no state dict in the file.
    """
    found = read(path)
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    arrays_only = {k: v for k, v in found.items() if isinstance(v, np.ndarray)} if isinstance(found, Mapping) else {}
    if not arrays_only:
        raise UserError(f"{path}: holds no state dict; give a file of named tensors")
    return arrays_only


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        pickles = [n for n in names if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise Refused("it holds no data.pkl (a TorchScript archive or another kind of zip?)")
        prefix = pickles[0].removesuffix("data.pkl")
        order = f"{prefix}byteorder"
        if order in names and archive.read(order).strip() != b"little":
            raise Refused("its numbers are big-endian")
        storages: dict[str, Storage] = {}

        def storage(dtype: np.dtype, key: str, size: int) -> Storage:
            if key not in storages:
                name = f"{prefix}data/{key}"
                if archive.getinfo(name).file_size != size * dtype.itemsize:
                    raise Refused(f"storage {key} has not the {size} numbers that it claims")
                storages[key] = Storage(key, dtype, size, np.frombuffer(archive.read(name), dtype))
            return storages[key]

        return arrays(Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load())


def _read_stream(file: BinaryIO) -> Any:
    first = Unpickler(file).load()
    if not isinstance(first, int) or first != _MAGIC:
        return arrays(first)  # a plain pickle
    version, machine = Unpickler(file).load(), Unpickler(file).load()
    if version != 1001 or not machine.get("little_endian", True):
        raise Refused(f"torch's stream layout {version} with {machine}")
    storages: dict[str, Storage] = {}
    found = Unpickler(file, lambda dtype, key, size: storages.setdefault(key, Storage(key, dtype, size))).load()
    for key in Unpickler(file).load():
        size, storage = int(np.frombuffer(file.read(8), "<i8")[0]), storages[key]
        data = file.read(storage.size * storage.dtype.itemsize)
        if size != storage.size or len(data) != storage.size * storage.dtype.itemsize:
            raise EOFError(f"storage {key} is cut short")
        storage.data = np.frombuffer(data, storage.dtype)
    return arrays(found)
