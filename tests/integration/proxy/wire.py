"""Sockets of which the test decides every byte: both ends of the balancer are played with them.

Nothing is read that was not asked for, so that "the peer does not read" is simply not to read. The
parser here is strict, small and shares nothing with `app.http1`.
"""

import asyncio
import contextlib
import re
import socket
import struct
from dataclasses import dataclass, field

from tests.integration.waiting import LIMIT

Fields = list[tuple[bytes, bytes]]

_REQUEST = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+) (\S+) HTTP/1\.([01])")
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t -~\x80-\xff]*)")
_FIELD = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+):[\t ]*([\t -~\x80-\xff]*?)[\t ]*")
_CHUNK = re.compile(rb"[0-9a-f]+")
_NO_BODY = frozenset({204, 304})


class Truncated(Exception):  # noqa: N818 - an observation
    """The connection ended, or was reset, within a message."""


@dataclass
class Message:
    """What came, with field names in lower case."""

    fields: Fields
    minor: int
    body: bytes = b""
    trailers: Fields = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, f"{name!r} is there twice"
        return values[0] if values else None

    @property
    def chunked(self) -> bool:
        coding = self.get(b"transfer-encoding")
        assert coding in {None, b"chunked"}
        return coding is not None


@dataclass
class Request(Message):
    method: bytes = b""
    target: bytes = b""


@dataclass
class Response(Message):
    status: int = 0
    reason: bytes = b""
    interim: list["Response"] = field(default_factory=list)


class Wire:
    """One end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.held = bytearray()
        """Read off the socket and not yet asked for."""

    # --- bytes

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(LIMIT):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def push(self, data: bytes) -> int:
        """Give the kernel what it takes now; return how much that was."""
        sent = 0
        while sent < len(data):
            try:
                sent += self.sock.send(data[sent:])
            except BlockingIOError:
                break
        return sent

    async def more(self) -> bool:
        """Read on; False at the end. Raises `ConnectionResetError`."""
        async with asyncio.timeout(LIMIT):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
        self.held += data
        return bool(data)

    async def exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            await self._more_or_truncated()
        return self._take(size)

    async def until(self, mark: bytes) -> bytes:
        """Read up to and with `mark`."""
        while mark not in self.held:
            await self._more_or_truncated()
        return self._take(self.held.index(mark) + len(mark))

    async def rest(self) -> bytes:
        """Read to the peer's FIN. Raises `ConnectionResetError`."""
        while await self.more():
            pass
        return self._take(len(self.held))

    async def gone(self) -> None:
        """Wait for the peer's FIN or reset, whatever comes before."""
        with contextlib.suppress(ConnectionResetError):
            await self.rest()

    async def nothing_more(self) -> None:
        """See that the peer closes without another byte."""
        assert await self.rest() == b""

    def finish(self) -> None:
        """Send a FIN and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # --- messages

    async def request(self) -> Request:
        """Read one request, with its body."""
        request = await self.request_head()
        await self._read_body(request)
        return request

    async def request_head(self) -> Request:
        match = _REQUEST.fullmatch(await self._line())
        assert match, "no request line"
        return Request(await self._fields(), int(match[3]), method=match[1], target=match[2])

    async def response(self, method: bytes = b"GET") -> Response:
        """Read the next final response, with its body and the interim ones before it."""
        response = await self.response_head()
        if method != b"HEAD" and response.status not in _NO_BODY and response.status != 101:
            await self._read_body(response)
        return response

    async def response_head(self) -> Response:
        """Read the head of the next final response; 101 is one."""
        interim: list[Response] = []
        while True:
            match = _RESPONSE.fullmatch(await self._line())
            assert match, "no status line"
            fields = await self._fields()
            response = Response(fields, int(match[1]), status=int(match[2]), reason=match[3])
            if response.status == 101 or response.status >= 200:
                response.interim = interim
                return response
            assert not response.all(b"content-length") + response.all(b"transfer-encoding")
            interim.append(response)

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; b"" is the last one, without the trailers."""
        size = await self._line()
        assert _CHUNK.fullmatch(size), f"no chunk size: {size!r}"
        payload = await self.exactly(int(size, 16))
        if payload:
            assert await self.exactly(2) == b"\r\n"
        return payload

    async def _read_body(self, message: Message) -> None:
        length = message.get(b"content-length")
        if message.chunked:
            assert length is None, "both framings"
            while part := await self.chunk():
                message.body += part
            message.trailers = await self._fields()
        elif length is not None:
            message.body = await self.exactly(int(length))
        elif isinstance(message, Response):
            try:
                message.body = await self.rest()
            except ConnectionResetError as error:
                raise Truncated from error

    async def _line(self) -> bytes:
        line = (await self.until(b"\r\n"))[:-2]
        assert b"\n" not in line
        assert b"\r" not in line
        return line

    async def _fields(self) -> Fields:
        fields = []
        while line := await self._line():
            match = _FIELD.fullmatch(line)
            assert match, f"no field: {line!r}"
            fields.append((match[1].lower(), match[2]))
        return fields

    async def _more_or_truncated(self) -> None:
        try:
            if await self.more():
                return
        except ConnectionResetError as error:
            raise Truncated from error
        raise Truncated(bytes(self.held))

    def _take(self, size: int) -> bytes:
        taken = bytes(self.held[:size])
        del self.held[:size]
        return taken


def request(
    target: str = "/",
    *lines: str,
    method: str = "GET",
    body: bytes | None = None,
    version: str = "HTTP/1.1",
    host: str | None = "lb.test",
) -> bytes:
    """Write a request; a body gets its Content-Length."""
    named = [] if host is None else [f"Host: {host}"]
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {target} {version}", *named, *lines, *length, "", ""])
    return head.encode("latin-1") + (body or b"")


def response(body: bytes | None = b"", *lines: str, status: str = "200 OK") -> bytes:
    """Write a response; a body gets its Content-Length."""
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, *length, "", ""])
    return head.encode("latin-1") + (body or b"")


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """Write a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n" + trailers + b"\r\n"
