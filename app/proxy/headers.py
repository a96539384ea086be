"""The heads that we write: the request's for the worker, the response's for the client.

What came is passed on as it came, without what concerned the one connection only (`app.http1` has
taken that out). The framing fields are always ours, and so is the trail: who asked, by which
host name, under which request id.
"""

import os
from email.utils import formatdate
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import time
from typing import Final

from app.http1.bodies import chunk, last_chunk
from app.http1.requests import RequestHead
from app.http1.responses import ResponseHead

VIA: Final = b"leastwise"
_MAX_REQUEST_ID: Final = 128
_ENDS: Final = tuple(b"Via: 1.%d %b\r\n\r\n" % (minor, VIA) for minor in (0, 1))
"""What ends each head that we write, by the minor version of what came."""

_FINAL: Final = 200
_NO_BODY: Final = frozenset({204, 304})

_LAST_DIGITS: Final = [b"%02x" % number for number in range(256)]


class _Ids:
    """Request ids that nobody else has: a random number of this process, and a running one."""

    __slots__ = ("_begin", "_number", "_process")

    def __init__(self) -> None:
        self._process = os.urandom(8).hex().encode()
        self._number = 0
        self._begin = b""
        """All but the last two digits."""

    def next(self) -> bytes:
        """Return a new one."""
        number = self._number = self._number + 1
        last = number & 0xFF
        if last == 0 or not self._begin:
            self._begin = b"%b-%06x" % (self._process, number >> 8)
        return self._begin + _LAST_DIGITS[last]


_ids: Final = _Ids()


def new_request_id() -> bytes:
    """Return an id that no other request has, here or in another process."""
    return _ids.next()


class Trail:
    """Who speaks on one client connection: the part of the trail that its requests share."""

    __slots__ = ("_address", "_trusted", "_with_host", "_without_host")

    def __init__(self, address: str, trusted: "tuple[IPv4Network | IPv6Network, ...]") -> None:
        """Start with the client's IP address, and the networks whose trail is believed.

        The address is empty if the client left before it could be asked for.
        """
        self._address = address.encode()
        self._without_host = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\n" % self._address
        self._with_host = self._without_host + b"X-Forwarded-Host: "
        self._trusted = False
        if trusted and address:
            ip = ip_address(address.partition("%")[0])
            mapped = getattr(ip, "ipv4_mapped", None) or ip
            self._trusted = any(mapped in network for network in trusted)

    def lines(self, head: RequestHead) -> bytes:
        """Return the trail's field lines for a request."""
        if head.forwarded and self._trusted:
            return self._continued(head)
        host = head.host
        return b"%b%b\r\n" % (self._with_host, host) if host else self._without_host

    def _continued(self, head: RequestHead) -> bytes:
        """Go on with the trail that came from a proxy we trust."""
        came = head.forwarded
        before = came.get(b"x-forwarded-for")
        lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (
            self._address if before is None else before + b", " + self._address,
            came.get(b"x-forwarded-proto", b"http"),
        )
        host = came.get(b"x-forwarded-host", head.host)
        if host:
            lines += b"X-Forwarded-Host: %b\r\n" % host
        if b"forwarded" in came:
            lines += b"Forwarded: %b\r\n" % came[b"forwarded"]
        return lines


def request_id(head: RequestHead) -> bytes:
    """Return the id that the request came with, if it is fit to be passed on, or a new one."""
    came = head.request_id
    return came if came and len(came) <= _MAX_REQUEST_ID else new_request_id()


def request_head(head: RequestHead, trail: Trail, identifier: bytes, body: bytes = b"") -> bytes:
    """Write the request's head for the worker, and what there is of its body behind it."""
    framing = b""
    if head.chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif head.upgrade is not None:
        framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade
    if head.host is None:  # allowed in HTTP/1.0, and a must in what we speak
        framing += b"Host:\r\n"
    return b"%b %b HTTP/1.1\r\n%b%b%bX-Request-ID: %b\r\n%b%b" % (
        head.method,
        head.target,
        head.fields,
        framing,
        trail.lines(head),
        identifier,
        _ENDS[head.minor],
        body,
    )


class ClientFraming:
    """How a response's body is framed for the client. There are a handful, shared by all."""

    __slots__ = ("chunked", "keep_alive", "lines")

    def __init__(self, lines: bytes, *, chunked: bool, keep_alive: bool) -> None:
        self.lines = lines
        """Field lines that say so."""

        self.chunked = chunked
        """Whether the body is to be written in chunks."""

        self.keep_alive = keep_alive
        """Whether the client's connection can be used again."""

    def frame(self, payload: bytes, *, done: bool, trailers: bytes) -> bytes:
        """Frame a piece of the body; `done` with the last one."""
        if not self.chunked:
            return payload
        return chunk(payload) + last_chunk(trailers) if done else chunk(payload)


_CHUNKS: Final = b"Transfer-Encoding: chunked\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_PLAIN: Final = ClientFraming(b"", chunked=False, keep_alive=True)
_PLAIN_IN_1_0: Final = ClientFraming(b"Connection: keep-alive\r\n", chunked=False, keep_alive=True)
_PLAIN_AND_CLOSE: Final = ClientFraming(_CLOSE, chunked=False, keep_alive=False)
_CHUNKED: Final = ClientFraming(_CHUNKS, chunked=True, keep_alive=True)
_CHUNKED_AND_CLOSE: Final = ClientFraming(_CHUNKS + _CLOSE, chunked=True, keep_alive=False)


def client_framing(
    request: RequestHead, response: ResponseHead, *, keep_alive: bool
) -> ClientFraming:
    """Decide the framing from both heads; `keep_alive` is what we would like."""
    keep_alive = keep_alive and request.keep_alive
    if (
        response.content_length is None
        and response.status not in _NO_BODY
        and request.method != b"HEAD"
    ):
        if request.minor == 1:
            return _CHUNKED if keep_alive else _CHUNKED_AND_CLOSE
        return _PLAIN_AND_CLOSE  # HTTP/1.0: the body ends with the connection
    if not keep_alive:
        return _PLAIN_AND_CLOSE
    return _PLAIN if request.minor == 1 else _PLAIN_IN_1_0


class _Clock:
    """Writes the Date line, once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """Return the line for now."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


_clock: Final = _Clock()


def date_line() -> bytes:
    """Return the Date field line for now."""
    return _clock.line()


def response_head(head: ResponseHead, lines: bytes, body: bytes = b"") -> bytes:
    """Write the response's head for the client, and what there is of its body behind it."""
    if not head.dated and head.status >= _FINAL:  # RFC 9110, 6.6.1: who has a clock adds it
        lines += _clock.line()
    return b"".join((head.line, head.fields, lines, _ENDS[head.minor], body))
