"""OpenTelemetry spans: one for each request, one for each attempt, by its HTTP conventions.

Needs the extra `otel`, and `LEASTWISE_TRACING=true`; where the spans go is said by OpenTelemetry's
own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, ...). Without it, `traceparent`
and `tracestate` are passed on as they came, as every other field is.

The exchange tells three things: `sent` before an attempt is written (and sends the fields that it
returns), `failed` when one did not come to an answer, and `ended` at the end. Spans are made of the
request's own times, so that nothing else is measured.
`import app.telemetry.tracing` is done only where tracing is wanted.
"""

import time
from time import monotonic

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.balancing.endpoint import Endpoint
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.http1.fields import without
from app.telemetry.endings import COMPLETE
from app.telemetry.requests import EndedRequest

FIELDS = frozenset({b"traceparent", b"tracestate"})
"""The fields of W3C Trace Context: what came of them is replaced by what `sent` returns."""

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
_SERVER_ERROR = 500
_NS = 1_000_000_000
_propagator = TraceContextTextMapPropagator()


class Trace:
    """The spans of one request."""

    __slots__ = ("attempt", "context", "server")

    def __init__(self, server: Span, context: Context) -> None:
        self.server = server
        self.context = context
        self.attempt: Span | None = None


class Tracing:
    """Sends spans. `shutdown` at the end sends what is left."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """Send them to `exporter`; by default by OTLP over HTTP, as the environment says."""
        resource = Resource.create({SERVICE_NAME: "leastwise", SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))

    def of(self, pool: Pool) -> "PoolTracing":
        """Return what makes spans of the pool's requests."""
        return PoolTracing(self._provider.get_tracer("leastwise", __version__), pool)

    def shutdown(self) -> None:
        """Send what is left. Blocks until it is sent, or the exporter gives up."""
        self._provider.shutdown()


class PoolTracing:
    """Makes the spans of one pool's requests."""

    def __init__(self, tracer: Tracer, pool: Pool) -> None:
        self._tracer = tracer
        self._pool = pool
        self._traces: dict[int, Trace] = {}
        """Of the requests that are under way, by their identity as objects."""

        self._epoch = time.time_ns() - int(monotonic() * _NS)

    def sent(self, request: EndedRequest, endpoint: Endpoint, fields: bytes) -> bytes:
        """Begin an attempt; return the field lines to send, `fields` being those of the client."""
        made = self._traces.get(id(request))
        if made is None:
            made = self._traces[id(request)] = self._begin(request, fields)
        spec = endpoint.spec
        attributes: dict[str, str | int] = {
            "http.request.method": _method(request),
            "url.full": f"http://{spec.host}:{spec.port}{_path(request)}",
            "server.address": spec.host,
            "server.port": spec.port,
            "leastwise.worker": endpoint.name,
        }
        if request.attempts > 1:
            attributes["http.request.resend_count"] = request.attempts - 1
        made.attempt = self._tracer.start_span(
            _method(request),
            made.context,
            SpanKind.CLIENT,
            attributes,
            start_time=self._ns(request.sent_at),
        )
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(made.attempt, made.context))
        lines = "".join(f"{name}: {value}\r\n" for name, value in carrier.items())
        return without(fields, FIELDS) + lines.encode()

    def failed(self, request: EndedRequest, outcome: Outcome) -> None:
        """End an attempt that did not come to an answer, and is followed by another."""
        made = self._traces.get(id(request))
        if made is not None and made.attempt is not None:
            made.attempt.set_attribute("error.type", outcome.name.lower())
            made.attempt.set_status(Status(StatusCode.ERROR, outcome.value))
            made.attempt.end(self._ns(monotonic()))
            made.attempt = None

    def ended(self, request: EndedRequest, fields: bytes) -> None:
        """End the request, and with it its last attempt."""
        made = self._traces.pop(id(request), None) or self._begin(request, fields)
        server, attempt, status = made.server, made.attempt, request.status
        complete = request.ending == COMPLETE
        for span, fails_from in ((server, _SERVER_ERROR), (attempt, 400)):
            if span is None:
                continue
            if status and (complete or span is server):
                span.set_attribute("http.response.status_code", status)
            if not complete:
                span.set_attribute("error.type", request.ending)
                span.set_status(Status(StatusCode.ERROR))
            elif status >= fails_from:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        server.set_attribute("leastwise.ending", request.ending)
        server.set_attribute("leastwise.attempts", request.attempts)
        if request.ready_at:
            waited = (request.granted_at or request.ended_at) - request.ready_at
            server.set_attribute("leastwise.queue.duration", waited)
        end = self._ns(request.ended_at)
        if attempt is not None:
            attempt.end(end)
        server.end(end)

    # --- inside

    def _begin(self, request: EndedRequest, fields: bytes) -> Trace:
        context = _propagator.extract(_carrier(fields))
        server = self._tracer.start_span(
            _method(request),
            context,
            SpanKind.SERVER,
            {
                "http.request.method": _method(request),
                "url.path": _path(request),
                "url.scheme": "http",
                "leastwise.pool": self._pool.name,
                "leastwise.request_id": request.identifier.decode("latin-1"),
            },
            start_time=self._ns(request.arrived),
        )
        return Trace(server, trace.set_span_in_context(server, context))

    def _ns(self, at: float) -> int:
        return self._epoch + int(at * _NS)


def _carrier(fields: bytes) -> dict[str, str]:
    """Return what came as trace context."""
    found: dict[str, str] = {}
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() in FIELDS:
            key, text = name.lower().decode(), value.strip().decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _method(request: EndedRequest) -> str:
    method = request.method.decode("latin-1")
    return method if method in _METHODS else "_OTHER"


def _path(request: EndedRequest) -> str:
    """Return the path; a query may hold secrets, and is left out."""
    return request.target.partition(b"?")[0].decode("latin-1")
