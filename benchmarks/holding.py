"""A worker that keeps its clients waiting: `python -m benchmarks.holding PORT`.

    POST /hold            answered when somebody says so
    POST /release         says so, and for all that come later; tells how many were held
    POST /held            tells how many are held
    POST /stream/down/N   a body of N bytes, as fast as the reader takes it
    POST /stream/up       answered when the body has come to its end, whatever it was
    anything else         answered at once

It understands just the HTTP/1.1 that the benchmarks' clients and the proxies send: a body has a
Content-Length. It listens on all the addresses of `contenders.ENDPOINTS`.
"""

import asyncio
import re
import sys
from typing import cast

import uvloop

from benchmarks.contenders import ENDPOINTS

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_PIECE = bytes(256 * 1024)

held: set["Worker"] = set()
released = asyncio.Event()


class Worker(asyncio.Protocol):
    """One connection to the worker."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._head = b""
        self._path = b""
        self._to_come = 0
        self._to_send = 0
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=2 * len(_PIECE))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - each end is an end
        held.discard(self)
        self._to_send = 0

    def data_received(self, data: bytes) -> None:
        if self._to_come:  # within a body, of which nothing is kept
            self._to_come -= len(data)
            if self._to_come <= 0:
                self._act()
            return
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return
        self._head = b""
        self._path = head.split(b" ", 2)[1]
        length = _LENGTH.search(head)
        self._to_come = int(length[1]) - len(body) if length else 0
        if self._to_come <= 0:
            self._act()

    def _act(self) -> None:
        """Do what the request asks for, which has come to its end."""
        self._to_come = 0
        if self._path == b"/hold" and not released.is_set():
            held.add(self)
        elif self._path == b"/release":
            count = len(held)
            released.set()
            for worker in list(held):
                worker.answer(b"{}")
            held.clear()
            self.answer(b"%d" % count)
        elif self._path == b"/held":
            self.answer(b"%d" % len(held))
        elif self._path.startswith(b"/stream/down/"):
            self._to_send = int(self._path.rpartition(b"/")[2])
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._to_send)
            self._stream()
        else:
            self.answer(b"{}")

    def answer(self, body: bytes) -> None:
        """Answer the request."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def _stream(self) -> None:
        while self._to_send and self._writable:
            piece = min(self._to_send, len(_PIECE))
            self._to_send -= piece
            self.transport.write(_PIECE if piece == len(_PIECE) else _PIECE[:piece])

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._stream()


async def main(port: int) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for host in ENDPOINTS:
            server = await loop.create_server(Worker, host, port, backlog=4096)
            group.create_task(server.serve_forever())


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
