"""What a weights file may hold: plain containers, torch tensors, NumPy arrays and objects as plain data; nothing else.

A pickle may name any function that Python can import and have it called. Here a name is looked up in the short table
below or the file is refused; nothing that it names is ever imported. Tensors and arrays are rebuilt by our own code as
views of the file's bytes, with their bounds checked.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from jaxgan.weights.pickle_machine import Constructor, Instance, Machine, Refused, checked_key, instructions

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
DEEPEST = 200
MOST_DIMENSIONS = 32
_MOST_VIEWED = 8  # all tensors as float32, in sizes of the file; whole bytes would be 4, shared layers count again
_ALLOWANCE = 1 << 25  # bytes that may be copied on top of those of the file
_DTYPE = re.compile(r"[<>=|]?([fiu][1248]|b1)|bool|float(16|32|64)|u?int(8|16|32|64)")


@dataclasses.dataclass
class Object(Instance):
    """An object of a class that is not ours, as plain data.

    Attributes:
        kind: name of its class.
        state: its attributes.
    """

    kind: str
    state: dict[str, Any]

    def build(self, state: Any) -> None:
        if not isinstance(state, dict) or self.state:
            raise Refused(f"a {self.kind} whose state is no dict, or comes twice")
        self.state = state  # not copied: a pickle can give one dict to a million objects


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
        """The numbers, a read-only view; it must lie within the storage."""
        if not are_sizes(self.offset, *self.shape, *self.strides) or len(self.shape) != len(self.strides):
            raise Refused("a tensor whose offset, shape or strides are no sizes")
        data = self.storage.data  # its own dtype and size count, whatever the pickle says of the storage
        if data is None:
            raise Refused(f"a tensor of storage {self.storage.key}, which the file lacks")
        if len(self.shape) > MOST_DIMENSIONS:
            raise Refused(f"a tensor of {len(self.shape)} dimensions")
        if 0 in self.shape:
            return np.zeros(self.shape, data.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if last >= data.size or math.prod(self.shape) > data.size:
            raise Refused(f"a tensor of shape {self.shape} that reaches beyond its storage of {data.size}")
        strides = [s * data.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides, writeable=False)


def are_sizes(*numbers: Any) -> bool:
    """Whether all are integers from 0 to 2^62."""
    return all(isinstance(n, int) and 0 <= n < 1 << 62 for n in numbers)


class _Dtype(Instance):
    """Stands for numpy.dtype."""

    def __init__(self, name: Any, *_: Any):
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise Refused("an array of other things than numbers")
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


@dataclasses.dataclass
class _Array(Instance):
    """Stands for numpy.ndarray."""

    file: "Unpickler"
    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.value = self.file.array(data, dtype, shape, "F" if fortran else "C")


class Unpickler:
    """Reads the pickles of one file: what the names in them stand for, and how much they may run and copy.

    A pickle can name a long list once and have it copied a million times by short instructions, hence the allowance.
    """

    def __init__(self, size: int):
        self._allowance = size + _ALLOWANCE
        self._steps = instructions()
        self._allowed = self._names()

    def machine(
        self,
        data: memoryview,
        storage: Callable[[np.dtype, str, int], Storage] | None = None,
        nested: Callable[[Any], Any] | None = None,
        start: int = 0,
    ) -> Machine:
        """Reads one pickle.

        Args:
            data: the bytes that it is in.
            storage: (dtype, key, size) -> the storage that tensors of this pickle name.
            nested: reads the bytes of a torch file inside the pickle; None refuses them.
            start: offset of the pickle.
        """
        allowed = self._allowed
        if nested is not None:
            allowed = allowed | {("torch.storage", "_load_from_bytes"): Constructor(nested)}

        def find(module: str, name: str) -> Any:
            if (module, name) not in allowed:
                raise Refused(f"it asks for {module[:100]}.{name[:100]}, which is no tensor")
            return allowed[module, name]

        def external(pid: Any) -> Storage:
            if storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
                raise Refused("a reference to something outside the file")
            _, dtype, key, _, size = pid[:5]
            if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not are_sizes(size):
                raise Refused("a storage without a known type of numbers")
            return storage(dtype, key, size)

        return Machine(data, find, external, start, self._steps)

    def spend(self, count: int) -> None:
        """Takes so many bytes off what may be copied; raises Refused where none are left."""
        self._allowance -= count
        if self._allowance < 0:
            raise Refused("it copies the same numbers over and over")

    def sequence(self, items: Any) -> Any:
        """A list or tuple that may be copied."""
        if not isinstance(items, list | tuple):
            raise Refused(f"a {type(items).__name__} in place of a list")
        self.spend(64 * len(items))
        return items

    def ordered_dict(self, pairs: Any = ()) -> dict[Any, Any]:
        return collections.OrderedDict((checked_key(key), value) for key, value in self.sequence(pairs))

    def set(self, items: Any = ()) -> set:
        return set(map(checked_key, self.sequence(items)))

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> LazyTensor:
        if not isinstance(storage, Storage):
            raise Refused("a tensor without a storage")
        return LazyTensor(storage, offset, tuple(self.sequence(shape)), tuple(self.sequence(strides)))

    def latin1(self, text: Any, encoding: Any) -> bytes:
        """`_codecs.encode`, which old pickles build bytes with."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise Refused("text in another encoding than latin1")
        self.spend(len(text))
        return text.encode("latin1")

    def array(self, data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
        """An array over bytes, which must be as many as its shape needs."""
        if isinstance(data, str):  # Python 2's bytes
            data = self.latin1(data, "latin1")
        if isinstance(dtype, str):
            dtype = _Dtype(dtype)
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | memoryview) or order not in ("C", "F"):
            raise Refused("an array without plain bytes")
        shape = (shape,) if isinstance(shape, int) else tuple(self.sequence(shape))
        if not are_sizes(*shape) or len(shape) > MOST_DIMENSIONS:
            raise Refused("an array whose shape is no sizes")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise Refused(f"an array of shape {shape} in {len(data)} bytes")
        return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)

    def ndarray(self, *arguments: Any) -> Any:
        """`numpy.ndarray(shape, dtype, buffer, offset, strides, order)`; or the empty one that takes a state."""
        if len(arguments) != 6:
            return _Array(self)
        shape, dtype, data, offset, strides, order = arguments
        if offset != 0 or strides is not None:
            raise Refused("an array that is a part of its bytes")
        return self.array(data, dtype, shape, order)

    def scalar(self, dtype: Any, data: Any) -> Any:
        return self.array(data, dtype, ()).item()

    def _names(self) -> dict[tuple[str, str], Any]:
        """(module, name) -> what stands for it; there are no other names."""
        functions: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): self.ordered_dict,
            ("builtins", "set"): self.set,
            ("__builtin__", "set"): self.set,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch", "Size"): lambda sizes: tuple(self.sequence(sizes)),
            ("torch", "device"): lambda *_: None,
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
            ("dnnlib.util", "EasyDict"): self.ordered_dict,
            ("dnnlib.tflib.network", "Network"): lambda: Object("Network", {}),
            ("argparse", "Namespace"): lambda: Object("Namespace", {}),
            ("models.utils.config", "BaseConfig"): lambda: Object("BaseConfig", {}),  # of pytorch_GAN_zoo
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): self.ndarray,
            ("_codecs", "encode"): self.latin1,
        }
        for numpy in ("numpy.core", "numpy._core"):
            functions[f"{numpy}.multiarray", "_reconstruct"] = lambda *_: _Array(self)
            functions[f"{numpy}.multiarray", "scalar"] = self.scalar
            functions[f"{numpy}.numeric", "_frombuffer"] = self.array
        storages = {("torch", name): dtype for name, dtype in STORAGES.items()}
        return {name: Constructor(function) for name, function in functions.items()} | storages


