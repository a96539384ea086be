"""Hostile input costs in proportion to its length: nothing is searched or copied again and again.

A quarter of a megabyte takes some 10 ms here where the cost is linear, and many seconds where it is
quadratic; so the limit is generous, and counts the process's own time only.
"""

import string
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from time import process_time

import pytest

from app.http1.bodies import ChunkedDecoder
from app.http1.errors import ProtocolError
from app.http1.fields import head_end
from app.http1.requests import parse_request
from app.http1.responses import parse_response

SIZE = 1 << 18
LIMIT = 2.0
"""Seconds of CPU."""

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
MANY_NAMES = ",".join(map("".join, product(string.ascii_letters, repeat=3)))[:SIZE].encode()


def filled(before: bytes, filling: bytes, after: bytes) -> bytes:
    return before + filling * (SIZE // len(filling)) + after + b"\r\n\r\n"


REQUESTS = {
    "blanks before a bad byte": filled(HEAD + b"A:", b" \t", b"\0"),
    "blanks before a value": filled(HEAD + b"Connection:", b" ", b"x"),
    "blanks in a value": filled(HEAD + b"Transfer-Encoding: x", b"\t", b"y"),
    "empty fields": filled(HEAD, b"a:\r\n", b"A: b"),
    "one hop-by-hop field many times": filled(HEAD, b"te:\r\n", b"A: b"),
    "one hop-by-hop field many times, one space each": filled(HEAD, b"te: x\r\n", b"A: b"),
    "one hop-by-hop field many times, behind others": filled(
        HEAD + b"a:\r\n" * (SIZE // 4), b"te:\r\n", b"A: b"
    ),
    "one hop-by-hop field many times, one space each, behind others": filled(
        HEAD + b"a:\r\n" * (SIZE // 4), b"te: x\r\n", b"A: b"
    ),
    "the trail many times": filled(HEAD, b"x-forwarded-for:\r\n", b"A: b"),
    "names that Connection names": filled(
        HEAD + b"Connection: " + MANY_NAMES + b"\r\n", b"abc:\r\n", b"A: b"
    ),
    "commas": filled(HEAD + b"Connection: ", b",", b"x"),
    "Host that is none at its end": filled(b"GET / HTTP/1.1\r\nHost: ", b"a", b"["),
    "target that is none at its end": filled(b"GET http://", b"a", b"@b HTTP/1.1\r\nHost: a"),
    "a line and nothing else": filled(b"", b"a", b""),
    "spaces and nothing else": filled(b"GET ", b" a", b""),
    "hops": filled(b"TRACE / HTTP/1.1\r\nHost: a\r\n", b"max-forwards: \t \t \t1", b"x"),
    "a length without end": filled(HEAD + b"Content-Length: ", b"1", b""),
}


def parse(read: Callable[[bytes], object], raw: bytes) -> float:
    """Parse, whatever comes of it; return the CPU seconds that it took."""
    begin = process_time()
    with suppress(ProtocolError):
        read(raw)
    return process_time() - begin


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
def test_request_head(raw: bytes) -> None:
    assert parse(parse_request, raw) < LIMIT


@pytest.mark.parametrize(
    "raw",
    [
        filled(b"HTTP/1.1 200 ", b" ", b"\0"),
        filled(b"HTTP/1.1 200 OK\r\nA:", b" ", b"\0"),
        filled(b"HTTP/1.1 200 OK\r\nKeep-Alive: ", b",timeout=", b"x"),
        filled(b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (SIZE // 4), b"te:\r\n", b"A: b"),
    ],
    ids=["reason", "blanks", "Keep-Alive", "one hop-by-hop field many times, behind others"],
)
def test_response_head(raw: bytes) -> None:
    assert parse(parse_response, raw) < LIMIT


@pytest.mark.parametrize("filling", [b"a", b"\r", b"a\r\n"], ids=repr)
def test_head_that_comes_byte_by_byte(filling: bytes) -> None:
    def read(raw: bytes) -> None:
        for length in range(len(raw)):
            head_end(raw[: length + 1], SIZE, length)

    assert parse(read, filling * (32 * 1024 // len(filling))) < LIMIT


BODIES = {
    "chunks of one byte": b"1\r\nx\r\n",
    "chunks of one byte with long extensions": b"1" + b";" * 250 + b"\r\nx\r\n",
    "one size line": b"1",
    "blanks behind a size": b"1" + b" " * SIZE,
    "trailers": b"0\r\n" + b"a:\r\n" * SIZE,
}


@pytest.mark.parametrize("piece", BODIES.values(), ids=BODIES)
def test_chunked_body(piece: bytes) -> None:
    raw = (piece * (SIZE // len(piece) + 1))[:SIZE]
    assert parse(ChunkedDecoder().feed, raw) < LIMIT


@pytest.mark.parametrize("begun", [b"", b"0\r\n", b"40000\r\n"], ids=["size", "trailers", "chunk"])
def test_body_that_comes_byte_by_byte(begun: bytes) -> None:
    def read(raw: bytes) -> None:
        decoder = ChunkedDecoder()
        decoder.feed(begun)
        for place in range(SIZE):
            decoder.feed(raw[place : place + 1])

    assert parse(read, b"\r" * SIZE) < LIMIT
