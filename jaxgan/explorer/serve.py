"""The web server under the application."""

import logging
from collections.abc import Callable
from typing import Any

import uvicorn

_MESSAGE = 8 * 2**20  # bytes that one may have


class Server(uvicorn.Server):
    """Calls `announce(port)` once it listens."""

    announce: Callable[[int], None] = staticmethod(lambda port: None)

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started:
            self.announce(self.servers[0].sockets[0].getsockname()[1])


def make_server(app: Any, host: str, port: int, announce: Callable[[int], None]) -> Server:
    """A server; port 0 is any that is free, and `announce` is told which."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=logging.WARNING,
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