def arrays(tree: Any, size: int) -> Any:
    """What was unpickled, with tensors and arrays as read-only NumPy views, containers as plain dicts and lists.

    What the file names twice is the same object twice.

    Args:
        tree: the objects.
        size: bytes of the file. As float32, in which weights are taken, all views together may be some times as large.

    Raises:
        Refused: containers are nested too deep or hold themselves, or many tensors are views of the same numbers.
    """
    done: dict[int, Any] = {}
    begun: set[int] = set()
    left = _MOST_VIEWED * size + _ALLOWANCE

    def viewed(array: Any) -> Any:
        nonlocal left
        left -= 4 * array.size if isinstance(array, np.ndarray) else 0
        if left < 0:
            raise Refused("its tensors are views of the same numbers over and over")
        return array

    def convert(value: Any, depth: int) -> Any:
        if isinstance(value, LazyTensor | _Array):
            if id(value) not in done:
                done[id(value)] = viewed(value.array() if isinstance(value, LazyTensor) else value.value)
            return done[id(value)]
        if isinstance(value, _Dtype):
            return value.dtype
        if not isinstance(value, dict | list | tuple | Object):
            return value
        key = id(value)
        if key in done:
            return done[key]
        if key in begun or depth > DEEPEST:
            raise Refused(f"containers that hold themselves, or nested more than {DEEPEST} deep")
        begun.add(key)
        if isinstance(value, Object):
            done[key] = Object(value.kind, convert(value.state, depth + 1))
        elif isinstance(value, dict):
            done[key] = {k: convert(v, depth + 1) for k, v in value.items()}
        else:
            done[key] = [convert(v, depth + 1) for v in value]
        return done[key]

    return convert(tree, 0)


def _persistent_object(meta: Any) -> Object:
    """An object of NVIDIA's `torch_utils.persistence`: its source code, which the file carries, is not looked at."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict) or not isinstance(meta["class_name"], str):
        raise Refused("a persistent object without a class and a state")
    return Object(meta["class_name"][:100], meta["state"])
