"""The reference worker as its users meet it: a process, its signals, its sockets."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Longer than anything takes on a machine that is busy with other things: a guard against hanging.
LIMIT = 30.0

PROGRAM = """
import json, sys
from app.worker.server import run
from app.worker.settings import WorkerSettings
sys.exit(run(WorkerSettings(**json.loads(sys.argv[1]))))
"""


@dataclass
class WorkerProcess:
    process: subprocess.Popen[str]
    listening: dict[str, Any]

    @contextmanager
    def connect(self) -> Iterator[http.client.HTTPConnection]:
        address = self.listening["host"], self.listening["port"]
        connection = http.client.HTTPConnection(*address, timeout=LIMIT)
        try:
            yield connection
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        with self.connect() as connection:
            connection.request("GET", "/status")
            status: dict[str, Any] = json.load(connection.getresponse())
            return status

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the exit; return its code and what else was written to stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, stdout, stderr


@contextmanager
def worker(**settings: Any) -> Iterator[WorkerProcess]:
    given = {"host": "127.0.0.1", "port": 0, "drain_seconds": 0} | settings
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield WorkerProcess(process, json.loads(line))
        finally:
            process.kill()


def compute(connection: http.client.HTTPConnection, payload: str = "a") -> None:
    body = json.dumps({"payload": payload})
    connection.request("POST", "/compute", body, {"Content-Type": "application/json"})


def answer(connection: http.client.HTTPConnection) -> tuple[int, dict[str, Any]]:
    response = connection.getresponse()
    return response.status, json.load(response)


def ask_until(answered: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not answered():
        assert time.monotonic() < deadline


def test_it_announces_the_port_that_it_listens_on() -> None:
    before = time.monotonic()
    with worker(port=0) as running:
        line = running.listening
        assert line.keys() == {"event", "host", "port", "pid", "monotonic"}
        assert (line["event"], line["host"]) == ("listening", "127.0.0.1")
        assert line["pid"] == running.process.pid
        assert before < line["monotonic"] < time.monotonic()
        assert running.status()["pid"] == line["pid"]  # it answers on that port


def test_its_count_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with worker(task_seconds=3600, journal=str(path)) as running, running.connect() as connection:
        compute(connection)
        ask_until(lambda: path.stat().st_size > 0)
        running.signal(signal.SIGKILL)
        running.end()
    (line,) = path.read_text().splitlines()
    assert json.loads(line).items() >= {"event": "begun", "in_flight": 1}.items()


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    settings = json.dumps({"journal": str(tmp_path)})
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, settings],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"cannot write {tmp_path}: Is a directory; give another file\n"


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = json.dumps({"host": "127.0.0.1", "port": port})
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, settings],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; give another host or port\n"
    )


def test_a_slot_is_free_as_soon_as_the_response_is_read() -> None:
    with (
        worker(task_seconds=0.001, max_in_flight=1) as running,
        running.connect() as one,
        running.connect() as other,
    ):
        for turn in range(200):
            connection = (one, other)[turn % 2]
            compute(connection)
            status, task = answer(connection)
            assert (status, task.get("status")) == (200, "DONE")
        counts = running.status()
    assert (counts["completed"], counts["refused"], counts["peak"]) == (200, 0, 1)


def test_a_full_worker_refuses_and_the_connection_stays_good() -> None:
    with (
        worker(task_seconds=3600, max_in_flight=1) as running,
        running.connect() as first,
        running.connect() as second,
    ):
        compute(first)
        ask_until(lambda: running.status()["in_flight"] == 1)
        for _ in range(2):
            compute(second)
            response = second.getresponse()
            assert (response.status, response.getheader("Retry-After")) == (503, "1")
            assert response.getheader("Content-Type") == "application/problem+json"
            response.read()
        counts = running.status()
    assert (counts["in_flight"], counts["refused"], counts["completed"]) == (1, 2, 0)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_frees_its_slot(reset: bool) -> None:
    with worker(task_seconds=3600, max_in_flight=1) as running:
        with running.connect() as leaving:
            compute(leaving)
            ask_until(lambda: running.status()["in_flight"] == 1)
            if reset:  # closing with a linger time of 0 sends RST in place of FIN
                assert leaving.sock is not None
                leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))
        ask_until(lambda: running.status()["in_flight"] == 0)
        counts = running.status()
        assert (counts["cancelled"], counts["completed"], counts["peak"]) == (1, 0, 1)
        with running.connect() as connection:
            connection.request("GET", "/task/")
            (task,) = json.load(connection.getresponse())
        assert task["status"] == "CANCELLED"
        running.signal(signal.SIGTERM)
        assert running.end() == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_on_a_signal_what_runs_is_finished(number: signal.Signals) -> None:
    with worker(task_seconds=1.5) as running, running.connect() as connection:
        compute(connection, "last")
        ask_until(lambda: running.status()["in_flight"] == 1)
        running.signal(number)
        status, task = answer(connection)
        assert (status, task["payload"], task["status"]) == (200, "last", "DONE")
        assert running.end() == (0, "", "")


def test_an_idle_worker_ends_at_once_although_connections_are_open() -> None:
    with worker(task_seconds=0) as running, running.connect() as connection:
        compute(connection)
        assert answer(connection)[0] == 200
        running.signal(signal.SIGTERM)
        assert running.end() == (0, "", "")


def test_while_draining_it_is_not_ready_and_still_works() -> None:
    with (
        worker(task_seconds=0, drain_seconds=3600) as running,
        running.connect() as connection,
    ):

        def readiness() -> int:
            connection.request("GET", "/readyz")
            return answer(connection)[0]

        assert readiness() == 200
        running.signal(signal.SIGTERM)
        ask_until(lambda: readiness() == 503)
        with running.connect() as late:
            compute(late)
            assert answer(late)[0] == 200


def test_a_second_signal_stops_at_once() -> None:
    with (
        worker(task_seconds=3600, drain_seconds=3600) as running,
        running.connect() as connection,
        running.connect() as asking,
    ):

        def readiness() -> int:
            asking.request("GET", "/readyz")
            return answer(asking)[0]

        compute(connection)
        ask_until(lambda: running.status()["in_flight"] == 1)
        running.signal(signal.SIGTERM)
        ask_until(lambda: readiness() == 503)
        running.signal(signal.SIGTERM)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            answer(connection)
        assert running.end() == (128 + signal.SIGTERM, "", "")


def test_a_second_signal_ends_the_wait_for_what_runs() -> None:
    with worker(task_seconds=3600) as running, running.connect() as connection:
        compute(connection)
        ask_until(lambda: running.status()["in_flight"] == 1)
        running.signal(signal.SIGTERM)

        def refuses() -> bool:
            with suppress(ConnectionResetError, http.client.RemoteDisconnected):
                try:
                    running.status()
                except ConnectionRefusedError:
                    return True
            return False

        ask_until(refuses)
        running.signal(signal.SIGINT)
        assert running.end() == (128 + signal.SIGINT, "", "")


def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    with (
        worker(keep_alive_seconds=1, task_seconds=0) as running,
        running.connect() as connection,
    ):
        sent = time.monotonic()
        compute(connection)
        assert answer(connection)[0] == 200
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
        assert time.monotonic() - sent > 0.9
