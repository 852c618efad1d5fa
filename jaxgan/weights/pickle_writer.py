"""Writes pickles that name classes which are not installed here: those of torch and of NVIDIA's projects."""

import dataclasses
import pickle
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that the reader of the pickle looks up."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """What the reader's `function(*arguments)` returns, after `__setstate__(state)` where there is a state."""

    function: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclasses.dataclass(frozen=True)
class Persistent:
    """Something that is kept outside the pickle, by its id."""

    id: Any


def dumps(value: Any, protocol: int = 2) -> bytes:
    """A pickle of None, numbers, texts, bytes, arrays, tuples, lists, dicts and of the three above.

    Args:
        value: as said; a value that stands in two places is written twice.
        protocol: 2, which is the one that `torch.load(weights_only=True)` reads; 3, which has bytes and arrays.

    Raises:
        TypeError: something else is in it.
    """
    return b"".join([pickle.PROTO, bytes([protocol]), *_parts(value), pickle.STOP])


def _parts(value: Any) -> Iterator[bytes]:
    if value is None:
        yield pickle.NONE
    elif isinstance(value, bool):
        yield pickle.NEWTRUE if value else pickle.NEWFALSE
    elif isinstance(value, int):
        if -(2**31) <= value < 2**31:
            yield pickle.BININT + struct.pack("<i", value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            yield pickle.LONG1 + bytes([len(data)]) + data
    elif isinstance(value, float):
        yield pickle.BINFLOAT + struct.pack(">d", value)
    elif isinstance(value, str):
        data = value.encode()
        yield pickle.BINUNICODE + struct.pack("<I", len(data)) + data
    elif isinstance(value, bytes):
        yield pickle.BINBYTES + struct.pack("<I", len(value))
        yield value
    elif isinstance(value, np.ndarray):
        # The constructor's name is the same in every version of NumPy, unlike those that its own pickles use.
        arguments = (value.shape, value.dtype.str, value.tobytes(), 0, None, "C")
        yield from _parts(Call(Global("numpy", "ndarray"), arguments))
    elif isinstance(value, tuple):
        yield from (pickle.MARK, *_all(value), pickle.TUPLE)
    elif isinstance(value, list):
        yield from (pickle.EMPTY_LIST, pickle.MARK, *_all(value), pickle.APPENDS)
    elif isinstance(value, dict):
        yield from (pickle.EMPTY_DICT, pickle.MARK)
        yield from _all(part for item in value.items() for part in item)
        yield pickle.SETITEMS
    elif isinstance(value, Global):
        yield pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
    elif isinstance(value, Call):
        yield from (*_parts(value.function), *_parts(value.arguments), pickle.REDUCE)
        if value.state is not None:
            yield from (*_parts(value.state), pickle.BUILD)
    elif isinstance(value, Persistent):
        yield from (*_parts(value.id), pickle.BINPERSID)
    else:
        raise TypeError(f"a {type(value).__name__} has no place in a pickle")


def _all(values: Any) -> Iterator[bytes]:
    for value in values:
        yield from _parts(value)
