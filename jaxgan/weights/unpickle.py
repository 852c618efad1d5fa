"""An unpickler that builds plain containers, torch tensors and NumPy arrays, and refuses everything else.

A pickle is a program: it may name any function that Python can import and have it called. Here a name is looked up in
the short table below or the file is refused; nothing that it names is ever imported. Tensors and arrays are rebuilt by
our own code out of bytes, with their bounds checked.
"""

import collections
import dataclasses
import math
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class Refused(pickle.UnpicklingError):
    """The file asks for something else than tensors in containers."""


@dataclasses.dataclass
class Storage:
    """A run of numbers that tensors are views of; `data` is filled in before the tensors are made."""

    key: str
    dtype: np.dtype
    size: int
    data: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class LazyTensor:
    """A view of a storage, as a pickle describes it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The numbers, copied; the view must lie within the storage."""
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(n, int) and n >= 0 for n in numbers) or len(self.shape) != len(self.strides):
            raise Refused(f"a tensor with offset {self.offset}, shape {self.shape}, strides {self.strides}")
        data = self.storage.data  # its own dtype and size count, whatever the pickle says of the storage
        if 0 in self.shape:
            return np.zeros(self.shape, data.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if last >= data.size or math.prod(self.shape) > data.size:
            raise Refused(f"a tensor of shape {self.shape} that reaches beyond its storage of {data.size}")
        strides = [s * data.itemsize for s in self.strides]
        return np.array(np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides, writeable=False))


class _NumpyDtype:
    """Stands for numpy.dtype while a pickle is read."""

    def __init__(self, name: str, *_: Any):
        self.dtype = np.dtype(name)
        if self.dtype.hasobject or self.dtype.kind not in "fiub":
            raise Refused(f"an array of {name}")

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _NumpyArray:
    """Stands for numpy.ndarray while a pickle is read."""

    def __init__(self, *_: Any):
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _NumpyDtype) or not isinstance(data, bytes):
            raise Refused("an array without plain bytes")
        flat = np.frombuffer(data, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C").copy()


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    return LazyTensor(storage, offset, tuple(shape), tuple(strides))


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, which old pickles build bytes with."""
    if encoding != "latin1":
        raise Refused(f"text encoded as {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("numpy", "dtype"): _NumpyDtype,
    ("numpy", "ndarray"): _NumpyArray,
    ("numpy.core.multiarray", "_reconstruct"): _NumpyArray,
    ("numpy._core.multiarray", "_reconstruct"): _NumpyArray,
    ("_codecs", "encode"): _latin1,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}


class Unpickler(pickle.Unpickler):
    """Reads one pickle; `storage(dtype, key, size)` hands out the storages that its tensors name."""

    def __init__(self, file: BinaryIO, storage: Callable[[np.dtype, str, int], Storage] | None = None):
        # Pickles of Python 2 hold arrays as text; latin1 turns that into the same bytes.
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"it asks for {module}.{name}, which is no tensor") from None

    def persistent_load(self, pid: Any) -> Storage:
        if self._storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise Refused("a reference to something outside the file")
        _, dtype, key, _, size = pid[:5]
        if not isinstance(dtype, np.dtype) or not isinstance(size, int) or size < 0:
            raise Refused("a storage without a known type of numbers")
        return self._storage(dtype, str(key), size)


def arrays(tree: Any) -> Any:
    """What was unpickled, with tensors and arrays as NumPy arrays and containers as plain dicts and lists."""
    if isinstance(tree, LazyTensor):
        return tree.array()
    if isinstance(tree, _NumpyArray):
        return tree.value
    if isinstance(tree, dict):
        return {key: arrays(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [arrays(value) for value in tree]
    return tree
