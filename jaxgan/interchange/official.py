"""StyleGAN2's official names and layouts against ours.

Every project that reimplements StyleGAN2 stores the same raw weights; what differs is how a tensor is called and which
axis comes first. A `Layout` says that of one project, for reading and for writing. Official names are those of
StyleGAN2-ADA's PyTorch code: `synthesis.b8.conv0.affine.weight`, convolutions [out, in, h, w].
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.interchange.tensors import Tensors

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
W_AVG = "mapping.w_avg"


class Layout(NamedTuple):
    """How one project stores the tensors of the official networks.

    Attributes:
        name: official name -> name in the file.
        read: (official name, the file's array) -> the array in the official layout.
        write: the inverse of `read`.
    """

    name: Callable[[str], str]
    read: Callable[[str, np.ndarray], np.ndarray]
    write: Callable[[str, np.ndarray], np.ndarray]


OFFICIAL = Layout(lambda name: name, lambda _, value: value, lambda _, value: value)


def to_ours(name: str, value: np.ndarray) -> np.ndarray:
    """A tensor from the official layout: OIHW -> HWIO, [out, in] -> [in, out], CHW -> HWC; `fc` reads NHWC."""
    if name.endswith("b4.fc.weight"):
        out, features = value.shape
        return value.reshape(out, features // 16, 4, 4).transpose(2, 3, 1, 0).reshape(features, out)
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if value.ndim == 3:
        return value.transpose(1, 2, 0)
    return value.T if value.ndim == 2 and name.endswith("weight") else value


def from_ours(name: str, value: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    if name.endswith("b4.fc.weight"):
        features, out = value.shape
        return value.reshape(4, 4, features // 16, out).transpose(3, 2, 0, 1).reshape(out, features)
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 3:
        return value.transpose(2, 0, 1)
    return value.T if value.ndim == 2 and name.endswith("weight") else value


def official(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Official name -> array in the official layout, of a network's variables."""
    found = {}
    for kind in ("params", "buffers"):
        for keys, leaf in jax.tree_util.tree_leaves_with_path(variables[kind]):
            name = ".".join(str(key.key) for key in keys)
            found[name] = from_ours(name, np.asarray(leaf))
    return found


def official_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `from_ours` gives, without numbers of that many."""
    return shape[::-1] if len(shape) == 2 and name.endswith("weight") else from_ours(name, _zeros(shape)).shape


class Source:
    """One network of a file, its tensors asked for by their official names.

    Args:
        path: the file, as errors name it.
        network: its name in the file, put before the names of its tensors.
        tensors: of the file, by the names that they have there.
        layout: of the project.
    """

    def __init__(self, path: str | Path, network: str, tensors: Mapping[str, np.ndarray], layout: Layout = OFFICIAL):
        self.path, self.network, self._layout = path, network, layout
        self._names = [f"{network}: {name}" for name in tensors]
        self.tensors = Tensors(path, dict(zip(self._names, tensors.values())))

    def name(self, official: str) -> str:
        """The name in the file."""
        return f"{self.network}: {self._layout.name(official)}"

    def __contains__(self, official: str) -> bool:
        return self.name(official) in self.tensors

    def shape(self, official: str, rank: int) -> tuple[int, ...]:
        """The shape in the official layout; UserError if the tensor is missing or has another number of axes."""
        file_rank = self._layout.write(official, np.zeros((1,) * rank)).ndim
        shape = self.tensors.shape(self.name(official), file_rank)
        return self._layout.read(official, _zeros(shape)).shape

    def take(self, official: str, shape: tuple[int, ...], ours: str) -> np.ndarray:
        """A tensor in the official layout, in which it must have the shape; UserError, in the file's terms, if not."""
        expected = self._layout.write(official, _zeros(shape)).shape
        return self._layout.read(official, self.tensors.take(self.name(official), expected, ours))

    def leave_all(self, reason: str) -> None:
        """Sets the whole network aside."""
        self.tensors.leave(reason, *self._names)

    def leave_filters(self, filters: Mapping[str, np.ndarray]) -> None:
        """Sets resampling filters (name in the file -> numbers) aside.

        Raises:
            UserError: one of them is not [1, 3, 3, 1] in both directions, the only one that is built in.
        """
        for name, value in filters.items():
            value = np.asarray(value, np.float64)
            if value.shape != FILTER.shape or not np.allclose(value / (value.sum() or 1), FILTER, atol=1e-6):
                raise UserError(
                    f"{self.path}: {self.network}: {name} is not the filter [1, 3, 3, 1]; no other is known"
                )
            self.tensors.leave("the filter [1, 3, 3, 1] is built in", f"{self.network}: {name}")


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that take no memory."""
    return np.broadcast_to(np.float32(0), shape)
