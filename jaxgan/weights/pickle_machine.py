"""Runs a pickle's instructions without Python's own unpickler, so that every step of it is one of ours.

A pickle is a program for a small stack machine. Python's unpickler imports what it names, calls it, spends whatever
memory it asks for and hashes whatever it offers as a key. Here names are looked up by the caller, only what the caller
hands out is called, lengths are compared with the bytes that are there before anything is made, keys are numbers and
texts, and the number of instructions is bounded. Long bytes are not copied: they are views of the file.
"""

import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_INSTRUCTIONS = 1_000_000  # a generator of 1024 px with its discriminator takes some 20,000
MOST_MARKS = 1_000
_LONGEST_INTEGER = 1_024  # bytes


class Refused(pickle.UnpicklingError):
    """The file asks for something else than tensors in containers."""


class Constructor:
    """A function that a pickle may call, or a class that it may make instances of."""

    def __init__(self, call: Callable[..., Any]):
        self.call = call


class Instance:
    """What a constructor may return to take the state that follows it in the pickle."""

    def build(self, state: Any) -> None:
        """Takes what the pickled object's `__getstate__` returned."""
        raise NotImplementedError


def instructions() -> Iterator[int]:
    """An item for each instruction that a file may run."""
    return iter(range(MOST_INSTRUCTIONS))


def checked_key(key: Any) -> Any:
    """A key of a dict or a member of a set, if it is a small integer or a text.

    Others can be made to take for ever: nested tuples to hash, long integers by all having the same hash.
    """
    if isinstance(key, str) or key is None or (isinstance(key, int) and abs(key) < 1 << 63):
        return key
    raise Refused(f"a key that is a {type(key).__name__}")


