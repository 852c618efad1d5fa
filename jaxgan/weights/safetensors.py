"""The safetensors format: named tensors and texts, nothing that could be executed.

A file is the length of its header (8 bytes, little-endian), the header, a JSON object of
{name: {"dtype", "shape", "data_offsets": [begin, end]}} and "__metadata__" {text: text}, then the numbers, row by row
and without gaps (https://github.com/huggingface/safetensors). That is little enough to be read here, so that opening a
model asks for no further package.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxgan.errors import UserError
from jaxgan.weights.mapped import mapped

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_LONGEST_HEADER = 4 << 20  # bytes, some 40,000 tensors; JSON takes a hundred times its size of memory


def encode(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file."""
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts, end = [], 0
    # Widest numbers first, so that each tensor begins at a multiple of its own width.
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": [begin, end]}
        parts.append(array.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((struct.pack("<Q", len(text)), text, *parts))


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors, metadata) of a file.

    Raises:
        OSError: the file is missing or cannot be read.
        UserError: it is no such file, or is cut short or damaged.
    """
    try:
        return _decode(mapped(path))
    except (
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        struct.error,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no safetensors file, or is damaged ({reason}); fetch it again") from error


def _decode(data: memoryview) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LONGEST_HEADER, len(data) - 8):
        raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
    header = json.loads(bytes(data[8 : 8 + length]))
    numbers = data[8 + length :]
    metadata = {str(key): str(value) for key, value in header.pop(_METADATA, {}).items()}
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
        if not all(type(n) is int and n >= 0 for n in (*shape, *entry["data_offsets"])) or len(shape) > 32:
            raise ValueError(f"{name[:100]} has a shape or place that is no sizes")
        begin, stop = entry["data_offsets"]
        if begin != end or stop - begin != math.prod(shape) * dtype.itemsize or stop > len(numbers):
            raise ValueError(f"{name[:100]} lies at bytes {begin} to {stop} of {len(numbers)}")
        tensors[name] = np.frombuffer(numbers[begin:stop], dtype).reshape(shape)
        end = stop
    if end != len(numbers):
        raise ValueError(f"{len(numbers) - end} bytes belong to no tensor")
    return tensors, metadata
