"""The web server under the application."""

import logging
from typing import Any

import uvicorn

_MESSAGE = 8 * 2**20  # bytes that one may have


def make_server(app: Any, host: str, port: int) -> uvicorn.Server:
    """A uvicorn server; port 0 is any that is free (`port_of`)."""
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
    return uvicorn.Server(config)


def port_of(server: uvicorn.Server) -> int:
    """Of a server that has started."""
    return server.servers[0].sockets[0].getsockname()[1]
