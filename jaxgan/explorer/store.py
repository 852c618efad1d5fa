"""What clients have brought and may fetch, under names that cannot be guessed, bounded in number, size and age."""

import secrets
import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple

from jaxgan.errors import UserError


class Kept(NamedTuple):
    """Something kept: its value, the bytes it counts, when it was put here."""

    value: Any
    size: int
    since: float


class Store:
    """Keeps values for a while; the oldest go first.

    Args:
        most: values.
        room: bytes in all.
        seconds: how long one stays.
    """

    def __init__(self, most: int, room: int, seconds: float):
        self._most, self._room, self._seconds = most, room, seconds
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: Any, size: int) -> str:
        """The name that it is kept under.

        Raises:
            UserError: it is larger than all the room.
        """
        if size > self._room:
            raise UserError(f"{size / 2**20:.0f} MB are too large to be kept; the server keeps {self._room >> 20} MB")
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = Kept(value, size, time.monotonic())
            self._drop()
        return name

    def get(self, name: str) -> Any:
        """What is kept under a name.

        Raises:
            UserError: nothing is, any longer.
        """
        with self._lock:
            self._drop()
            if name not in self._kept:
                raise UserError("that is not kept any longer; make or upload it again")
            return self._kept[name].value

    def clear(self) -> None:
        """Forgets what is too old or too much."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        now = time.monotonic()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            full = len(self._kept) > self._most or sum(k.size for k in self._kept.values()) > self._room
            if not full and now - oldest.since < self._seconds:
                break
            self._kept.popitem(last=False)
