"""The lines that tell a client how its answer came about."""

import pytest

from app.telemetry.timing import attempts_line, way_lines, worker_line


def test_durations_are_in_milliseconds() -> None:
    lines = way_lines(
        2, worker_line("w"), ready_at=100.0, granted_at=102.0, sent_at=102.0004, answered_at=117.5
    )
    assert lines.split(b"\r\n") == [
        b"X-Leastwise-Attempts: 2",
        b"X-Leastwise-Worker: w",
        b"Server-Timing: queue;dur=2000.0, connect;dur=0.4, worker;dur=15499.6",
        b"",
    ]


def test_attempts_are_counted() -> None:
    assert attempts_line(3) == b"X-Leastwise-Attempts: 3\r\n"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("worker-1", b"X-Leastwise-Worker: worker-1\r\n"),
        ("[::1]:80", b"X-Leastwise-Worker: [::1]:80\r\n"),
        ("a\r\nb: é", b"X-Leastwise-Worker: a\\r\\nb: \\xe9\r\n"),
    ],
)
def test_the_worker_is_named_in_one_line(name: str, line: bytes) -> None:
    assert worker_line(name) == line
