"""One device for many clients: what they ask for waits in places of its own, and is taken in turns into one call.

Of each client and kind only the newest request waits, so that a drag never lags behind; a request that a newer one has
taken the place of is never computed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple


class Replaced(Exception):
    """A newer request of the same client has come before this one was computed."""


class _Waiting(NamedTuple):
    request: Any
    size: int
    answer: asyncio.Future


class Batcher:
    """Computes requests in batches, in a thread.

    Args:
        compute: requests -> as many results, or exceptions among them; called in one thread only.
        most: the size of a batch, in units of what `ask` is told. A larger request is computed alone.

    Attributes:
        batches, answered: how many of each so far.
    """

    def __init__(self, compute: Callable[[Sequence[Any]], Sequence[Any]], most: int):
        self._compute, self._most = compute, most
        self._waiting: OrderedDict[Hashable, OrderedDict[str, _Waiting]] = OrderedDict()
        self._work = asyncio.Event()
        self.batches = self.answered = 0

    @property
    def busy(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    async def ask(self, client: Hashable, kind: str, request: Any, size: int = 1) -> Any:
        """The result of a request.

        Raises:
            Replaced: by a newer one of this client and kind.
            Exception: what `compute` gave in place of a result.
        """
        answer = asyncio.get_running_loop().create_future()
        mine = self._waiting.setdefault(client, OrderedDict())
        older = mine.pop(kind, None)
        if older is not None and not older.answer.done():
            older.answer.set_exception(Replaced())
        mine[kind] = _Waiting(request, size, answer)
        self._work.set()
        try:
            return await answer
        finally:
            self._drop(client, kind, answer)

    def _drop(self, client: Hashable, kind: str, answer: asyncio.Future) -> None:
        """Forgets a request whose client has gone."""
        mine = self._waiting.get(client, {})
        if kind in mine and mine[kind].answer is answer:
            del mine[kind]
            if not mine:
                del self._waiting[client]

    def _take(self) -> list[_Waiting]:
        """The oldest request of each client in turn, as many as fit; who was served goes to the end."""
        taken: list[_Waiting] = []
        room = self._most
        for client in list(self._waiting):
            mine = self._waiting[client]
            kind, first = next(iter(mine.items()))
            if taken and first.size > room:
                continue
            del mine[kind]
            del self._waiting[client]
            if mine:
                self._waiting[client] = mine  # at the end
            taken.append(first)
            room -= first.size
            if room <= 0:
                break
        return taken

    async def run(self) -> None:
        """Serves until it is cancelled."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="device")
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while self._waiting:
                    taken = [w for w in self._take() if not w.answer.done()]
                    if not taken:  # all of them have gone
                        continue
                    try:
                        results = await loop.run_in_executor(thread, self._compute, [w.request for w in taken])
                    except Exception as error:  # of any kind: others are waiting, and the server goes on
                        results = [error] * len(taken)
                    self.batches += 1
                    for waiting, result in zip(taken, results, strict=True):
                        if waiting.answer.done():
                            continue
                        self.answered += 1
                        if isinstance(result, Exception):
                            waiting.answer.set_exception(result)
                        else:
                            waiting.answer.set_result(result)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
