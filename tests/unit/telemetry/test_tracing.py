"""Spans of requests and attempts, as an in-memory exporter gets them."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry.tracing import Tracing
from tests.unit.telemetry.requests_made import Ended, refused

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAME = f"Accept: */*\r\nTraceParent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n".encode()

Spans = dict[str, ReadableSpan]


class Stage:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self._all = Tracing(self.exporter)
        self.tracing = self._all.of(Pool(Policy(), name="demo"))

    def shutdown(self) -> None:
        self._all.shutdown()

    def spans(self) -> list[ReadableSpan]:
        """Return the spans, the server's first, then the attempts in order."""
        self.shutdown()
        found = list(self.exporter.get_finished_spans())
        return sorted(found, key=lambda span: (span.kind is not SpanKind.SERVER, span.start_time))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.shutdown()


def endpoint(name: str = "worker-1") -> Endpoint:
    return Endpoint(EndpointSpec(name, "10.0.0.1", 8080, name=name))


def hex_of(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def test_one_request_one_attempt_in_the_clients_trace(stage: Stage) -> None:
    request = Ended()
    lines = stage.tracing.sent(request, endpoint(), CAME)
    stage.tracing.ended(request, CAME)
    server, attempt = stage.spans()
    assert hex_of(server)[0] == hex_of(attempt)[0] == TRACE
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT
    assert attempt.parent is not None
    assert attempt.parent.span_id == server.context.span_id
    # The worker is told the attempt as its parent, and what else the client's tracing said.
    assert lines.decode().split("\r\n") == [
        "Accept: */*", f"traceparent: 00-{TRACE}-{hex_of(attempt)[1]}-01", "tracestate: a=1", "",
    ]  # fmt: skip
    assert (server.name, server.kind) == ("POST", SpanKind.SERVER)
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST", "url.path": "/compute", "url.scheme": "http",
        "http.response.status_code": 200, "leastwise.pool": "demo",
        "leastwise.request_id": "id-1", "leastwise.ending": "--", "leastwise.attempts": 1,
        "leastwise.queue.duration": 2.0,
    }  # fmt: skip
    assert dict(attempt.attributes or {}) == {
        "http.request.method": "POST", "url.full": "http://10.0.0.1:8080/compute",
        "server.address": "10.0.0.1", "server.port": 8080, "leastwise.worker": "worker-1",
        "http.response.status_code": 200,
    }  # fmt: skip
    for span, seconds in ((server, 17.5), (attempt, 15.25)):
        assert span.start_time is not None
        assert span.end_time is not None
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(seconds)
        assert span.status.status_code is StatusCode.UNSET


def test_each_attempt_is_a_span(stage: Stage) -> None:
    request = Ended()
    first_lines = stage.tracing.sent(request, endpoint("worker-1"), b"")
    stage.tracing.failed(request, Outcome.DIED)
    request.attempts, request.sent_at = 2, 103.0
    second_lines = stage.tracing.sent(request, endpoint("worker-2"), first_lines)
    assert first_lines != second_lines
    stage.tracing.ended(request, b"")
    server, first, second = stage.spans()
    assert first.attributes is not None
    assert first.attributes["error.type"] == "died"
    assert first.status.status_code is StatusCode.ERROR
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes is not None
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["leastwise.worker"] == "worker-2"
    assert second.status.status_code is server.status.status_code is StatusCode.UNSET
    assert server.parent is None


def test_one_without_a_slot_has_no_attempt(stage: Stage) -> None:
    stage.tracing.ended(refused(), CAME)
    (server,) = stage.spans()
    assert server.attributes is not None
    assert server.attributes["error.type"] == "sQ"
    assert server.attributes["http.response.status_code"] == 503
    assert server.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("status", "of_server", "of_attempt"),
    [(404, StatusCode.UNSET, StatusCode.ERROR), (500, StatusCode.ERROR, StatusCode.ERROR)],
)
def test_what_a_status_means_depends_on_the_side(
    stage: Stage, status: int, of_server: StatusCode, of_attempt: StatusCode
) -> None:
    request = Ended(status=status)
    stage.tracing.sent(request, endpoint(), b"")
    stage.tracing.ended(request, b"")
    server, attempt = stage.spans()
    assert (server.status.status_code, attempt.status.status_code) == (of_server, of_attempt)


def test_a_worker_that_died_did_not_answer_our_502(stage: Stage) -> None:
    request = Ended(status=502, ending="SH")
    stage.tracing.sent(request, endpoint(), b"")
    stage.tracing.ended(request, b"")
    server, attempt = stage.spans()
    assert server.attributes is not None
    assert attempt.attributes is not None
    assert server.attributes["http.response.status_code"] == 502
    assert "http.response.status_code" not in attempt.attributes
    assert attempt.attributes["error.type"] == "SH"


@pytest.mark.parametrize("fields", [b"", b"traceparent: nonsense\r\n", b"traceparent\r\n\r\n"])
def test_without_a_trace_a_new_one_begins(stage: Stage, fields: bytes) -> None:
    request = Ended(method=b"PURGE")
    lines = stage.tracing.sent(request, endpoint(), fields)
    stage.tracing.ended(request, fields)
    server, _ = stage.spans()
    assert server.parent is None
    assert server.name == "_OTHER"
    assert lines.count(b"traceparent: 00-") == 1


def test_an_unsampled_trace_is_passed_on_and_not_recorded(stage: Stage) -> None:
    came = CAME.replace(b"-01\r", b"-00\r")
    request = Ended()
    lines = stage.tracing.sent(request, endpoint(), came)
    stage.tracing.ended(request, came)
    assert lines.startswith(f"Accept: */*\r\ntraceparent: 00-{TRACE}-".encode())
    assert b"-00\r\n" in lines
    assert stage.spans() == []
