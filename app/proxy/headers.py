"""The heads that we write: the request's for the worker, the response's for the client.

What came is passed on as it came, without what concerned the one connection only (`app.http1` has
taken that out). The framing fields are always ours, and so is the trail: who asked, by which
host name, under which request id.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import count

from app.http1.bodies import chunk, last_chunk
from app.http1.requests import RequestHead
from app.http1.responses import ResponseHead

VIA = b"leastwise"
_MAX_REQUEST_ID = 128
_NO_BODY = frozenset({204, 304})

_process_id = os.urandom(8).hex().encode()
_numbers = count(1)


def new_request_id() -> bytes:
    """Return an id that no other request has, here or in another process."""
    return b"%b-%08x" % (_process_id, next(_numbers))


class Trail:
    """Who speaks on one client connection: the part of the trail that its requests share."""

    __slots__ = ("_address", "_trusted")

    def __init__(self, address: str, trusted: "tuple[IPv4Network | IPv6Network, ...]") -> None:
        """Start with the client's IP address, and the networks whose trail is believed.

        The address is empty if the client left before it could be asked for.
        """
        self._address = address.encode()
        self._trusted = False
        if trusted and address:
            ip = ip_address(address.partition("%")[0])
            mapped = getattr(ip, "ipv4_mapped", None) or ip
            self._trusted = any(mapped in network for network in trusted)

    def lines(self, head: RequestHead) -> bytes:
        """Return the trail's field lines for a request."""
        came = head.forwarded if self._trusted else {}
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


def request_head(head: RequestHead, trail: Trail, identifier: bytes) -> bytes:
    """Write the request's head for the worker."""
    framing = b""
    if head.upgrade is not None:
        framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade
    elif head.chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif head.content_length is not None:
        framing = b"Content-Length: %d\r\n" % head.content_length
    if head.host is None:  # allowed in HTTP/1.0, and a must in what we speak
        framing += b"Host:\r\n"
    return b"%b %b HTTP/1.1\r\n%b%b%bX-Request-ID: %b\r\nVia: 1.%d %b\r\n\r\n" % (
        head.method,
        head.target,
        head.fields,
        framing,
        trail.lines(head),
        identifier,
        head.minor,
        VIA,
    )


class ClientFraming:
    """How a response's body is framed for the client, decided once from both heads."""

    __slots__ = ("chunked", "keep_alive", "lines")

    def __init__(self, request: RequestHead, response: ResponseHead, *, keep_alive: bool) -> None:
        """Frame for the client of `request`; `keep_alive` is what we would like."""
        self.chunked = False
        """Whether the body is to be written in chunks."""

        self.keep_alive = keep_alive and request.keep_alive
        """Whether the client's connection can be used again."""

        self.lines = b""
        length = response.content_length
        if response.status in _NO_BODY or request.method == b"HEAD":
            if length is not None and response.status != 204:  # noqa: PLR2004 - RFC 9110, 8.6
                self.lines = b"Content-Length: %d\r\n" % length
        elif length is not None and not response.chunked:
            self.lines = b"Content-Length: %d\r\n" % length
        elif request.minor == 1:
            self.chunked = True
            self.lines = b"Transfer-Encoding: chunked\r\n"
        else:
            self.keep_alive = False  # HTTP/1.0: the body ends with the connection
        if not self.keep_alive:
            self.lines += b"Connection: close\r\n"
        elif request.minor == 0:
            self.lines += b"Connection: keep-alive\r\n"

    def frame(self, payload: bytes, *, done: bool, trailers: bytes) -> bytes:
        """Frame a piece of the body; `done` with the last one."""
        if not self.chunked:
            return payload
        return chunk(payload) + last_chunk(trailers) if done else chunk(payload)


def response_head(head: ResponseHead, framing: bytes) -> bytes:
    """Write the response's head for the client."""
    return b"HTTP/1.1 %d %b\r\n%b%bVia: 1.%d %b\r\n\r\n" % (
        head.status,
        head.reason,
        head.fields,
        framing,
        head.minor,
        VIA,
    )
