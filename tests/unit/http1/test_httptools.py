"""Why heads are not parsed by httptools: what it makes of some messages, and what ours does.

If one of its sides of these tests fails, httptools has changed, and its trap can be struck off
the list (and off docs/adr).
"""

import httptools
import pytest

from app.http1.bodies import LengthDecoder
from app.http1.errors import ProtocolError
from app.http1.requests import parse_request
from app.http1.responses import parse_response
from tests.unit.http1.readers import ByHttptools, by_us

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def request(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_body_behind_an_upgrade_to_h2c() -> None:
    """JDK clients send such an Upgrade with every first request in clear text."""
    stream = request(
        *(b"POST /a HTTP/1.1", b"Host: a", b"Connection: Upgrade, HTTP2-Settings"),
        *(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"Content-Length: %d" % len(SMUGGLED)),
    )
    parser = ByHttptools(stream + SMUGGLED)
    assert isinstance(parser.error, httptools.HttpParserUpgrade)
    assert parser.messages[0].body == b""
    behind = (stream + SMUGGLED)[parser.error.args[0] :]
    assert ByHttptools(behind).messages[0].start[1] == b"/smuggled"

    read = by_us(stream + SMUGGLED + NEXT)
    assert read is not None
    head, message = read
    assert (message.body, message.complete, message.rest) == (SMUGGLED, True, NEXT)
    assert head.fields == b"Host: a\r\nContent-Length: %d\r\n" % len(SMUGGLED)
    assert head.upgrade == b"h2c"


@pytest.mark.parametrize("method", [b"BREW", b"get", b"VERSION-CONTROL"])
def test_method_that_it_does_not_know(method: bytes) -> None:
    stream = request(method + b" / HTTP/1.1", b"Host: a")
    assert isinstance(ByHttptools(stream).error, httptools.HttpParserInvalidMethodError)
    assert parse_request(stream).method == method


def test_response_to_head() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n"
    parser = ByHttptools(head + b"HTTP/1.1 500 Oops\r\n", response=True)
    assert [message.body for message in parser.messages] == [b"HTTP/1.1 500 Oops\r\n"]

    # Ours leaves it to the caller, who knows what was asked.
    assert parse_response(head).content_length == 19
    assert LengthDecoder(0).feed(b"HTTP/1.1 500 Oops\r\n") == (b"", b"HTTP/1.1 500 Oops\r\n")


ACCEPTED = {
    "no Host": request(b"GET / HTTP/1.1"),
    "two Hosts": request(b"GET / HTTP/1.1", b"Host: a", b"Host: b"),
    "asterisk": request(b"GET * HTTP/1.1", b"Host: a"),
    "chunked in HTTP/1.0": request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "gzip, chunked": request(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: gzip, chunked")
    + b"0\r\n\r\n",
    "HTTP/0.9": request(b"GET / HTTP/0.9"),
}


@pytest.mark.parametrize("stream", ACCEPTED.values(), ids=ACCEPTED)
def test_what_it_accepts_and_ours_does_not(stream: bytes) -> None:
    parser = ByHttptools(stream)
    assert parser.error is None
    assert parser.messages[0].complete
    with pytest.raises(ProtocolError):
        by_us(stream)


def test_bytes_behind_the_last_request() -> None:
    stream = request(b"GET / HTTP/1.1", b"Host: a", b"Connection: close")
    assert ByHttptools(stream + NEXT).error is not None
    read = by_us(stream + NEXT)
    assert read is not None
    assert (read[0].keep_alive, read[1].rest) == (False, NEXT)
