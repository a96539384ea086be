"""What an answer says of its way."""

import pytest

from app.telemetry.timing import attempts_line, way_lines, worker_line


def test_an_answer_says_where_its_time_went() -> None:
    worker = worker_line("worker-1")
    times = {"ready_at": 10.0, "granted_at": 12.0, "sent_at": 12.0004, "answered_at": 27.5}
    begin = b"X-Leastwise-Attempts: 2\r\nX-Leastwise-Worker: worker-1\r\n"
    end = b"Server-Timing: queue;dur=2000.0, connect;dur=0.4, worker;dur=15499.6\r\n"
    assert way_lines(2, worker, b"", **times) == begin + end
    assert way_lines(2, worker, b"id-1", **times) == begin + b"X-Request-ID: id-1\r\n" + end


def test_an_answer_of_ours_counts_the_attempts() -> None:
    assert attempts_line(3) == b"X-Leastwise-Attempts: 3\r\n"


@pytest.mark.parametrize("name", ["worker-1", "10.0.0.1:8080", "[fd00::1]:80"])
def test_a_worker_is_named(name: str) -> None:
    assert worker_line(name) == f"X-Leastwise-Worker: {name}\r\n".encode()


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: b", "é", "a\tb", "a\0"])
def test_a_name_cannot_break_out_of_its_line(name: str) -> None:
    line = worker_line(name)
    assert line.startswith(b"X-Leastwise-Worker: ")
    assert line.isascii()
    assert line.find(b"\r\n") == len(line) - 2
    assert line[:-2].decode().isprintable()
