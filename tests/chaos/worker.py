"""A stub worker for the chaos test: light, with a limit of its own, and a count beyond its death.

    python -I -S worker.py HOST PORT JOURNAL ONCE

It runs on the standard library alone, so that it starts within a tenth of a second. What it counts
lies in JOURNAL, a file mapped into memory that outlives `kill -9`; by its `mode` the test tells it
to misbehave. The id of each request that may not run twice is added to the file ONCE as it begins.

A request says in its fields what it wants: `X-Work` (seconds), `X-Size` (of the answer, in bytes),
`X-Digest` (of its own body, which is checked), `X-Id`, and `X-Chunked` or `X-Once` if it is so.
Beyond the limit it is answered 503 and not begun. One whose client leaves goes on to its end, as
the handlers of FastAPI do, and counts until then.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
from hashlib import blake2b
from mmap import mmap
from pathlib import Path
from random import Random, random

NORMAL, SLOW, SILENT, RESETTING, REFUSING = range(5)
"""A worker's modes: SLOW takes twice as long, SILENT reads and never answers, RESETTING resets half
of its connections in place of an answer, REFUSING does not listen."""

_LOOK = 0.01
"""Seconds between two looks at the mode."""

_EXCUSE = 0.1
"""Seconds by which the news that a client has left may come after the request in its slot."""

_READ_LIMIT = 2**20
_FIELDS = (
    *("limit", "mode", "in_flight", "peak", "begun"),
    *("answered", "refused", "unexcused", "damaged"),
)

_READY = b"HTTP/1.1 204 No Content\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


class Journal:
    """Numbers in a file that is mapped into memory: `journal["peak"]`."""

    def __init__(self, path: Path) -> None:
        size = 8 * len(_FIELDS)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap(file.fileno(), size)

    def __getitem__(self, name: str) -> int:
        number: int = struct.unpack_from("q", self._map, 8 * _FIELDS.index(name))[0]
        return number

    def __setitem__(self, name: str, number: int) -> None:
        struct.pack_into("q", self._map, 8 * _FIELDS.index(name), number)

    def all(self) -> dict[str, int]:
        """Return all numbers by name."""
        return {name: self[name] for name in _FIELDS}


def digest(data: bytes) -> str:
    """Return the checksum of a body."""
    return blake2b(data, digest_size=16).hexdigest()


def content(identifier: str, size: int) -> bytes:
    """Return the body of the answer to a request: no other request has the same."""
    return Random(identifier).randbytes(size)


class Stub:
    """The worker."""

    def __init__(self, address: tuple[str, int], journal: Journal, once: int) -> None:
        self._address = address
        self._journal = journal
        self._once = once
        self._running: set[asyncio.StreamReader] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, and then until what runs has ended."""
        loop, parent = asyncio.get_running_loop(), os.getppid()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        server: asyncio.Server | None = None
        while not self._stopping.is_set():
            if os.getppid() != parent:
                return  # the test is dead
            wanted = self._journal["mode"] != REFUSING
            if wanted and server is None:
                server = await asyncio.start_server(self._serve, *self._address, limit=_READ_LIMIT)
            elif not wanted and server is not None:
                server.close()
                server = None
            await asyncio.sleep(_LOOK)
        if server is not None:
            server.close()
        for writer in self._idle:
            writer.close()
        while self._running:
            await asyncio.sleep(_LOOK)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self._stopping.is_set() and not reader.at_eof():
                self._idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(writer)
                await self._answer(_fields(head), reader, writer)
        except (EOFError, ConnectionError):
            pass  # the balancer has closed it
        finally:
            self._idle.discard(writer)
            writer.close()

    async def _answer(
        self, fields: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        journal = self._journal
        body = await _body(fields, reader)
        if "x-id" not in fields:  # a probe
            await self._silence(reader)
            writer.write(_READY)
        elif journal["in_flight"] >= journal["limit"]:
            self._refuse()
            writer.write(_FULL)
        else:
            self._begin(fields, body, reader)
            try:
                await self._work(fields, reader, writer)
            finally:
                self._running.discard(reader)
                journal["in_flight"] = len(self._running)
        await writer.drain()

    def _begin(self, fields: dict[str, str], body: bytes, reader: asyncio.StreamReader) -> None:
        journal = self._journal
        self._running.add(reader)
        journal["in_flight"] = len(self._running)
        journal["peak"] = max(journal["peak"], len(self._running))
        journal["begun"] += 1
        if digest(body) != fields["x-digest"]:
            journal["damaged"] += 1
        if "x-once" in fields:
            os.write(self._once, fields["x-id"].encode() + b"\n")

    async def _work(
        self, fields: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        mode = self._journal["mode"]
        await asyncio.sleep(float(fields["x-work"]) * (2 if mode == SLOW else 1))
        await self._silence(reader)
        if self._journal["mode"] == RESETTING and random() < 0.5:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError
        body = content(fields["x-id"], int(fields["x-size"]))
        lines = [f"X-Id: {fields['x-id']}", f"X-Digest: {digest(body)}"]
        if self._stopping.is_set():
            lines.append("Connection: close")
        if "x-chunked" in fields and body:
            lines.append("Transfer-Encoding: chunked")
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body)
        self._journal["answered"] += 1

    async def _silence(self, reader: asyncio.StreamReader) -> None:
        """Say nothing while that is wanted, to the end of the connection."""
        if self._journal["mode"] == SILENT:
            while not reader.at_eof():
                await asyncio.sleep(_LOOK)
            raise ConnectionResetError

    def _refuse(self) -> None:
        """Count a refusal, and whether a client that had left was the reason."""
        self._journal["refused"] += 1
        task = asyncio.get_running_loop().create_task(self._judge(set(self._running)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, running: set[asyncio.StreamReader]) -> None:
        await asyncio.sleep(_EXCUSE)
        if not any(reader.at_eof() or reader.exception() for reader in running):
            self._journal["unexcused"] += 1


def _fields(head: bytes) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
    return {name.lower(): value.strip() for name, value in pairs}


async def _body(fields: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    if fields.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


async def _main(host: str, port: str, journal: str, once: str) -> None:
    file = os.open(once, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    await Stub((host, int(port)), Journal(Path(journal)), file).run()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
