"""A file as memory, and how long a zip's list of entries is before it is read."""

import mmap
import struct
from pathlib import Path

from jaxgan.weights.pickle_machine import Refused

_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"  # of the list of entries
_LONGEST_END = (1 << 16) + 200  # a comment, and both of them
_LONGEST_LIST = 4 << 20  # bytes: some 40,000 entries


def mapped(path: str | Path) -> memoryview:
    """A file as memory that the system reads when it is looked at.

    Raises:
        OSError: it is missing, or no regular file.
        EOFError: it is empty.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    with open(path, "rb") as file:
        if path.stat().st_size == 0:
            raise EOFError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def check_zip(data: memoryview) -> None:
    """Raises Refused for a zip with a list of entries that takes longer to read than any network has tensors."""
    end = bytes(data[-_LONGEST_END:])
    sizes = [_number(end, end.rfind(_END), 12, "<I"), _number(end, end.rfind(_END_64), 40, "<Q")]
    # The largest number of the short field says that the long one counts.
    size = max((s for s in sizes if s != 0xFFFFFFFF), default=0)
    if size > _LONGEST_LIST:
        raise Refused(f"its list of entries has {size:,} bytes; {_LONGEST_LIST:,} are known")


def _number(data: bytes, place: int, offset: int, kind: str) -> int:
    end = place + offset + struct.calcsize(kind)
    return struct.unpack_from(kind, data, place + offset)[0] if place >= 0 and end <= len(data) else 0
