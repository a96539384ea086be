"""Durations: both ways, without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.durations import MAX_LENGTH, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("100ms", 0.1),
        ("15s", 15.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h0m1s1ms", 3601.001),
        ("0.5s", 0.5),
        ("1.5h", 5400.0),
        ("90m", 5400.0),
        ("0s", 0.0),
    ],
)
def test_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s\n",
        "-5s",
        "+5s",
        "5S",
        "5sec",
        "5d",
        "5us",
        "30s1m",
        "1s1s",
        ".5s",
        "5.s",
        "1e3s",
        "५s",
        "inf",
        "nan",
        "9" * MAX_LENGTH + "s",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.1, "100ms"),
        (1, "1s"),
        (1.5, "1s500ms"),
        (90, "1m30s"),
        (3600, "1h"),
        (86_400, "24h"),
        (3661.001, "1h1m1s1ms"),
        (0.0001, "0.0001s"),
        (1e-7, "0.0000001s"),
    ],
)
def test_writes(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0.001, 1e6) | st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_what_is_written_is_read_again(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


_PART = st.integers(0, 999)


@given(_PART, _PART, _PART, _PART)
def test_parts_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{ms}ms"
    assert parse_duration(text) == (((hours * 60 + minutes) * 60 + seconds) * 1000 + ms) / 1000
