"""What `helm test` runs in its pod, against a server here."""

import hashlib
import importlib.util
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest

from tests.unit.chart.helm import CHART, OWN_SERVICE, container

SOURCE = CHART / "files" / "send_requests.py"


class Balancer(ThreadingHTTPServer):
    """Answers as told, and counts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.result = ""
        self.hang_up = False
        self.seen: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Balancer

    def do_GET(self) -> None:
        self.server.seen[f"GET {self.path}"] += 1
        self.answer(b"")

    def do_POST(self) -> None:
        self.server.seen[f"POST {self.path}"] += 1
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        digest = hashlib.sha256(task["payload"].encode()).hexdigest()
        self.answer(json.dumps({"result": self.server.result or digest}).encode())

    def answer(self, body: bytes) -> None:
        if self.server.hang_up:
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    with Balancer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("send_requests", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PATIENCE", 0)
    return module


def test_tasks(script: ModuleType, balancer: Balancer, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(balancer.url) == 0
    assert balancer.seen == {"POST /compute": 8}
    assert capsys.readouterr().out == "8 of 8 requests passed\n"


def test_a_wrong_result(script: ModuleType, balancer: Balancer) -> None:
    balancer.result = "0"
    assert script.main(balancer.url) == 1


@pytest.mark.parametrize(("status", "code"), [(200, 0), (404, 0), (502, 1), (503, 1)])
def test_a_path(script: ModuleType, balancer: Balancer, status: int, code: int) -> None:
    balancer.status = status
    assert script.main(balancer.url, "/ping") == code
    assert balancer.seen == {"GET /ping": 8}


def test_a_refusal(
    script: ModuleType, balancer: Balancer, capsys: pytest.CaptureFixture[str]
) -> None:
    balancer.status = 503
    assert script.main(balancer.url) == 1
    assert "0 of 8 requests passed" in capsys.readouterr().out


def test_a_request_that_dies_is_not_asked_again(script: ModuleType, balancer: Balancer) -> None:
    balancer.hang_up = True
    vars(script)["PATIENCE"] = 60
    assert script.main(balancer.url, "/") == 1
    assert balancer.seen == {"GET /": 8}


def test_nobody_there(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert script.main(f"http://127.0.0.1:{port}", "/") == 1
    assert "ConnectionRefusedError" in capsys.readouterr().out


def test_the_pod_runs_this_file() -> None:
    python, flag, source, url = container("test")["command"]
    assert (python, flag, url) == ("python", "-c", "http://lb:80")
    assert source.strip() == SOURCE.read_text().strip()
    compile(source, "test", "exec")
    assert container("test", OWN_SERVICE)["command"][4:] == ["/"]
