"""Response heads: a worker is read as strictly as a client."""

import pytest

from app.http1.errors import ProtocolError
from app.http1.responses import ResponseHead, parse_response, read_response


def parse(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response(b"".join(field + b"\r\n" for field in (line, *fields)) + b"\r\n")


def refused(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> str:
    with pytest.raises(ProtocolError) as caught:
        parse(*fields, line=line)
    return caught.value.detail


GOOD_LINES = {
    "usual": (b"HTTP/1.1 200 OK", 1, 200, b"HTTP/1.1 200 OK\r\n"),
    "interim": (b"HTTP/1.1 103 Early Hints", 1, 103, b"HTTP/1.1 103 Early Hints\r\n"),
    "1.0": (b"HTTP/1.0 404 Not Found", 0, 404, b"HTTP/1.1 404 Not Found\r\n"),
    "1.0, reason left out": (b"HTTP/1.0 404 ", 0, 404, b"HTTP/1.1 404 \r\n"),
    "1.0, left out with its space": (b"HTTP/1.0 404", 0, 404, b"HTTP/1.1 404 \r\n"),
    "reason left out": (b"HTTP/1.1 204 ", 1, 204, b"HTTP/1.1 204 \r\n"),
    "reason left out with its space": (b"HTTP/1.1 204", 1, 204, b"HTTP/1.1 204 \r\n"),
    "reason beyond ASCII": (b"HTTP/1.1 500 \xe9\t!", 1, 500, b"HTTP/1.1 500 \xe9\t!\r\n"),
    "reason with blanks": (b"HTTP/1.1 500  a ", 1, 500, b"HTTP/1.1 500  a \r\n"),
    "status of no class": (b"HTTP/1.1 999 ?", 1, 999, b"HTTP/1.1 999 ?\r\n"),
}


@pytest.mark.parametrize(
    ("line", "minor", "status", "passed_on"), GOOD_LINES.values(), ids=GOOD_LINES
)
def test_status_line(line: bytes, minor: int, status: int, passed_on: bytes) -> None:
    head = parse(b"A: b", line=line)
    assert (head.minor, head.status, head.line) == (minor, status, passed_on)
    assert head.fields == b"A: b\r\n"
    assert parse(line=line).fields == b""


BAD_LINES = {
    "nothing": b"",
    "HTTP/0.9: a body at once": b"<html>",
    "other protocol": b"ICY 200 OK",
    "HTTP/2": b"HTTP/2 200",
    "lower case": b"http/1.1 200 OK",
    "other version": b"HTTP/1.2 200 OK",
    "no status": b"HTTP/1.1 OK",
    "short status": b"HTTP/1.1 20 OK",
    "long status": b"HTTP/1.1 2000 OK",
    "status below 100": b"HTTP/1.1 099 OK",
    "signed status": b"HTTP/1.1 +20 OK",
    "two spaces": b"HTTP/1.1  200 OK",
    "tab": b"HTTP/1.1\t200 OK",
    "reason run into the status": b"HTTP/1.1 200OK",
    "space before": b" HTTP/1.1 200 OK",
    "empty line before": b"\r\nHTTP/1.1 200 OK",
    "CR in the reason": b"HTTP/1.1 200 O\rK",
    "LF in the reason": b"HTTP/1.1 200 O\nSet-Cookie: a=b",
    "NUL in the reason": b"HTTP/1.1 200 O\0K",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_refused_status_line(line: bytes) -> None:
    assert refused(line=line) == "the status line is malformed"


BAD_FIELDS = {
    "space before the colon": b"Content-Length : 5",
    "no name": b": b",
    "no colon": b"A",
    "obs-fold": b" folded",
    "CR in the value: response splitting": b"Location: /\r\rSet-Cookie: a=b",
    "LF in the value: response splitting": b"Location: /\nSet-Cookie: a=b",
    "NUL": b"A: \0",
}


@pytest.mark.parametrize("field", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_malformed_field_is_refused_by_its_number(field: bytes) -> None:
    assert refused(b"A: b", field, b"Z: z") == "header field 2 is malformed"


FRAMED = {
    "until the end": ([], None, False, b"Z: z\r\n"),
    "length": ([b"Content-Length: 5"], 5, False, b"Content-Length: 5\r\nZ: z\r\n"),
    "length of nothing": ([b"Content-Length: 0"], 0, False, b"Content-Length: 0\r\nZ: z\r\n"),
    "length in odd spelling": (
        [b"content-LENGTH:50 ", b"TE: x"],
        *(50, False, b"content-LENGTH:50 \r\nZ: z\r\n"),
    ),
    "length with a zero before it": (
        [b"content-LENGTH:05 "],
        *(5, False, b"Z: z\r\nContent-Length: 5\r\n"),
    ),
    "length of zeros": ([b"Content-Length: 00"], 0, False, b"Z: z\r\nContent-Length: 0\r\n"),
    "chunked": ([b"Transfer-Encoding: Chunked"], None, True, b"Z: z\r\n"),
}


@pytest.mark.parametrize(("fields", "length", "chunked", "kept"), FRAMED.values(), ids=FRAMED)
def test_framing(fields: list[bytes], length: int | None, chunked: bool, kept: bytes) -> None:
    head = parse(b"A: b", *fields, b"Z: z")
    assert (head.content_length, head.chunked) == (length, chunked)
    assert head.fields == b"A: b\r\n" + kept


@pytest.mark.parametrize("status", [100, 101, 103, 199, 204])
@pytest.mark.parametrize(
    "length", [b"Content-Length: 0", b"content-length:\t5", b"Content-Length: 07"]
)
def test_a_status_that_may_state_no_length_is_passed_on_without_it(
    status: int, length: bytes
) -> None:
    head = parse(b"A: b", length, b"X-Content-Length: 3", line=b"HTTP/1.1 %d X" % status)
    assert head.fields == b"A: b\r\nX-Content-Length: 3\r\n"
    assert head.content_length in {0, 5, 7}


@pytest.mark.parametrize("status", [200, 203, 205, 304, 404])
def test_any_other_status_keeps_its_length(status: int) -> None:
    head = parse(b"Content-Length: 5", line=b"HTTP/1.1 %d X" % status)
    assert head.fields == b"Content-Length: 5\r\n"


def test_connection_takes_no_length_away() -> None:
    head = parse(b"Connection: content-length, x-a", b"Content-Length: 5", b"X-A: a")
    assert (head.fields, head.content_length) == (b"Content-Length: 5\r\n", 5)
    assert head.named == {b"x-a"}


CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
AMBIGUOUS = {
    "both, length first": [CL + b"5", TE + b"chunked"],
    "both, coding first": [TE + b"chunked", CL + b"5"],
    "two lengths": [CL + b"5", CL + b"6"],
    "the same length twice": [CL + b"5", CL + b"5"],
    "list of lengths": [CL + b"5, 5"],
    "length with a sign": [CL + b"+5"],
    "no length": [CL],
    "chunked twice": [TE + b"chunked", TE + b"chunked"],
    "other coding": [TE + b"gzip, chunked"],
    "identity": [TE + b"identity"],
}


@pytest.mark.parametrize("fields", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_refused_framing(fields: list[bytes]) -> None:
    assert refused(*fields)


def test_chunked_in_http_1_0_is_refused() -> None:
    assert "HTTP/1.0" in refused(TE + b"chunked", line=b"HTTP/1.0 200 OK")


PERSISTENCE = {
    "1.1": (b"HTTP/1.1 200 OK", [], True),
    "1.1, close": (b"HTTP/1.1 200 OK", [b"Connection: Close"], False),
    "1.0": (b"HTTP/1.0 200 OK", [], False),
    "1.0, keep-alive": (b"HTTP/1.0 200 OK", [b"Connection: keep-alive"], True),
}


@pytest.mark.parametrize(("line", "fields", "kept"), PERSISTENCE.values(), ids=PERSISTENCE)
def test_persistence(line: bytes, fields: list[bytes], kept: bool) -> None:
    head = parse(*fields, line=line)
    assert head.keep_alive is kept
    assert head.fields == b""


IDLE_TIMES = {
    "seconds": (b"timeout=5", 5),
    "among others": (b"max=100,\tTimeout=15", 15),
    "none": (b"max=100", None),
    "no number": (b"timeout=soon", None),
    "another parameter": (b"read-timeout=5", None),
    "no end": (b"timeout=" + b"9" * 5000, 999_999_999),
}


@pytest.mark.parametrize(("value", "seconds"), IDLE_TIMES.values(), ids=IDLE_TIMES)
def test_idle_time_that_the_worker_names(value: bytes, seconds: int | None) -> None:
    assert parse(b"Keep-Alive: " + value).keep_alive_timeout == seconds


def test_hop_by_hop_fields_are_not_passed_on() -> None:
    head = parse(
        *(b"Server: s", b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"TE: x"),
        *(b"Upgrade: h2c", b"Connection: keep-alive, X-Trace", b"x-trace: 1", b"Set-Cookie: a=b"),
    )
    assert head.fields == b"Server: s\r\nSet-Cookie: a=b\r\n"
    assert head.named == {b"x-trace"}


UPGRADES = {
    "switched": ([b"Connection: Upgrade", b"Upgrade: WebSocket"], b"websocket"),
    "several": ([b"Connection: Upgrade", b"Upgrade: a", b"Upgrade: websocket"], b"several"),
    "only offered": ([b"Upgrade: websocket"], None),
}


@pytest.mark.parametrize(("fields", "upgrade"), UPGRADES.values(), ids=UPGRADES)
def test_upgrade(fields: list[bytes], upgrade: bytes | None) -> None:
    assert parse(*fields, line=b"HTTP/1.1 101 Switching Protocols").upgrade == upgrade


def test_value_of_a_field_or_none() -> None:
    head = parse(b"X-Retry-After: 1", b"RETRY-after:\t 2 ", b"Retry-After: 3", b"Empty: ")
    assert head.value(b"retry-after") == b"2"
    assert head.value(b"empty") == b""
    assert head.value(b"date") is None


# --- from the front of what came

WHOLE = b"HTTP/1.0 200\r\nServer: s\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize(
    "behind", [b"", b"abc", b"HTTP/1.1 200 OK\r\n", b"TE: x\r\n\r\n"], ids=repr
)
def test_a_head_is_read_whatever_is_behind_it(behind: bytes) -> None:
    head = read_response(WHOLE + behind)
    assert head is not None
    assert (head.status, head.content_length, head.size) == (200, 3, len(WHOLE))
    assert head.line == b"HTTP/1.1 200 \r\n"
    assert head.fields == b"Server: s\r\nContent-Length: 3\r\n"


def test_fields_behind_the_head_are_not_its_own() -> None:
    body = b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n"
    head = read_response(WHOLE + body)
    assert head is not None
    assert (head.keep_alive, head.keep_alive_timeout, head.content_length) == (False, None, 3)
    assert head.fields == b"Server: s\r\nContent-Length: 3\r\n"


def test_what_is_not_whole_is_not_read() -> None:
    assert all(read_response(WHOLE[:end]) is None for end in range(len(WHOLE)))


@pytest.mark.parametrize(
    "raw",
    [b"\r\n" + WHOLE, b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"],
    ids=repr,
)
def test_what_is_malformed_is_not_read_and_parsing_finds_the_words(raw: bytes) -> None:
    assert read_response(raw) is None
    with pytest.raises(ProtocolError, match="malformed"):
        parse_response(raw)


def test_what_is_well_formed_and_cannot_be_accepted_is_refused_at_once() -> None:
    with pytest.raises(ProtocolError, match="Content-Length is there twice"):
        read_response(b"HTTP/1.1 200 OK\r\n" + b"Content-Length: 1\r\n" * 2 + b"\r\nx")


def test_parsing_wants_the_head_and_nothing_behind_it() -> None:
    assert parse_response(WHOLE).size == len(WHOLE)
    with pytest.raises(ProtocolError, match="malformed"):
        parse_response(WHOLE + b"abc")


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"X-A: b\r\nX-A: c\r\n", b"b"),
        (b"B: c\r\nx-A:b \r\n", b"b"),
        (b"", None),
        (b"X-AB: c\r\nOther-X-A: b\r\nB: x-a: c\r\n", None),
    ],
)
def test_value_of_a_field_that_may_be_there(lines: bytes, value: bytes | None) -> None:
    assert parse_response(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n").value(b"x-a") == value


@pytest.mark.parametrize(
    ("lines", "dated", "identified"),
    [
        (b"Date: x\r\nX-Request-ID: 1\r\n", True, True),
        (b"A: b\r\ndate:x\r\n", True, False),
        (b"x-request-id:\r\nA: b\r\n", False, True),
        (b"Dated: x\r\nX-Date: x\r\nA: date: x\r\nX_Request_Id: 1\r\n", False, False),
    ],
)
def test_what_the_worker_has_said_itself(lines: bytes, dated: bool, identified: bool) -> None:
    head = parse_response(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")
    assert (head.dated, head.identified) == (dated, identified)
    assert head.fields == lines
