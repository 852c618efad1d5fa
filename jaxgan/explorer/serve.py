"""The web server under the application."""

import logging
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 15.0  # seconds in which a connection asks for something, or is closed
_MESSAGE = 8 * 2**20  # bytes that one may have
_BUSY = object()  # in place of the last answered request, while one is being answered


class Server(uvicorn.Server):
    """Calls `announce(port)` once it listens."""

    announce: Callable[[int], None] = staticmethod(lambda port: None)

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started:
            self.announce(self.servers[0].sockets[0].getsockname()[1])


class Protocol(H11Protocol):
    """Closes connections on which nothing, or half a request, is said; uvicorn waits for them for ever."""

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's."""
        super().connection_made(transport)
        self._answered: Any = None
        self._watch = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.transport.get_protocol() is not self:
            return  # a WebSocket by now, whose session looks after it
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._answered is self.cycle:
            self.transport.close()
            return
        self._answered = self.cycle if answered else _BUSY
        self._watch = self.loop.call_later(PATIENCE, self._look)


def make_server(app: Any, host: str, port: int, announce: Callable[[int], None]) -> Server:
    """A server; port 0 is any that is free, and `announce` is told which."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=logging.WARNING,
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=_MESSAGE,
        ws_per_message_deflate=False,  # pictures are compressed already
        ws_ping_interval=20.0,  # a client that vanished is noticed
        ws_ping_timeout=20.0,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = Server(config)
    server.announce = announce
    return server
