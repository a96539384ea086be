"""Objects out of a stream, wherever its chunks end."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.discovery.json_lines import JsonLines


def test_lines_in_one_chunk() -> None:
    lines = JsonLines()
    assert lines.feed(b'{"a":1}\n{"b":2}\n') == [{"a": 1}, {"b": 2}]
    assert not lines.partial


def test_a_line_in_parts() -> None:
    lines = JsonLines()
    assert lines.feed(b'{"a"') == []
    assert lines.partial
    assert lines.feed(b":1") == []
    assert lines.feed(b'}\n{"b":') == [{"a": 1}]
    assert lines.partial
    assert lines.feed(b"2}\n") == [{"b": 2}]
    assert not lines.partial


def test_a_chunk_that_ends_within_a_character() -> None:
    lines = JsonLines()
    whole = '{"name":"wörker-😀"}\n'.encode()
    assert lines.feed(whole[:11]) == []
    assert lines.feed(whole[11:21]) == []
    assert lines.feed(whole[21:]) == [{"name": "wörker-😀"}]


def test_empty_lines_and_carriage_returns_are_nothing() -> None:
    assert JsonLines().feed(b'\n\r\n{"a":1}\r\n \n') == [{"a": 1}]


def test_no_chunk_is_nothing() -> None:
    lines = JsonLines()
    assert lines.feed(b"") == []
    assert not lines.partial


@pytest.mark.parametrize("line", [b"{", b"nonsense", b'{"a":"\xff"}', b"[1]", b"1", b"null"])
def test_what_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="a line that is"):
        JsonLines().feed(line + b"\n")


def test_a_line_without_an_end_is_refused_in_the_end() -> None:
    lines = JsonLines(max_line=1000)
    for _ in range(10):
        lines.feed(b"x" * 100)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        lines.feed(b"x")


def test_a_long_line_costs_no_more_for_its_many_chunks() -> None:
    lines = JsonLines()
    text = json.dumps({"a": "x" * 4_000_000}).encode()
    for start in range(0, len(text), 1000):
        lines.feed(text[start : start + 1000])
    [value] = lines.feed(b"\n")
    assert len(value["a"]) == 4_000_000


@given(
    st.lists(st.dictionaries(st.text(), st.text())), st.lists(st.integers(0, 300)), st.booleans()
)
def test_any_chunks_give_the_same(
    objects: list[dict[str, str]], cuts: list[int], ascii_only: bool
) -> None:
    wire = b"".join(json.dumps(o, ensure_ascii=ascii_only).encode() + b"\n" for o in objects)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    lines = JsonLines()
    told = [o for a, b in pairwise(edges) for o in lines.feed(wire[a:b])]
    assert told == objects
    assert not lines.partial
