"""Spans of the real process, as a collector gets them; and what else follows a request by id."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.process.client import Connection, check, compute
from tests.integration.process.harness import Programs

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEYED = "Idempotency-Key: yes"
CAP = 1


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans in by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", 0), _Taker)


class _Taker(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in span.attributes
    }


async def test_a_request_that_lost_its_worker(programs: Programs, collector: Collector) -> None:
    workers = await programs.workers(2, task_seconds=0.4, max_in_flight=CAP)
    programs.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
    }
    spec = {"endpoints": [worker.address for worker in workers], "maxInFlight": CAP}
    balancer = await programs.balancer(spec, tracing="true", access_log="true")
    async with await Connection.open(balancer.port) as connection:
        came = f"traceparent: 00-{TRACE}-{PARENT}-01"
        connection.send(compute("a", KEYED, came, "X-Request-ID: followed"))
        view = await balancer.sees("it running", lambda view: view["in_flight"] == 1)
        (busy,) = (w["address"] for w in view["workers"] if w["in_flight"])
        (first,) = (worker for worker in workers if worker.address == busy)
        (second,) = (worker for worker in workers if worker.address != busy)
        await first.kill()
        answer = await connection.answer()
        check(answer, "a")
        assert answer.headers["x-request-id"] == "followed"
        assert answer.headers["x-leastwise-attempts"] == "2"
        assert answer.headers["x-leastwise-worker"] == second.address
        assigned = (await connection.ask(compute("b", KEYED))).headers["x-request-id"]
        assert assigned not in {"", "followed"}
    lines = [json.loads(line) for line in balancer.stderr().splitlines()]
    followed = [line for line in lines if line.get("request_id") == "followed"]
    assert [line["logger"] for line in followed] == ["leastwise.events", "leastwise.access"]
    lost, ended = followed
    assert (lost["kind"], lost["worker"], lost["reason"]) == (
        "lost", first.address, "connection died",
    )  # fmt: skip
    assert (ended["attempts"], ended["worker"], ended["ending"]) == (2, second.address, "--")
    balancer.process.terminate()
    assert await balancer.end() == 0  # and what was left has been sent
    mine = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    (server,) = (span for span in mine if span.kind == Span.SPAN_KIND_SERVER)
    attempts = [span for span in mine if span.kind == Span.SPAN_KIND_CLIENT]
    died, answered = sorted(attempts, key=lambda span: span.start_time_unix_nano)
    assert server.parent_span_id.hex() == PARENT
    assert {died.parent_span_id, answered.parent_span_id} == {server.span_id}
    assert attributes(died)["error.type"] == "died"
    assert attributes(died)["leastwise.worker"] == first.address
    assert attributes(answered)["http.request.resend_count"] == 1
    assert attributes(answered)["http.response.status_code"] == 200
    assert attributes(server)["leastwise.attempts"] == 2
    assert server.start_time_unix_nano <= died.start_time_unix_nano
    assert died.end_time_unix_nano <= answered.start_time_unix_nano
    assert answered.end_time_unix_nano <= server.end_time_unix_nano
    assert len({span.trace_id for span in collector.spans}) == 2  # the other request began its own
