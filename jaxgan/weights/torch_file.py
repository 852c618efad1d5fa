"""Files that torch wrote (both of its layouts), or pickles of NumPy arrays or NVIDIA's networks, without torch."""

import hashlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.weights.mapped import check_zip, mapped
from jaxgan.weights.pickle_machine import Refused
from jaxgan.weights.unpickle import Storage, Unpickler, arrays

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_ZIP = b"PK\x03\x04"
_MOST_EXPANDED = 16  # a zip may claim so many times its own size; torch compresses nothing
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
_OTHERS = {  # what is often found where weights should be, by its first bytes
    b"<": "it is a web page, not the file that it should have been",
    b"version https://git-lfs": "it is a pointer of git-lfs; `git lfs pull` fetches the file itself",
    b"\x89PNG": "it is a picture",
    b"\xff\xd8\xff": "it is a picture",
    b"\x89HDF": "it is an HDF5 file",
}
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)


def read(path: str | Path) -> Any:
    """What a weights file holds: dicts and lists of NumPy arrays, numbers and texts, and objects as plain data.

    Reads torch's zip layout, its older stream layout, and pickles of NumPy arrays or of NVIDIA's networks. Nothing in
    the file is executed, and nothing is copied: arrays are read-only views of it, `jaxgan.weights.unpickle.Object`
    stands for objects.

    Raises:
        UserError: the file is missing, cut short or damaged, or asks for more than tensors.
    """
    path = Path(path)
    try:
        return _read(mapped(path), path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); give the path of a weights file"
        ) from error
    except Refused as error:
        raise UserError(f"{path}: refused, {str(error)[:500]}; give a file of plain tensors (a state dict)") from error
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: cut short, damaged or no weights file ({reason}); fetch it again") from error


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a weights file by name, out of `state_dict` or `model` where the file wraps them; copies.

    Raises:
        UserError: as `read`, or there is no state dict in the file.
    """
    found = read(path)
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    copies = {k: np.array(v) for k, v in found.items() if isinstance(v, np.ndarray)} if isinstance(found, dict) else {}
    if not copies:
        raise UserError(f"{path}: holds no state dict; give a file of named tensors")
    return copies


def _read(data: memoryview, path: Path) -> Any:
    for start, what in _OTHERS.items():
        if data[: len(start)] == start:
            raise Refused(what)
    if data[:4] == _ZIP:
        check_zip(data)
        with zipfile.ZipFile(path) as archive:
            return arrays(_read_zip(archive, data), len(data))
    if data[:1] != pickle.PROTO:
        raise Refused(
            "neither a torch file nor a pickle of protocol 2 or later (a text, or a pickle of protocol 0 or 1?)"
        )
    return arrays(_read_stream(data), len(data))


def _read_zip(archive: zipfile.ZipFile, data: memoryview) -> Any:
    claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > _MOST_EXPANDED * len(data):
        raise Refused(f"it claims to hold {claimed:,} bytes in a file of {len(data):,}")
    names = set(archive.namelist())
    pickles = [n for n in names if n.endswith("/data.pkl") or n == "data.pkl"]
    if len(pickles) != 1:
        raise Refused("it holds no data.pkl (a TorchScript archive or another kind of zip?)")
    prefix = pickles[0].removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    if order in names and bytes(_entry(archive, data, order)).strip() != b"little":
        raise Refused("its numbers are big-endian")
    storages: dict[str, Storage] = {}

    def storage(dtype: np.dtype, key: str, size: int) -> Storage:
        if key not in storages:
            found = _entry(archive, data, f"{prefix}data/{key}")
            if len(found) != size * dtype.itemsize:
                raise Refused(f"storage {key[:100]} has not the {size} numbers that it claims")
            storages[key] = Storage(key, dtype, size, np.frombuffer(found, dtype))
        return storages[key]

    return Unpickler(len(data)).machine(_entry(archive, data, pickles[0]), storage).load()


def _entry(archive: zipfile.ZipFile, data: memoryview, name: str) -> memoryview:
    """The bytes of an entry, its checksum compared; a view where they are not compressed."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        return memoryview(archive.read(entry))
    signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(data, entry.header_offset)
    start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    found = data[start : start + entry.file_size]
    if signature != _ZIP or len(found) != entry.file_size:
        raise EOFError(f"{name} is cut short")
    if zlib.crc32(found) != entry.CRC:
        raise zipfile.BadZipFile(f"the checksum of {name} is wrong")
    return found


def _read_stream(data: memoryview) -> Any:
    unpickler = Unpickler(len(data))

    def nested(inner: Any) -> Any:
        """`torch.storage._load_from_bytes`: a whole torch file inside a pickle."""
        if not isinstance(inner, bytes | memoryview):
            raise Refused("a torch file inside a pickle that is no bytes")
        unpickler.spend(len(inner))  # it may be named once and read a thousand times
        machine = unpickler.machine(memoryview(inner))
        if machine.load() != _MAGIC:
            raise Refused("a torch file inside a pickle of another layout")
        return _read_torch_stream(unpickler, memoryview(inner), machine.position)

    machine = unpickler.machine(data, nested=nested)
    first = machine.load()
    is_torch = type(first) is int and first == _MAGIC
    return _read_torch_stream(unpickler, data, machine.position) if is_torch else first


def _read_torch_stream(unpickler: Unpickler, data: memoryview, position: int) -> Any:
    """Version, machine, the object, the keys of its storages; then for each a count and its numbers."""
    storages: dict[str, Storage] = {}

    def storage(dtype: np.dtype, key: str, size: int) -> Storage:
        return storages.setdefault(key, Storage(key, dtype, size))

    parts = []
    for _ in range(4):
        machine = unpickler.machine(data, storage, start=position)
        parts.append(machine.load())
        position = machine.position
    version, machine_facts, found, keys = parts
    if version != _VERSION or not machine_facts.get("little_endian", True):
        raise Refused("torch's stream in another layout than that of version 1001, little-endian")
    for key in keys:
        if not isinstance(key, str):  # a tuple can take for ever to look up
            raise Refused("a storage whose key is no text")
        storage_of = storages[key]
        end = position + 8 + storage_of.size * storage_of.dtype.itemsize
        if end > len(data) or int.from_bytes(data[position : position + 8], "little") != storage_of.size:
            raise EOFError(f"storage {key} is cut short")
        storage_of.data = np.frombuffer(data[position + 8 : end], storage_of.dtype)
        position = end
    return found
