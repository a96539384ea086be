"""What both kinds of head share: where a head ends, and fields taken out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http1.errors import ProtocolError
from app.http1.fields import cut, head_end, options_of, search_for, without

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


CUTS = {
    "nothing": (b"\r\nA: 1\r\n", [], b"\r\nA: 1\r\n"),
    "the only line": (b"\r\nA: 1\r\n", [(b"A", b"1")], b"\r\n"),
    "the first": (b"\r\nA: 1\r\nB: 2\r\n", [(b"A", b"1")], b"\r\nB: 2\r\n"),
    "the last": (b"\r\nA: 1\r\nB: 2\r\n", [(b"B", b"2")], b"\r\nA: 1\r\n"),
    "several": (
        b"\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n",
        *([(b"B", b"2"), (b"D", b"4")], b"\r\nA: 1\r\nC: 3\r\n"),
    ),
    "neighbours": (
        b"\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n",
        *([(b"B", b"2"), (b"C", b"3")], b"\r\nA: 1\r\nD: 4\r\n"),
    ),
    "not the tail of another name": (
        b"\r\nX-TE: x\r\nTE: x\r\nA: 1\r\n",
        *([(b"TE", b"x")], b"\r\nX-TE: x\r\nA: 1\r\n"),
    ),
    "not the tail of another value": (
        b"\r\nA: TE: x\r\nTE: x\r\nA: 1\r\n",
        *([(b"TE", b"x")], b"\r\nA: TE: x\r\nA: 1\r\n"),
    ),
    "not the beginning of another value": (
        b"\r\nTEA: x\r\nTE: xy\r\nTE: x\r\n",
        *([(b"TE", b"x")], b"\r\nTEA: x\r\nTE: xy\r\n"),
    ),
    "the same name in several values": (
        b"\r\nTE: y\r\nA: 1\r\nTE: x\r\nTE: y\r\n",
        *([(b"TE", b"y"), (b"TE", b"x"), (b"TE", b"y")], b"\r\nA: 1\r\n"),
    ),
    "the same line several times": (
        b"\r\nTE: x\r\nTE: x\r\nA: x\r\nTE: x\r\n",
        *([(b"TE", b"x")] * 3, b"\r\nA: x\r\n"),
    ),
    "no value": (b"\r\nTE: \r\nA: \r\n", [(b"TE", b"")], b"\r\nA: \r\n"),
    "no value and no space": (b"\r\nTE:\r\nA:\r\n", [(b"TE", b"")], b"\r\nA:\r\n"),
    "no space": (b"\r\nA:x\r\nTE:x\r\nB: x\r\n", [(b"TE", b"x")], b"\r\nA:x\r\nB: x\r\n"),
    "many blanks": (b"\r\nA: 1\r\ntE:\t  x\r\nB: 2\r\n", [(b"tE", b"x")], b"\r\nA: 1\r\nB: 2\r\n"),
    "a tab": (b"\r\nTE:\tx\r\nB: 2\r\n", [(b"TE", b"x")], b"\r\nB: 2\r\n"),
    "blanks behind": (b"\r\nTE: x \t\r\nB: 2\r\n", [(b"TE", b"x \t")], b"\r\nB: 2\r\n"),
    "one space, then many, then none": (
        b"\r\nTE: x\r\nA: 1\r\nTE:  x\r\nB: 2\r\nTE:x\r\n",
        *([(b"TE", b"x")] * 3, b"\r\nA: 1\r\nB: 2\r\n"),
    ),
    "many, then one space, and another between": (
        b"\r\nTE:  x\r\nA: 1\r\nB: 2\r\nTE: x\r\n",
        *([(b"TE", b"x"), (b"A", b"1"), (b"TE", b"x")], b"\r\nB: 2\r\n"),
    ),
    "names in different case": (
        b"\r\nte:  x\r\nTe: x\r\nTE:x\r\nA: 1\r\n",
        *([(b"te", b"x"), (b"Te", b"x"), (b"TE", b"x")], b"\r\nA: 1\r\n"),
    ),
    "characters that mean something elsewhere": (
        b"\r\nA: 1\r\nx.*: %b\\1[\r\nX-Y: %b\\1[\r\n",
        *([(b"x.*", b"%b\\1[")], b"\r\nA: 1\r\nX-Y: %b\\1[\r\n"),
    ),
}


@pytest.mark.parametrize(("block", "lines", "left"), CUTS.values(), ids=CUTS)
def test_lines_cut(block: bytes, lines: list[tuple[bytes, bytes]], left: bytes) -> None:
    assert cut(block, lines) == left


@pytest.mark.parametrize("line", [b"te: x\r\n", b"te:x\r\n", b"TE:  \r\n"], ids=repr)
@pytest.mark.parametrize("number", [*range(1, 40), 5000])
def test_lines_cut_however_many(line: bytes, number: int) -> None:
    block = b"\r\n" + (b"X-TE: x\r\n" + line) * number + b"TEA: x\r\n"
    found = search_for(b"te").findall(block)
    assert len(found) == number
    assert cut(block, found) == b"\r\n" + b"X-TE: x\r\n" * number + b"TEA: x\r\n"


SPECIAL = (b"te", b"x-a")
CUT_LINES = st.lists(
    st.builds(
        lambda name, blanks, value, behind: name + b":" + blanks + value + behind + b"\r\n",
        st.sampled_from([b"te", b"TE", b"x-a", b"X-A", b"A", b"X-TE", b"TEA", b"te.", b"X-A-B"]),
        st.sampled_from([b" ", b" ", b" ", b"", b"  ", b"\t"]),
        st.sampled_from([b"", b"x", b"y", b"x-a: x", b"te: x", b"x te: x"]),
        st.sampled_from([b"", b"", b" "]),
    ),
    max_size=8,
)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(CUT_LINES)
def test_what_is_found_and_cut_is_what_a_plain_reading_takes_out(lines: list[bytes]) -> None:
    fields = b"".join(lines)
    found = search_for(*SPECIAL).findall(b"\r\n" + fields)
    left = [line for line in lines if line.partition(b":")[0].lower() not in SPECIAL]
    assert cut(b"\r\n" + fields, found) == b"\r\n" + b"".join(left)
    assert without(fields, frozenset(SPECIAL)) == b"".join(left)


def test_search_finds_whole_lines_of_the_named_fields_only() -> None:
    search = search_for(b"te", b"keep-alive")
    head = b"te: x\r\nTE:\t yes \r\nTEA: no\r\nA: te: no\r\nKeep-Alive:\r\nkeep-alive :no\r\n\r\n"
    assert search.findall(head) == [(b"TE", b"yes "), (b"Keep-Alive", b"")]


def test_options() -> None:
    assert options_of(b" Close ,\tKEEP-alive,,x y") == [b"close", b"keep-alive", b"", b"x y"]
