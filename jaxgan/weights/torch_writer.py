"""Files that `torch.load(weights_only=True)` opens, made without torch."""

import io
import zipfile
from typing import Any

import numpy as np

from jaxgan.weights.pickle_writer import Call, Global, Persistent, dumps
from jaxgan.weights.unpickle import STORAGES

_KINDS = {dtype: name for name, dtype in STORAGES.items()}


def encode(tree: Any, name: str = "archive") -> memoryview:
    """A file in torch's zip layout.

    Args:
        tree: nested dicts, lists, numbers, texts and NumPy arrays, which become contiguous tensors.
        name: of the folder inside.

    Raises:
        KeyError: torch has no tensors of an array's type.
    """
    stored: list[np.ndarray] = []

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(tensors, value))
        return _tensor(value, stored) if isinstance(value, np.ndarray) else value

    program = dumps(tensors(tree))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}/data.pkl", program)
        archive.writestr(f"{name}/byteorder", "little")
        for key, array in enumerate(stored):
            with archive.open(f"{name}/data/{key}", "w") as entry:
                entry.write(memoryview(array).cast("B") if array.size else b"")
        archive.writestr(f"{name}/version", "3\n")
    return buffer.getbuffer()


def _tensor(array: np.ndarray, stored: list[np.ndarray]) -> Call:
    """A call that rebuilds a tensor; its numbers are put into `stored`."""
    array = np.ascontiguousarray(array).reshape(array.shape)  # a scalar stays one
    kind = _KINDS[array.dtype.newbyteorder("<")]
    stored.append(array.astype(array.dtype.newbyteorder("<"), copy=False))
    storage = Persistent(("storage", Global("torch", kind), str(len(stored) - 1), "cpu", array.size))
    strides = tuple(s // array.itemsize for s in array.strides)
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, 0, array.shape, strides, False, hooks))
