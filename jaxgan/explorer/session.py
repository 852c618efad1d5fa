"""One browser on its socket: its requests in, its frames out; whatever it does, the others are not kept waiting."""

import asyncio
import json
import struct
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from jaxgan.errors import UserError
from jaxgan.explorer.batcher import Batcher, Replaced
from jaxgan.explorer.jobs import Cancelled
from jaxgan.explorer.messages import Cancel, Frame, Job, Overlay, Still, Thumbs, read
from jaxgan.explorer.scene import Facts

_SECONDS = 10.0  # in which a client takes a message, or is given up
_NEWS = 8  # of a job that may wait to be sent
_SLOTS = {Frame: "frame", Thumbs: "thumbs", Overlay: "overlay", Still: "still"}


class Gone(Exception):
    """The client has closed, or takes nothing any longer."""


class Socket(Protocol):
    """What a session needs of a WebSocket."""

    async def receive_text(self) -> str:
        """The next message; raises Gone."""

    async def send_bytes(self, data: bytes) -> None:
        """Sends; raises Gone."""


class Session:
    """Serves a client until it goes.

    Args:
        socket: its own.
        facts: of the generator.
        batcher: gives for a `Frame`, `Thumbs`, `Overlay` or `Still` a list of (header, bytes).
        jobs: `run(Job, tell, stopped)`, awaitable.
        idle: seconds without a message after which it is closed.
    """

    def __init__(self, socket: Socket, facts: Facts, batcher: Batcher, jobs: Any, idle: float):
        self._socket, self._facts, self._batcher, self._jobs, self._idle = socket, facts, batcher, jobs, idle
        self._sending = asyncio.Lock()
        self._newest: dict[str, tuple[int, Any]] = {}
        self._pumps: dict[str, asyncio.Task] = {}
        self._job: asyncio.Task | None = None
        self._stopped = threading.Event()
        self._main: asyncio.Task | None = None
        self._gone = False

    def _end(self) -> None:
        """Ends the session, where a task of it has noticed that the client takes nothing any longer."""
        self._stopped.set()
        if not self._gone and self._main is not None:
            self._gone = True
            self._main.cancel()

    async def serve(self, hello: Mapping[str, Any]) -> None:
        """Until the client goes, or says nothing for too long."""
        self._main = asyncio.current_task()
        try:
            await self._send(hello | {"type": "hello"})
            while True:
                try:
                    text = await asyncio.wait_for(self._socket.receive_text(), self._idle)
                except TimeoutError:
                    if self._job is not None and not self._job.done():
                        continue  # it is waiting for that
                    await self._send(
                        {"type": "bye", "message": "closed after a while without a word; it opens again when you go on"}
                    )
                    return
                await self._take(text)
        except Gone:
            pass
        except asyncio.CancelledError:
            if not self._gone:
                raise
        finally:
            self._stopped.set()
            tasks = [task for task in (*self._pumps.values(), self._job) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, text: str) -> None:
        number, message = read(text, self._facts)
        match message:
            case UserError():
                await self._refuse(number, str(message))
            case Cancel():
                self._stopped.set()
                await self._send({"type": "done", "id": number})
            case Job():
                await self._begin(number, message)
            case _:
                slot = _SLOTS[type(message)]
                self._newest[slot] = (number, message)  # whatever waited there is not wanted any longer
                if slot not in self._pumps or self._pumps[slot].done():
                    self._pumps[slot] = asyncio.create_task(self._pump(slot))

    async def _pump(self, slot: str) -> None:
        """Answers what is newest in a slot, until nothing is: one is computed or sent at a time."""
        try:
            while slot in self._newest:
                number, message = self._newest.pop(slot)
                size = len(message.scenes) if isinstance(message, Thumbs) else 1
                try:
                    answers = await self._batcher.ask(id(self), slot, message, size)
                except Replaced:
                    continue
                except Exception as error:
                    await self._refuse(number, _words(slot, error))
                else:
                    for header, data in answers:
                        await self._send({"type": slot, "id": number} | header, data)
        except Gone:
            self._end()

    async def _begin(self, number: int, message: Job) -> None:
        if self._job is not None and not self._job.done():
            await self._refuse(number, "one job at a time; cancel the other first")
            return
        self._stopped = threading.Event()
        self._job = asyncio.create_task(self._work(number, message, self._stopped))

    async def _work(self, number: int, message: Job, stopped: threading.Event) -> None:
        loop, news = asyncio.get_running_loop(), asyncio.Queue()

        def put(header: Mapping[str, Any], data: bytes) -> None:
            # A client that takes them slowly misses news of progress, of which the next one says more.
            if news.qsize() < _NEWS or "candidate" in header:
                news.put_nowait((header, data))

        async def pass_on() -> None:
            while True:
                header, data = await news.get()
                await self._send({"type": "news", "id": number} | header, data)

        passing = asyncio.create_task(pass_on())
        try:
            result = await self._jobs.run(message, lambda h, d: loop.call_soon_threadsafe(put, h, d), stopped)
            await asyncio.sleep(0)
            while not (news.empty() or passing.done()):
                await asyncio.sleep(0.01)
            await self._send({"type": "done", "id": number} | result)
        except Gone:
            self._end()
        except Exception as error:
            await self._refuse(number, _words(message.request["kind"], error))
        finally:
            stopped.set()
            passing.cancel()

    async def _refuse(self, number: int, words: str) -> None:
        await self._send({"type": "error", "id": number, "message": words})

    async def _send(self, header: Mapping[str, Any], data: bytes = b"") -> None:
        async with self._sending:
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._socket.send_bytes(packed(header, data))
            except TimeoutError as error:
                raise Gone from error


def packed(header: Mapping[str, Any], data: bytes = b"") -> bytes:
    """A message: the length of its header in four bytes, the header as JSON, and a picture or nothing."""
    words = json.dumps(header).encode()
    return struct.pack("<I", len(words)) + words + data


def _words(what: str, error: Exception) -> str:
    """An error for the client; what is a fault of ours goes to the log."""
    match error:
        case Cancelled():
            return "cancelled"
        case UserError():
            return str(error)
    print(f"explorer: {what}: {type(error).__name__}: {error}")
    return "the server failed at this; see its log"
