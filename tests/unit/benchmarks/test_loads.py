import json
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest

from benchmarks import openloop, wrk

WRK = """Running 2s test @ http://127.0.0.1:1/compute
  1 threads and 64 connections
Requests/sec:  23342.07
result {"requests":46911,"microseconds":2009678,"failed":%d}
"""


def test_wrk_is_read() -> None:
    load = wrk.parse(WRK % 0)
    assert load.requests == 46911
    assert load.rate == pytest.approx(46911 / 2.009678)


@pytest.mark.parametrize(
    "out",
    [
        WRK % 3,
        WRK.replace("46911", "0") % 0,
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        "",
    ],
    ids=["failures", "no requests", "no result", "nothing"],
)
def test_a_load_that_failed_is_no_result(out: str) -> None:
    with pytest.raises(RuntimeError, match="wrk failed"):
        wrk.parse(out)


def test_each_profile_is_a_script(tmp_path: Path) -> None:
    scripts = wrk.scripts(tmp_path)
    fields = {name: path.read_text().count("wrk.headers[") for name, path in scripts.items()}
    assert fields == {"small": 1, "browser": 13}


def test_arrivals_come_at_the_rate_and_are_the_same_for_all() -> None:
    times = openloop.arrivals(1000, 20.0, seed=7)
    assert times == openloop.arrivals(1000, 20.0, seed=7)
    assert times == sorted(times)
    assert times[-1] < 20.0
    assert len(times) == pytest.approx(20_000, rel=0.05)
    gaps = [after - before for before, after in pairwise(times)]
    assert mean(gap * gap for gap in gaps) == pytest.approx(2e-6, rel=0.1)  # Poisson: twice mean²


@pytest.mark.parametrize("name", ["Content-Length", "content-length"])
def test_a_response_ends_where_it_says(name: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{name}: 5\r\nX: y\r\n\r\n".encode()
    assert openloop.response_length(head + b"he") == len(head) + 5


def test_an_incomplete_head_has_no_end() -> None:
    assert openloop.response_length(b"HTTP/1.1 200 OK\r\nContent-Le") is None


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "answered"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "no length"),
    ],
)
def test_a_response_that_was_not_asked_for_is_an_error(response: bytes, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        openloop.response_length(response)


class _Worker:
    """Answers one client's requests, but holds the first back until the last has come."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def serve(self, connections: int) -> None:
        request = len(openloop.request(self.port))
        clients = [self._listening.accept()[0] for _ in range(connections)]
        for client in clients:
            self._read(client, request)
        for client in clients:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            client.sendall(b"ngth: 2\r\n\r\n{}")
        for client in clients:
            client.recv(1)  # its end
            client.close()

    @staticmethod
    def _read(client: socket.socket, length: int) -> None:
        while length:
            length -= len(client.recv(length))

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def worker() -> Iterator[_Worker]:
    worker = _Worker()
    yield worker
    worker.close()


def test_nobody_waits_with_a_request_for_earlier_answers(worker: _Worker) -> None:
    serving = threading.Thread(target=worker.serve, args=(3,))
    serving.start()
    generator = openloop.Generator(worker.port, [0.0, 0.001, 0.03])
    generator.run(connections=1)
    generator.close()
    serving.join()
    last, second, first = sorted(generator.latencies)
    assert last > 0
    assert second >= 0.029  # neither was answered before the last had come, which was due at 0.03
    assert first >= 0.03


def test_the_result_of_a_generator_is_json(
    worker: _Worker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openloop.Generator, "run", lambda *_, **__: 1.5)
    monkeypatch.setattr(openloop, "arrivals", lambda *_: [])
    monkeypatch.setattr(openloop, "percentiles", lambda _: {"p50": 0.001})
    openloop.main(worker.port, 1000, 1.0, 0)
    told = json.loads(capsys.readouterr().out)
    assert told == {"sent": 0, "lost": 0, "seconds": 1.5, "latency_ms": {"p50": 1.0}}
