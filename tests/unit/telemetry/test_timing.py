"""The lines that tell a client where its time went."""

import pytest

from app.telemetry.timing import timing_lines, worker_line


def test_durations_are_in_milliseconds() -> None:
    line = timing_lines(100.0, 102.0, 102.0004, 117.5)
    assert line == b"Server-Timing: queue;dur=2000.0, connect;dur=0.4, worker;dur=15499.6\r\n"


@pytest.mark.parametrize(
    ("name", "attempts", "line"),
    [
        ("worker-1", 1, b"X-Leastwise-Worker: worker-1\r\n"),
        ("[::1]:80", 3, b"X-Leastwise-Worker: [::1]:80; attempts=3\r\n"),
        ("a\r\nb: é", 1, b"X-Leastwise-Worker: a\\r\\nb: \\xe9\r\n"),
    ],
)
def test_the_worker_is_named_in_one_line(name: str, attempts: int, line: bytes) -> None:
    assert worker_line(name, attempts) == line
