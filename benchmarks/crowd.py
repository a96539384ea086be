"""Many clients at once, in this process: one connection each, and one request at a time on it."""

import asyncio
from time import perf_counter
from typing import cast

from benchmarks.wrk import BODY, PROFILES

_OPENING = 100
"""Connects under way at once: the backlog of a listening socket is finite."""


def request(path: str) -> bytes:
    """Return a request such as browsers send."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in PROFILES["browser"].items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {len(BODY)}\r\n\r\n"
        f"{BODY}"
    ).encode()


class Client(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the answer: it is short and comes in one piece."""
        if not data.startswith(b"HTTP/1.1 200 "):
            self._crowd.fail(f"answered {data[:200]!r}")
        self._crowd.answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.fail(f"a client's connection ended: {exc or 'closed'}")


class Crowd:
    """All clients, and the answers that they got. Belongs to one event loop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.clients: list[Client] = []
        """Who is connected."""

        self._error: str | None = None
        self._closing = False
        self._changed = asyncio.Event()
        self.answers: list[float] = []
        """When each answer came, on `perf_counter`'s clock."""

    def answered(self) -> None:
        """Take note of an answer."""
        self.answers.append(perf_counter())
        self._changed.set()

    def fail(self, error: str) -> None:
        """Take note of what must not happen; said by the next call."""
        if not self._closing and self._error is None:
            self._error = error
            self._changed.set()

    async def grow(self, size: int) -> list[Client]:
        """Open connections until there are `size`; return the new ones. Raises RuntimeError."""
        loop = asyncio.get_running_loop()
        before = len(self.clients)
        while len(self.clients) < size:
            batch = min(_OPENING, size - len(self.clients))
            opened = await asyncio.gather(
                *(
                    loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
                    for _ in range(batch)
                )
            )
            self.clients += [client for _, client in opened]
        self._check()
        return self.clients[before:]

    def ask(self, clients: list[Client], path: str) -> None:
        """Send a request on each connection."""
        for client in clients:
            client.transport.write(request(path))

    async def await_answers(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many answers have come in all. Raises RuntimeError, TimeoutError."""
        async with asyncio.timeout(seconds):
            while len(self.answers) < count:
                self._check()
                self._changed.clear()
                await self._changed.wait()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise RuntimeError(self._error)

    def close(self) -> None:
        """Leave, all at once."""
        self._closing = True
        for client in self.clients:
            client.transport.abort()
