"""The request's fields that matter to an intermediary: framing, connection, and the trail."""

import pytest

from app.http1.errors import ProtocolError
from app.http1.requests import RequestHead, parse_request


def parse(*fields: bytes, minor: int = 1) -> RequestHead:
    lines = (b"POST / HTTP/1.%d" % minor, b"Host: a", *fields)
    return parse_request(b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def passed_on(head: RequestHead) -> bytes:
    """Return the fields that are passed on, behind the Host field that `parse` wrote."""
    return head.fields.removeprefix(b"Host: a\r\n")


# --- framing

FRAMED = {
    "no body": ([], None, False, b"Z: z\r\n"),
    "length": ([b"Content-Length: 5"], 5, False, b"Content-Length: 5\r\nZ: z\r\n"),
    "length of no body": ([b"Content-Length: 0"], 0, False, b"Content-Length: 0\r\nZ: z\r\n"),
    "length in odd spelling": (
        [b"A: a", b"CONTENT-length:\t \t50\t "],
        *(50, False, b"A: a\r\nCONTENT-length:\t \t50\t \r\nZ: z\r\n"),
    ),
    "the longest length": (
        [b"Content-Length: " + b"9" * 18],
        *(10**18 - 1, False, b"Content-Length: " + b"9" * 18 + b"\r\nZ: z\r\n"),
    ),
    "length behind a field that is not passed on": (
        [b"TE: trailers", b"content-length: 5"],
        *(5, False, b"content-length: 5\r\nZ: z\r\n"),
    ),
    "chunked": ([b"Transfer-Encoding: chunked"], None, True, b"Z: z\r\n"),
    "chunked in odd spelling": ([b"transfer-ENCODING:CHUNKED\t "], None, True, b"Z: z\r\n"),
}


@pytest.mark.parametrize(("fields", "length", "chunked", "kept"), FRAMED.values(), ids=FRAMED)
def test_framing(fields: list[bytes], length: int | None, chunked: bool, kept: bytes) -> None:
    head = parse(*fields, b"Z: z")
    assert (head.content_length, head.chunked) == (length, chunked)
    assert head.has_body == (chunked or length not in {None, 0})
    assert passed_on(head) == kept


@pytest.mark.parametrize(
    ("came", "length"),
    [
        *((b"Content-Length: 007", 7), (b"content-LENGTH:\t \t0005\t ", 5)),
        *((b"Content-Length:00", 0), (b"Content-Length: " + b"0" * 17 + b"8", 8)),
    ],
)
def test_a_length_with_zeros_before_it_is_passed_on_without_them(came: bytes, length: int) -> None:
    """There are peers that would read it as octal."""
    head = parse(b"A: content-length: 1", came, b"X-Content-Length: 2", b"Z: z")
    assert head.content_length == length
    assert passed_on(head) == (
        b"A: content-length: 1\r\nX-Content-Length: 2\r\nZ: z\r\nContent-Length: %d\r\n" % length
    )


CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
AMBIGUOUS = {
    "CL.TE": ([CL + b"5", TE + b"chunked"], 400),
    "TE.CL": ([TE + b"chunked", CL + b"5"], 400),
    "TE.TE": ([TE + b"chunked", TE + b"chunked"], 400),
    "TE.TE, the second odd": ([TE + b"chunked", TE + b"x"], 400),
    "CL.CL, different": ([CL + b"5", CL + b"6"], 400),
    "CL.CL, the same": ([CL + b"5", b"content-LENGTH: 5"], 400),
    "list of lengths": ([CL + b"5, 5"], 400),
    "length with a plus": ([CL + b"+5"], 400),
    "length with a minus": ([CL + b"-5"], 400),
    "length in hexadecimal": ([CL + b"0x5"], 400),
    "length with an underscore": ([CL + b"1_0"], 400),
    "length with a fraction": ([CL + b"5.0"], 400),
    "length with a space in it": ([CL + b"1 0"], 400),
    "length in other digits": ([CL + "٥".encode()], 400),
    "length in superscript": ([CL + b"\xb2"], 400),
    "length of nothing": ([CL], 400),
    "length without end": ([CL + b"1" * 19], 400),
    "length without end, of zeros": ([CL + b"0" * 19], 400),
    "coding of nothing": ([TE], 400),
    "chunked twice": ([TE + b"chunked, chunked"], 400),
    "chunked and nothing": ([TE + b"chunked,"], 400),
    "nothing and chunked": ([TE + b", chunked"], 501),
    "chunked with a parameter": ([TE + b"chunked;a=b"], 400),
    "chunked in quotes": ([TE + b'"chunked"'], 400),
    "chunked, almost": ([TE + b"xchunked"], 400),
    "identity": ([TE + b"identity"], 400),
    "gzip, so that the end is not known": ([TE + b"gzip"], 400),
    "chunked not last": ([TE + b"chunked, gzip"], 400),
    "gzip and chunked: clear, and not done here": ([TE + b"gzip,\tchunked"], 501),
}


@pytest.mark.parametrize(("fields", "status"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_refused_framing(fields: list[bytes], status: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(*fields)
    assert caught.value.status == status


def test_chunked_in_http_1_0_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"HTTP/1\.0"):
        parse(TE + b"chunked", minor=0)


def test_what_is_quoted_of_a_peer_is_printable() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(CL + "٥\t'".encode() + b"5" * 100)
    assert caught.value.detail.isprintable()
    assert caught.value.detail.isascii()
    assert len(caught.value.detail) < 200


# --- Connection

PERSISTENCE = {
    "1.1": (1, [], True),
    "1.0": (0, [], False),
    "1.1, close": (1, [b"Connection: close"], False),
    "1.1, close in odd spelling": (1, [b"connection:,\tCLOSE ,"], False),
    "1.0, keep-alive": (0, [b"Connection: Keep-Alive"], True),
    "close outranks keep-alive": (0, [b"Connection: keep-alive, close"], False),
    "close in a second field": (1, [b"Connection: keep-alive", b"Connection: close"], False),
    "not an option, but in one": (1, [b"Connection: closed, not-close"], True),
    "of a proxy that is none": (1, [b"Proxy-Connection: close"], True),
}


@pytest.mark.parametrize(("minor", "fields", "kept"), PERSISTENCE.values(), ids=PERSISTENCE)
def test_persistence(minor: int, fields: list[bytes], kept: bool) -> None:
    head = parse(*fields, minor=minor)
    assert head.keep_alive is kept
    assert passed_on(head) == b""


def test_hop_by_hop_fields_are_not_passed_on() -> None:
    head = parse(
        *(b"Keep-Alive: timeout=5", b"A: 1", b"Proxy-Connection: keep-alive", b"TE: trailers"),
        *(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"B: 2", b"te:", b"Connection: x"),
    )
    assert passed_on(head) == b"A: 1\r\nB: 2\r\n"


def test_fields_that_connection_names_are_not_passed_on() -> None:
    head = parse(
        *(b"X-Secret: 1", b"A: x-secret: 2", b"Connection: x-SECRET ,keep-alive", b"x-secret: 3"),
        *(b"X-Secret-Too: 4", b"Connection:\tX.other", b"X-other: 5", b"x.OTHER: 6"),
    )
    assert passed_on(head) == b"A: x-secret: 2\r\nX-Secret-Too: 4\r\nX-other: 5\r\n"
    assert head.named == {b"x-secret", b"x.other"}


def test_connection_names_no_framing_no_host_and_no_trail() -> None:
    head = parse(
        b"Connection: host, content-length, transfer-encoding, x-forwarded-for, x-request-id",
        *(b"Content-Length: 5", b"X-Forwarded-For: 192.0.2.1", b"X-Request-ID: 7"),
    )
    assert head.fields == b"Host: a\r\nContent-Length: 5\r\n"
    assert head.named == frozenset()
    assert head.content_length == 5
    assert head.request_id == b"7"
    assert head.forwarded == {b"x-forwarded-for": b"192.0.2.1"}


@pytest.mark.parametrize("length", [b"Content-Length: 5", b"content-length:05"])
def test_connection_takes_no_length_away_though_it_takes_others(length: bytes) -> None:
    head = parse(b"Connection: content-length, x-a", length, b"X-A: a")
    assert head.content_length == 5
    assert [field.lower() for field in passed_on(head).splitlines()] == [b"content-length: 5"]
    assert head.named == {b"x-a"}


# --- Upgrade

UPGRADES = {
    "websocket": (1, [b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade"], b"websocket"),
    "h2c": (1, [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"], b"h2c"),
    "choice": (1, [b"Connection: upgrade", b"Upgrade: websocket, h2c"], b"websocket, h2c"),
    "several": (
        1,
        [b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: websocket"],
        b"several",
    ),
    "Connection does not say so": (1, [b"Upgrade: websocket", b"Connection: close"], None),
    "no Connection": (1, [b"Upgrade: websocket"], None),
    "no protocol": (1, [b"Connection: upgrade"], None),
    "1.0 has no upgrade": (0, [b"Connection: upgrade", b"Upgrade: websocket"], None),
}


@pytest.mark.parametrize(("minor", "fields", "upgrade"), UPGRADES.values(), ids=UPGRADES)
def test_upgrade(minor: int, fields: list[bytes], upgrade: bytes | None) -> None:
    head = parse(*fields, minor=minor)
    assert head.upgrade == upgrade
    assert passed_on(head) == b""


def test_upgrade_changes_nothing_of_the_framing() -> None:
    head = parse(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5")
    assert (head.upgrade, head.content_length, head.has_body) == (b"h2c", 5, True)
    assert passed_on(head) == b"Content-Length: 5\r\n"


# --- Expect

EXPECTATIONS = {
    "1.1": (1, [b"Expect: 100-Continue"], True),
    "none": (1, [], False),
    "1.0 has none": (0, [b"Expect: 100-continue"], False),
}


@pytest.mark.parametrize(("minor", "fields", "expects"), EXPECTATIONS.values(), ids=EXPECTATIONS)
def test_expectation(minor: int, fields: list[bytes], expects: bool) -> None:
    head = parse(*fields, minor=minor)
    assert head.expects_continue is expects
    assert passed_on(head) == b""


@pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, 200-ok"])
def test_other_expectations_are_refused(value: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(b"Expect: " + value)
    assert caught.value.status == 417


# --- Idempotency-Key


def test_idempotency_key_is_passed_on_where_it_stands() -> None:
    head = parse(b"A: 1", b"idempotency-KEY: 7", b"B: 2")
    assert head.keyed
    assert passed_on(head) == b"A: 1\r\nidempotency-KEY: 7\r\nB: 2\r\n"
    assert not parse(b"A: idempotency-key: 7").keyed


def test_idempotency_key_that_connection_takes_away_protects_nothing() -> None:
    head = parse(b"Idempotency-Key: 7", b"Connection: idempotency-key")
    assert not head.keyed
    assert passed_on(head) == b""


# --- the trail


def test_trail_is_taken_out_and_kept_aside() -> None:
    head = parse(
        *(b"X-Forwarded-For: 192.0.2.1", b"A: 1", b"X-Request-ID: \t42 ", b"x-forwarded-FOR: b, c"),
        *(b"X-Forwarded-Proto: https", b"X-Forwarded-Host: h", b"Forwarded: for=192.0.2.1"),
        *(b"Forwarded: for=b", b"X-Forwarded-Port: 1"),
    )
    assert passed_on(head) == b"A: 1\r\nX-Forwarded-Port: 1\r\n"
    assert head.request_id == b"42"
    assert head.forwarded == {
        b"x-forwarded-for": b"192.0.2.1, b, c",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"h",
        b"forwarded": b"for=192.0.2.1, for=b",
    }


def test_no_trail() -> None:
    head = parse()
    assert (head.request_id, head.forwarded, head.keyed) == (None, {}, False)


@pytest.mark.parametrize(
    "name", [b"X_Forwarded_For", b"X-Forwarded_Host", b"x_forwarded-proto", b"X_Request_ID"]
)
def test_trail_written_with_underscores_is_neither_believed_nor_passed_on(name: bytes) -> None:
    head = parse(name + b": forged")
    assert passed_on(head) == b""
    assert (head.request_id, head.forwarded) == (None, {})
