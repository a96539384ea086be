"""What both kinds of head share: where a head ends, and fields taken out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http1.errors import ProtocolError
from app.http1.fields import head_end, options_of, search_for, without

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_end_of_the_head() -> None:
    assert head_end(HEAD, 100) == len(HEAD)
    assert head_end(HEAD + b"body\n\r\n\r\n", 100) == len(HEAD)
    assert head_end(HEAD[:-1], 100) == -1
    assert head_end(b"", 100) == -1


def test_limit_of_the_head() -> None:
    assert head_end(HEAD, len(HEAD)) == len(HEAD)
    assert head_end(HEAD[:-1], len(HEAD) - 1) == -1
    for buffer, limit in ((HEAD, len(HEAD) - 1), (b"a" * 11, 10), (b"a" * 7 + b"\r\n\r\n", 10)):
        with pytest.raises(ProtocolError) as caught:
            head_end(buffer, limit)
        assert caught.value.status == 431


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


def test_search_finds_whole_lines_of_the_named_fields_only() -> None:
    search = search_for(b"te", b"keep-alive")
    head = b"te: x\r\nTE:\t yes \r\nTEA: no\r\nA: te: no\r\nKeep-Alive:\r\nkeep-alive :no\r\n\r\n"
    assert search.findall(head) == [(b"TE", b"yes "), (b"Keep-Alive", b"")]


def test_options() -> None:
    assert options_of(b" Close ,\tKEEP-alive,,x y") == [b"close", b"keep-alive", b"", b"x y"]
