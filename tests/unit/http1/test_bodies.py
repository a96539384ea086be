"""Bodies: the payload, the end, and what lies behind, however the bytes come in."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http1.bodies import (
    ChunkedDecoder,
    CloseDecoder,
    Decoder,
    LengthDecoder,
    chunk,
    last_chunk,
)
from app.http1.errors import ProtocolError

unhurried = settings(deadline=None, derandomize=True, max_examples=300)

PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
SIZES = st.lists(st.integers(1, 12), max_size=30)
"""In parts of how many bytes a stream comes; then the rest."""


def parts_of(stream: bytes, sizes: Iterable[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(stream[:size])
        stream = stream[size:]
    return [*parts, stream]


def read(decoder: Decoder, parts: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Feed the parts; return the payload, and what lay behind the body."""
    payload = rest = b""
    for part in parts:
        if decoder.done:
            rest += part
        else:
            assert rest == b""
            piece, rest = decoder.feed(part)
            payload += piece
    return payload, rest


def read_bytewise(decoder: Decoder, stream: bytes) -> tuple[bytes, bytes]:
    return read(decoder, (stream[i : i + 1] for i in range(len(stream))))


# --- by length, and until the end


def test_no_body() -> None:
    decoder = LengthDecoder(0)
    assert decoder.done
    assert decoder.eof()
    assert decoder.feed(b"next") == (b"", b"next")


@unhurried
@given(st.binary(max_size=60), st.integers(1, 60), SIZES)
def test_length(stream: bytes, length: int, sizes: list[int]) -> None:
    decoder = LengthDecoder(length)
    payload, rest = read(decoder, parts_of(stream, sizes))
    assert (payload, rest) == (stream[:length], stream[length:])
    assert decoder.done == decoder.eof() == (len(stream) >= length)


def test_body_until_the_end() -> None:
    decoder = CloseDecoder()
    assert decoder.feed(b"0\r\n\r\n") == (b"0\r\n\r\n", b"")
    assert not decoder.done
    assert decoder.eof()
    assert decoder.done


# --- chunked

REST = b"GET /next HTTP/1.1\r\n"

GOOD = {
    "empty": (b"0\r\n\r\n", b"", b""),
    "one": (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "two": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b""),
    "hexadecimal, both cases": (
        b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
        b"01234567890123456789a",
        b"",
    ),
    "leading zeros": (b"0000000000000005\r\nhello\r\n0000\r\n\r\n", b"hello", b""),
    "payload of line ends": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
    "payload like a last chunk": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", b""),
    "extensions are dropped": (b'5;a;b=c;d="e;f"\r\nhello\r\n0;g\r\n\r\n', b"hello", b""),
    "extension behind blanks": (b"5 \t; a\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "the longest size line": (b"5;" + b"a" * 252 + b"\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "trailers": (b"0\r\nA: b\r\nX-Sum: 1 \r\n\r\n", b"", b"A: b\r\nX-Sum: 1 \r\n"),
    "the longest trailers": (
        b"0\r\na:" + b"b" * (16 * 1024 - 4) + b"\r\n\r\n",
        b"",
        b"a:" + b"b" * (16 * 1024 - 4) + b"\r\n",
    ),
    "trailers that nobody may add": (
        b"0\r\nContent-LENGTH: 5\r\nA: b\r\ntransfer-encoding:\r\nHost: c\r\nX-Request-ID:\r\n\r\n",
        b"",
        b"A: b\r\n",
    ),
}


@pytest.mark.parametrize(("stream", "payload", "trailers"), GOOD.values(), ids=GOOD)
def test_chunked(stream: bytes, payload: bytes, trailers: bytes) -> None:
    for parts in ([stream + REST], [stream, REST]):
        decoder = ChunkedDecoder()
        assert read(decoder, parts) == (payload, REST)
        assert (decoder.done, decoder.eof(), decoder.trailers) == (True, True, trailers)
    decoder = ChunkedDecoder()
    assert read_bytewise(decoder, stream + REST) == (payload, REST)
    assert decoder.trailers == trailers


BAD = {
    "prefix": b"0x5\r\nhello",
    "plus": b"+5\r\nhello",
    "minus": b"-1\r\nhello",
    "no size": b"\r\nhello",
    "no size, but an extension": b";a\r\n",
    "blank before": b" 5\r\nhello",
    "blank behind": b"5 \r\nhello",
    "blank in it": b"1 0\r\nhello",
    "underscore": b"1_0\r\nhello",
    "no digit": b"g\r\nhello",
    "other digits": "٥\r\nhello".encode(),
    "more than 64 bits": b"1" + b"0" * 16 + b"\r\nhello",
    "LF alone behind the size": b"5\nhello\r\n",
    "LF alone in an extension": b"5;a\nb\r\nhello\r\n",
    "CR alone in an extension": b"5;a\rb\r\nhello\r\n",
    "CR twice": b"5\r\r\nhello\r\n",
    "NUL in an extension": b"5;\0\r\nhello\r\n",
    "long size line": b"5;" + b"a" * 253 + b"\r\nhello",
    "size line without end": b"5;" + b"a" * 254,
    "chunk longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "chunk shorter than its size": b"5\r\nhi\r\n0\r\n\r\n\r\n",
    "LF alone behind a chunk": b"5\r\nhello\n0\r\n\r\n",
    "CR alone behind a chunk": b"5\r\nhello\r0\r\n\r\n",
    "two other bytes behind a chunk": b"5\r\nhello..0\r\n\r\n",
    "next chunk without a line end between": b"5\r\nhello0\r\n\r\n",
    "trailer without a name": b"0\r\n: a\r\n\r\n",
    "trailer without a colon": b"0\r\nGET / HTTP/1.1\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nA : b\r\n\r\n",
    "trailer folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer with LF alone": b"0\r\nA: b\nC: d\r\n\r\n",
    "trailer with CR alone": b"0\r\nA: b\rC: d\r\n\r\n",
    "trailer with NUL": b"0\r\nA: \0\r\n\r\n",
    "LF alone behind the last chunk": b"0\r\n\nA: b\r\n\r\n",
    "CR alone behind the last chunk": b"0\r\n\rA: b\r\n\r\n",
}


@pytest.mark.parametrize("stream", BAD.values(), ids=BAD)
def test_refused_chunks(stream: bytes) -> None:
    for parts in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        decoder = ChunkedDecoder()
        with pytest.raises(ProtocolError) as caught:
            read(decoder, parts)
        assert caught.value.status == 400
        assert not decoder.eof()


@pytest.mark.parametrize(
    "stream",
    [b"0\r\na:" + b"b" * (16 * 1024 - 3) + b"\r\n\r\n", b"0\r\n" + b"b" * (16 * 1024 + 2)],
    ids=["complete", "without end"],
)
def test_long_trailers_are_refused(stream: bytes) -> None:
    for parts in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        with pytest.raises(ProtocolError) as caught:
            read(ChunkedDecoder(), parts)
        assert caught.value.status == 431


def test_payload_is_given_as_soon_as_it_is_there() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"5\r\nhel") == (b"hel", b"")
    assert decoder.feed(b"lo\r") == (b"lo", b"")
    assert decoder.feed(b"\nffffffffffffffff\r\n!") == (b"!", b"")
    assert not decoder.done


