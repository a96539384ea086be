"""Message bodies: followed by their framing, one decoder for each of the three kinds.

A decoder is fed what comes from the wire, gives the payload that was in it, and tells when the
body is complete; bytes behind the body are left over for the next message. Decoders keep no
payload: memory stays that of one read. `chunk` and `last_chunk` write the chunked form anew, so
that chunk extensions and odd spellings never pass through.
"""

import re
from typing import Final, Protocol

from app.http1.errors import ProtocolError
from app.http1.fields import FIELD_LINES, without

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILERS: Final = re.compile(FIELD_LINES)
_CRLF: Final = b"\r\n"
_MAX_SIZE_LINE: Final = 256
_MAX_TRAILERS: Final = 16 * 1024

_NEVER_TRAILERS: Final = frozenset(
    {b"transfer-encoding", b"content-length", b"host", b"connection", b"keep-alive", b"te"}
    | {b"upgrade", b"trailer", b"proxy-connection", b"content-encoding", b"content-type"}
    | {b"content-range", b"authorization", b"set-cookie", b"cookie", b"expect", b"range"}
    | {b"cache-control", b"max-forwards", b"x-forwarded-for", b"x-forwarded-proto"}
    | {b"x-forwarded-host", b"forwarded", b"x-request-id", b"idempotency-key"}
)
"""Fields that routing, framing or trust depend on: not to be added after the fact (RFC 9110,
section 6.5.1)."""


class Decoder(Protocol):
    """Follows one body. `done` tells that it is complete."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; return the payload in them, and what lies behind the body.

        Raises `ProtocolError`.
        """

    def eof(self) -> bool:
        """Take the peer's FIN; return whether the body is complete with it."""


class LengthDecoder:
    """A body of a known length, in bytes; 0 is no body."""

    __slots__ = ("_remaining", "done")

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; see `Decoder`."""
        if len(data) < self._remaining:
            self._remaining -= len(data)
            return data, b""
        payload, rest = data[: self._remaining], data[self._remaining :]
        self._remaining = 0
        self.done = True
        return payload, rest

    def eof(self) -> bool:
        """Take the peer's FIN; see `Decoder`."""
        return self.done


class CloseDecoder:
    """A response's body that ends with the connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; see `Decoder`."""
        return data, b""

    def eof(self) -> bool:
        """Take the peer's FIN; see `Decoder`."""
        self.done = True
        return True


class ChunkedDecoder:
    """A chunked body.

    `trailers` holds the trailer fields that may be passed on, once done; but for those that the
    head's `Connection` names, which the decoder does not know.
    """

    __slots__ = ("_held", "_in_chunk", "_in_trailers", "done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers = b""
        self._held = b""
        """The beginning of a size line, or of the trailers, that has not come in full."""

        self._in_chunk = 0
        """Bytes of the chunk still to come, its CRLF included; 0 between chunks."""

        self._in_trailers = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; see `Decoder`."""
        if self.done:
            return b"", data
        if self._held:
            data = self._held + data
            self._held = b""
        payload: list[bytes] = []
        position = self._take_data(data, 0, payload) if self._in_chunk else 0
        while not (self._in_chunk or self._in_trailers):
            line = _SIZE_LINE.match(data, position)
            if line is None or line.end() - position > _MAX_SIZE_LINE:
                self._hold_line(data, position)
                break
            size, position = int(line[1], 16), line.end()
            end = position + size
            if not size:
                self._in_trailers = True
            elif data[end : end + 2] == _CRLF:  # all of it is there, which is usual
                payload.append(data[position:end])
                position = end + 2
            else:
                self._in_chunk = size + len(_CRLF)
                position = self._take_data(data, position, payload)
        rest = self._take_trailers(data[position:]) if self._in_trailers else b""
        return b"".join(payload), rest

    def eof(self) -> bool:
        """Take the peer's FIN; see `Decoder`."""
        return self.done

    def _take_data(self, data: bytes, position: int, payload: list[bytes]) -> int:
        """Take what is there of the current chunk and of its CRLF; return the new position."""
        wanted = self._in_chunk - len(_CRLF)
        if wanted > 0:
            piece = data[position : position + wanted]
            payload.append(piece)
            position += len(piece)
            self._in_chunk -= len(piece)
        if self._in_chunk <= len(_CRLF):
            ending = data[position : position + self._in_chunk]
            if not _CRLF[-self._in_chunk :].startswith(ending):
                raise ProtocolError("a chunk is longer than its size says")
            position += len(ending)
            self._in_chunk -= len(ending)
        return position

    def _hold_line(self, data: bytes, position: int) -> None:
        """Keep the beginning of a size line until the rest comes, if it can become one."""
        if data.find(b"\n", position) >= 0 or len(data) - position >= _MAX_SIZE_LINE:
            raise ProtocolError("a chunk's size line is malformed")
        self._held = data[position:]

    def _take_trailers(self, data: bytes) -> bytes:
        """Read the trailer section; return what lies behind it."""
        end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
        if (end == 1 and len(data) > _MAX_TRAILERS + 1) or end > _MAX_TRAILERS:
            raise ProtocolError("the trailer section is too long", 431)
        if end == 1:
            self._held = data
            return b""
        if _TRAILERS.fullmatch(data, 0, end) is None:
            raise ProtocolError("a trailer field is malformed")
        self.trailers = without(data[:end], _NEVER_TRAILERS)
        self.done = True
        return data[end + 2 :]


def chunk(payload: bytes) -> bytes:
    """Write one chunk; nothing for an empty payload, since that would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """Write the end of a chunked body; `trailers` are field lines with their CRLFs."""
    return b"0\r\n%b\r\n" % trailers
