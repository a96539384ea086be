"""The admin port's server: uvicorn as a task of ours.

uvicorn would take the process's signals and exit by itself; here both are the runtime's.
"""

import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

_GRACE = 1
"""Seconds that admin requests may take to end when the process stops."""


class AdminServer(uvicorn.Server):
    """uvicorn without hands on the signals."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit` is set, or until cancelled; nothing stays open."""
        try:
            await super().serve(sockets)
        finally:
            if self.started:  # what uvicorn does itself in its orderly end, and only then
                for server in self.servers:
                    server.close()
                for connection in list(self.server_state.connections):
                    connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def open_socket(host: str, port: int) -> socket.socket:
    """Open the admin port. Raises `OSError`; uvicorn would end the process instead."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
