"""The tensors of another program's file, taken one by one under a check of their shapes; none goes unnoticed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError

_LONGEST_NAME = 500


class Tensors:
    """What is left to take of a file's named tensors.

    Attributes:
        path: the file, as errors name it.
        read: name in the file -> name here, of what was taken.
        unused: name in the file -> why it is left, of what was set aside.
    """

    def __init__(self, path: str | Path, tensors: Mapping[str, np.ndarray]):
        self.path = path
        self._left = dict(tensors)
        self.read: dict[str, str] = {}
        self.unused: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def names(self) -> list[str]:
        """Of the tensors that are left to take."""
        return list(self._left)

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there and have so many axes, none of them empty.

        Raises:
            UserError: it is not, or has not.
        """
        if name not in self._left:
            raise UserError(f"{self.path} lacks {name}; the file must hold the whole network")
        shape = self._left[name].shape
        if len(shape) != rank or 0 in shape:
            raise UserError(f"{self.path}: {name} has shape {shape} where {rank} axes were expected")
        return shape

    def take(self, name: str, shape: tuple[int, ...], ours: str) -> np.ndarray:
        """A tensor in float32; `ours` says where it goes.

        Raises:
            UserError: it is missing, of another shape, or holds integers or something else than finite numbers.
        """
        if name not in self._left:
            raise UserError(f"{self.path} lacks {name} {shape}, which its network needs")
        value = self._left.pop(name)
        if value.shape != shape:
            raise UserError(f"{self.path}: {name} has shape {value.shape} where {shape} was expected")
        if value.dtype.kind in "iub" and value.ndim:  # counts are single numbers
            raise UserError(f"{self.path}: {name} holds {value.dtype} where weights are expected; save it as floats")
        value = value.astype(np.float32)
        if not np.isfinite(value).all():
            raise UserError(f"{self.path}: {name} holds NaN or infinite numbers; give an earlier checkpoint")
        self.read[name] = ours
        return value

    def leave(self, reason: str, *names: str) -> None:
        """Sets tensors aside, those of the names that are still there."""
        for name in names:
            if self._left.pop(name, None) is not None:
                self.unused[name] = reason

    def none_left(self) -> None:
        """Raises UserError for a tensor that the network does not have."""
        for name, value in self._left.items():
            raise UserError(f"{self.path} holds {name} {value.shape}, which its network does not have")


def joined(prefix: str, name: Any, separator: str = ".") -> str:
    """A name behind that of what it is in. Modules in modules can make long names longer and longer.

    Raises:
        ValueError: it is no text, or the whole is longer than the name of any layer.
    """
    if not isinstance(name, str) or len(prefix) + len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of more than {_LONGEST_NAME} letters, or none")
    return f"{prefix}{separator}{name}" if prefix else name


def named(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a flat dict, names after a prefix; {} where it is no dict."""
    if not isinstance(tree, Mapping):
        return {}
    return {f"{prefix}{name}": value for name, value in tree.items() if isinstance(value, np.ndarray)}