def test_a_decoder_that_is_done_takes_nothing_more() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\n0\r\n\r\n1\r\nb\r\n") == (b"a", b"1\r\nb\r\n")
    assert decoder.feed(b"1\r\nb\r\n0\r\n\r\n") == (b"", b"1\r\nb\r\n0\r\n\r\n")
    assert decoder.done


# --- any split, any stream

TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nX-Sum: \xe9\r\n"])


def written(payloads: list[bytes], trailers: bytes) -> bytes:
    return b"".join(map(chunk, payloads)) + last_chunk(trailers)


@unhurried
@given(PAYLOADS, TRAILERS, SIZES)
def test_what_is_written_is_read_in_any_split(
    payloads: list[bytes], trailers: bytes, sizes: list[int]
) -> None:
    decoder = ChunkedDecoder()
    stream = written(payloads, trailers)
    assert read(decoder, parts_of(stream + REST, sizes)) == (b"".join(payloads), REST)
    assert (decoder.done, decoder.trailers) == (True, trailers)
    again = written([b"".join(payloads)], decoder.trailers)
    assert read(ChunkedDecoder(), [again]) == (b"".join(payloads), b"")


def test_an_empty_chunk_is_not_written() -> None:
    assert chunk(b"") == b""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@unhurried
@given(PAYLOADS, TRAILERS, SIZES)
def test_a_body_cut_off_is_never_complete(
    payloads: list[bytes], trailers: bytes, sizes: list[int]
) -> None:
    stream = written(payloads, trailers)
    for end in range(len(stream)):
        decoder = ChunkedDecoder()
        payload, rest = read(decoder, parts_of(stream[:end], sizes))
        assert not decoder.done
        assert not decoder.eof()
        assert rest == b""
        assert b"".join(payloads).startswith(payload)


PIECES = [b"0", b"1", b"5", b"a", b"\r\n", b"\r", b"\n", b";", b" ", b"A: b", b"\0", b"hello"]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join) | st.binary(max_size=40)


def outcome(parts: Iterable[bytes]) -> tuple[bool, bytes, bytes, bytes] | None:
    """Return what a decoder makes of the parts; None if it refuses them."""
    decoder = ChunkedDecoder()
    try:
        payload, rest = read(decoder, parts)
    except ProtocolError:
        return None
    return decoder.done, payload, rest, decoder.trailers


@settings(unhurried, max_examples=1000)
@given(STREAMS, SIZES)
def test_any_bytes_are_read_alike_in_any_split(stream: bytes, sizes: list[int]) -> None:
    whole = outcome([stream])
    assert outcome(parts_of(stream, sizes)) == whole
    assert outcome(stream[i : i + 1] for i in range(len(stream))) == whole
