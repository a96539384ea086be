"""What both kinds of head share: where a head ends, and fields taken out."""

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.http1.errors import ProtocolError
from app.http1.fields import head_end, options_of, without
from app.http1.requests import parse_request, read_request
from app.http1.responses import parse_response, read_response

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_end_of_the_head() -> None:
    assert head_end(HEAD, 100) == len(HEAD)
    assert head_end(HEAD + b"body\n\r\n\r\n", 100) == len(HEAD)
    assert head_end(HEAD[:-1], 100) == -1
    assert head_end(b"", 100) == -1


def test_limit_of_the_head() -> None:
    assert head_end(HEAD, len(HEAD)) == len(HEAD)
    assert head_end(HEAD[:-1], len(HEAD) - 1) == -1
    beyond = (
        (HEAD, len(HEAD) - 1, 431),
        (b"a" * 7 + b"\r\n\r\n", 10, 431),
        (b"a" * 11, 10, 414),
        (b"a" * 9 + b"\r\n\r\n", 10, 414),
    )
    for buffer, limit, status in beyond:
        with pytest.raises(ProtocolError) as caught:
            head_end(buffer, limit)
        assert caught.value.status == status


@pytest.mark.parametrize(
    "buffer",
    [b"\n", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"A\r\n\n", b"GET / HTTP/1.1\n\n"],
    ids=repr,
)
def test_line_without_cr_is_told_at_once(buffer: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        head_end(buffer, 100)
    assert caught.value.status == 400
    with pytest.raises(ProtocolError):
        head_end(buffer, 100, len(buffer) - 1)


def found(parts: list[bytes]) -> int | None:
    """Return where the head in these parts, read one after the other, ends; None if refused."""
    buffer = b""
    for part in parts:
        searched = len(buffer)
        buffer += part
        try:
            end = head_end(buffer, 100, searched)
        except ProtocolError:
            return None
        if end >= 0:
            return end
    return -1


PARTS = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"a\r\n\r", b"\n\ra"]), max_size=12)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(PARTS)
def test_head_ends_at_the_same_place_however_it_comes(parts: list[bytes]) -> None:
    buffer = b"".join(parts)
    whole = found([buffer])
    bytewise = found([buffer[i : i + 1] for i in range(len(buffer))])
    if b"\n" not in buffer.replace(b"\r\n", b""):
        assert found(parts) == bytewise == whole
    else:  # a lone LF is told as soon as it is seen, or by the grammar of the whole head
        assert {found(parts), bytewise} <= {whole, None}


def test_fields_taken_out() -> None:
    fields = b"A: 1\r\nb:a: 2\r\nA:\r\naa: 3\r\nB-A: 4\r\n"
    assert without(fields, frozenset({b"a"})) == b"b:a: 2\r\naa: 3\r\nB-A: 4\r\n"
    assert without(fields, frozenset({b"a", b"b", b"aa", b"b-a"})) == b""
    assert without(fields, frozenset({b"a.", b"", b"b:a", b"c"})) == fields
    assert without(b"", frozenset({b"a"})) == b""


LINES = st.lists(
    st.builds(
        lambda name, blanks, value, behind: name + b":" + blanks + value + behind + b"\r\n",
        st.sampled_from([b"te", b"TE", b"A", b"X-TE", b"TEA", b"te.", b"Keep-Alive", b"keep-a"]),
        st.sampled_from([b" ", b" ", b" ", b"", b"  ", b"\t"]),
        st.sampled_from([b"", b"x", b"y", b"te: x", b"x te: x", b"%b\\1["]),
        st.sampled_from([b"", b"", b" "]),
    ),
    max_size=8,
)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(LINES)
def test_what_is_passed_on_is_what_a_plain_reading_leaves(lines: list[bytes]) -> None:
    dropped = frozenset({b"te", b"keep-alive"})
    left = b"".join(line for line in lines if line.partition(b":")[0].lower() not in dropped)
    fields = b"".join(lines)
    assert parse_request(b"GET / HTTP/1.0\r\n" + fields + b"\r\n").fields == left
    assert parse_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n").fields == left
    assert without(fields, dropped) == left


@pytest.mark.parametrize("line", [b"te: x\r\n", b"te:x\r\n", b"TE:  \r\n"], ids=repr)
@pytest.mark.parametrize("number", [*range(1, 40), 5000])
def test_lines_are_taken_out_however_many(line: bytes, number: int) -> None:
    fields = (b"X-TE: x\r\n" + line) * number + b"TEA: x\r\n"
    head = parse_request(b"GET / HTTP/1.0\r\n" + fields + b"\r\n")
    assert head.fields == b"X-TE: x\r\n" * number + b"TEA: x\r\n"
    assert head.count == 2 * number + 1


@pytest.mark.parametrize("byte", [*range(256)])
def test_bytes_that_may_stand_in_a_value(byte: int) -> None:
    allowed = byte == 0x09 or (byte >= 0x20 and byte != 0x7F)
    line = b"A: x%by\r\n" % bytes([byte])
    head = read_request(b"GET / HTTP/1.0\r\n" + line + b"\r\n")
    assert (head is not None) is allowed
    assert head is None or head.fields == line


@pytest.mark.parametrize("byte", [*range(256)])
def test_bytes_that_may_stand_in_a_name(byte: int) -> None:
    letters = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
    for name in (b"A%bb" % bytes([byte]), bytes([byte])):
        ends = byte == ord(":") and len(name) > 1
        allowed = chr(byte) in letters or ends
        head = read_request(b"GET / HTTP/1.0\r\n" + name + b": x\r\n\r\n")
        assert (head is not None) is allowed


ENDS = st.sampled_from([b"\r\n"] * 9 + [b"\r", b"\n", b"\r\r\n", b"\n\r\n"])


@settings(deadline=None, derandomize=True, max_examples=800)
@given(st.lists(ENDS, min_size=1, max_size=5), st.integers(0, 5))
@example([b"\r\n", b"\r", b"\r\r\n"], 0)  # one byte too few, and one too many
@example([b"\r\n", b"\n", b"\n\r\n"], 1)
def test_each_line_ends_with_cr_and_lf(ends: list[bytes], dropped: int) -> None:
    lines = [b"GET / HTTP/1.0", *(b"A: b" for _ in ends[1:])]
    if 0 < dropped < len(lines):
        lines[dropped] = b"TE: b"
    raw = b"".join(line + end for line, end in zip(lines, ends, strict=True)) + b"\r\n"
    head = read_request(raw)
    assert (head is not None) is (set(ends) == {b"\r\n"})
    response = read_response(raw.replace(b"GET / HTTP/1.0", b"HTTP/1.1 200 OK"))
    assert (response is not None) is (head is not None)


def test_options() -> None:
    assert options_of(b" Close ,\tKEEP-alive,,x y") == [b"close", b"keep-alive", b"", b"x y"]
