"""What a compiled program says between devices, read out of its HLO."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute", "collective-broadcast")
_LINE = re.compile(
    rf"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<shape>.+?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(", re.MULTILINE
)
_ARRAY = re.compile(r"\b(pred|[subf]+\d+\w*)\[([\d,]*)\]")
_BITS = {"pred": 8}


class Collective(NamedTuple):
    """One instruction: its kind, and of each array of its result on a device the shape, as HLO writes it, and bytes."""

    kind: str
    arrays: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """Of all its arrays."""
        return sum(size for _, size in self.arrays)


def collectives(program: Any) -> list[Collective]:
    """Those of a compiled program (or of its HLO text), in its order; one inside a loop is counted once."""
    return list(_found(program if isinstance(program, str) else program.as_text()))


def _found(text: str) -> Iterator[Collective]:
    for match in _LINE.finditer(text):
        arrays = [(f"{kind}[{dims}]", _bytes(kind, dims)) for kind, dims in _ARRAY.findall(match["shape"])]
        if match["start"] and match["kind"] != "all-reduce":  # (operand, result, flags): the result is what moves
            arrays = [max(arrays, key=lambda array: array[1])]
        yield Collective(match["kind"], tuple(arrays))


def _bytes(kind: str, dims: str) -> int:
    bits = _BITS.get(kind) or int(re.search(r"\d+", kind)[0])
    count = 1
    for n in filter(None, dims.split(",")):
        count *= int(n)
    return -(-count * bits // 8)


def totals(found: list[Collective]) -> dict[str, dict[str, int]]:
    """{kind: {"count", "bytes", "largest"}}."""
    result: dict[str, dict[str, int]] = {}
    for one in found:
        row = result.setdefault(one.kind, {"count": 0, "bytes": 0, "largest": 0})
        row["count"] += 1
        row["bytes"] += one.bytes
        row["largest"] = max(row["largest"], one.bytes)
    return result
