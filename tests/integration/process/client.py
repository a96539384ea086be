"""A small HTTP client for load: cheaper than httpx, and it can leave in the middle of anything."""

import asyncio
import hashlib
import json
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_LIMIT = 2**22


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""

    body: bytes


class Connection:
    """One connection, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> Self:
        return cls(*await asyncio.open_connection(host, port, limit=_LIMIT))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()

    def send(self, request: bytes) -> None:
        self.writer.write(request)

    async def ask(self, request: bytes) -> Answer:
        self.send(request)
        return await self.answer()

    async def answer(self) -> Answer:
        """Read one response. Raises `IncompleteReadError` if the connection ends before it."""
        status, headers = await self.head()
        return Answer(status, headers, await self.body(headers))

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.split(":", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    async def body(self, headers: dict[str, str]) -> bytes:
        """Read the body that follows a head."""
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    async def ended(self) -> bool:
        """Wait for the other side's end; return whether nothing more came before it."""
        return await self.reader.read() == b""

    def close(self) -> None:
        """Leave with a FIN, or with a RST if there is something unread."""
        self.writer.close()

    def reset(self) -> None:
        """Leave with a RST, whatever was not sent yet."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        if sock.fileno() >= 0 and not self.writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


def compute(payload: str, *fields: str) -> bytes:
    """Write a request for the reference worker."""
    body = json.dumps({"payload": payload}).encode()
    lines = [
        "POST /compute HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def check(answer: Answer, payload: str) -> None:
    """See that the answer is the right one, and this payload's."""
    assert answer.status == 200, answer
    task = json.loads(answer.body)
    assert task["payload"] == payload
    assert task["result"] == hashlib.sha256(payload.encode()).hexdigest()