class Machine:
    """Reads the pickle that begins at `start` of some bytes.

    Args:
        data: of the file, one byte an item.
        find: (module, name) -> what stands for it: a `Constructor`, or a plain value.
        persistent: what stands for an object that is kept outside the pickle, by its id.
        start: offset of the pickle; after `load`, `position` is the offset behind it.
        steps: one item for each instruction that may run; machines share one where they read one file.
    """

    def __init__(
        self,
        data: memoryview,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
        start: int = 0,
        steps: Iterator[int] | None = None,
    ):
        self._data, self.position = data, start
        self._steps = instructions() if steps is None else steps
        self._find, self._persistent = find, persistent
        self._memo: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark

    def load(self) -> Any:
        """The object.

        Raises:
            Refused: the pickle asks for what is not allowed.
            EOFError, IndexError, KeyError, TypeError, ValueError: it is cut short or damaged.
        """
        for _ in self._steps:
            code = self._take(1)[0]
            if code == pickle.STOP[0]:
                (result,) = self._stack
                return result
            step = _STEPS.get(code)
            if step is None:
                raise Refused(f"pickle instruction {code:#04x} at byte {self.position - 1}")
            step(self)
        raise Refused(f"more than {MOST_INSTRUCTIONS:,} pickle instructions")

    # What the instructions are made of

    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self._data):
            raise EOFError(f"{count} bytes are announced and {len(self._data) - self.position} are left")
        taken, self.position = self._data[self.position : end], end
        return taken

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _text(self, length: str, encoding: str = "utf-8") -> str:
        # What Python 2 wrote as text may be the bytes of an array; latin1 turns it into the same bytes later.
        errors = "surrogatepass" if encoding == "utf-8" else "strict"
        return str(self._take(self._number(length)), encoding, errors)

    def _line(self) -> str:
        rest = bytes(self._data[self.position : self.position + 500])
        end = rest.find(b"\n")
        if end < 0:
            raise EOFError("a name without an end")
        self.position += end + 1
        return rest[:end].decode()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _marked(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise Refused(f"an instruction for a {kind.__name__} on a {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    # The instructions that do more than push

    def _mark(self) -> None:
        if len(self._below) == MOST_MARKS:
            raise Refused(f"containers nested more than {MOST_MARKS} deep")
        self._below.append(self._stack)
        self._stack = []

    def _integer(self, length: str) -> None:
        count = self._number(length)
        if not 0 <= count <= _LONGEST_INTEGER:
            raise Refused(f"an integer of {count} bytes")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count:
            raise IndexError("a tuple of more than there is")
        self._stack[-count:] = [items]

    def _dict(self) -> None:
        items = self._marked()
        self._push({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            target[checked_key(key)] = value

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _append(self) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def _append_all(self) -> None:
        items = self._marked()
        self._top(list).extend(items)

    def _add_all(self) -> None:
        items = self._marked()
        self._top(set).update(map(checked_key, items))

    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        self._push(self._find(module, name))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(module, name)

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise Refused("a call of something that is no function")
        self._push(function.call(*arguments))

    def _new_with_names(self) -> None:
        if self._stack.pop() != {}:
            raise Refused("a call with named arguments")
        self._call()

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Instance):
            target.build(state)
        elif not isinstance(target, Mapping):  # a state dict carries the versions of its modules, which say nothing
            raise Refused(f"state for a {type(target).__name__}")

    def _keep(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _external(self) -> None:
        if self._persistent is None:
            raise Refused("a reference to something outside the file")
        self._push(self._persistent(self._stack.pop()))


def _protocol(machine: Machine) -> None:
    if machine._number("<B") > 5:
        raise Refused("a pickle protocol above 5")


_P = pickle
_STEPS: dict[int, Callable[[Machine], Any]] = {
    code[0]: step
    for code, step in {
        _P.PROTO: _protocol,
        _P.FRAME: lambda m: m._number("<Q"),
        _P.MARK: Machine._mark,
        _P.POP: lambda m: m._stack.pop(),
        _P.POP_MARK: Machine._marked,
        _P.DUP: lambda m: m._push(m._stack[-1]),
        _P.NONE: lambda m: m._push(None),
        _P.NEWTRUE: lambda m: m._push(True),
        _P.NEWFALSE: lambda m: m._push(False),
        _P.BININT: lambda m: m._push(m._number("<i")),
        _P.BININT1: lambda m: m._push(m._number("<B")),
        _P.BININT2: lambda m: m._push(m._number("<H")),
        _P.LONG1: lambda m: m._integer("<B"),
        _P.LONG4: lambda m: m._integer("<i"),
        _P.BINFLOAT: lambda m: m._push(m._number(">d")),
        _P.BINUNICODE: lambda m: m._push(m._text("<I")),
        _P.SHORT_BINUNICODE: lambda m: m._push(m._text("<B")),
        _P.BINUNICODE8: lambda m: m._push(m._text("<Q")),
        _P.BINSTRING: lambda m: m._push(m._text("<I", "latin1")),
        _P.SHORT_BINSTRING: lambda m: m._push(m._text("<B", "latin1")),
        _P.BINBYTES: lambda m: m._push(m._take(m._number("<I"))),
        _P.SHORT_BINBYTES: lambda m: m._push(m._take(m._number("<B"))),
        _P.BINBYTES8: lambda m: m._push(m._take(m._number("<Q"))),
        _P.BYTEARRAY8: lambda m: m._push(m._take(m._number("<Q"))),
        _P.EMPTY_TUPLE: lambda m: m._push(()),
        _P.TUPLE1: lambda m: m._tuple(1),
        _P.TUPLE2: lambda m: m._tuple(2),
        _P.TUPLE3: lambda m: m._tuple(3),
        _P.TUPLE: lambda m: m._push(tuple(m._marked())),
        _P.EMPTY_LIST: lambda m: m._push([]),
        _P.LIST: lambda m: m._push(m._marked()),
        _P.APPEND: Machine._append,
        _P.APPENDS: Machine._append_all,
        _P.EMPTY_DICT: lambda m: m._push({}),
        _P.DICT: Machine._dict,
        _P.SETITEM: Machine._set_item,
        _P.SETITEMS: lambda m: m._set_items(m._marked()),
        _P.EMPTY_SET: lambda m: m._push(set()),
        _P.ADDITEMS: Machine._add_all,
        _P.GLOBAL: lambda m: m._global(m._line(), m._line()),
        _P.STACK_GLOBAL: Machine._stack_global,
        _P.REDUCE: Machine._call,
        _P.NEWOBJ: Machine._call,
        _P.NEWOBJ_EX: Machine._new_with_names,
        _P.BUILD: Machine._build,
        _P.BINGET: lambda m: m._push(m._memo[m._number("<B")]),
        _P.LONG_BINGET: lambda m: m._push(m._memo[m._number("<I")]),
        _P.BINPUT: lambda m: m._keep(m._number("<B")),
        _P.LONG_BINPUT: lambda m: m._keep(m._number("<I")),
        _P.MEMOIZE: lambda m: m._keep(len(m._memo)),
        _P.BINPERSID: Machine._external,
    }.items()
}
