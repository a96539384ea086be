"""The answers that are ours and no worker's: problem details (RFC 9457) with Proxy-Status.

`Proxy-Status` (RFC 9209) tells the client's side that the answer is the proxy's and why.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.lease import Outcome
from app.http1.errors import ProtocolError
from app.proxy.headers import date_line

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
RETRY_AFTER: Final = 5
"""Seconds that a client is asked to wait after a refusal: long enough for a slot or two of
15-second work to come free, short enough to be there when it does."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer of ours."""

    status: int
    error: str
    """Of the error types of RFC 9209."""

    detail: str
    """For the person who reads the answer: what happened and, where it helps, what to do."""

    retry_after: int | None = None


NOT_SENT: Final = Problem(
    503, "proxy_internal_error", "The balancer is out of sockets.", RETRY_AFTER
)
EXPIRED: Final = Problem(504, "http_response_timeout", "The request took longer than it may.")
NO_ROUTE: Final = Problem(
    404, "destination_not_found", "No pool has a route for this host and path at this balancer."
)
BODY_TIMEOUT: Final = Problem(408, "http_request_error", "The request's body stopped coming.")
HEAD_TIMEOUT: Final = Problem(408, "http_request_error", "The request's head did not come in time.")
BODY_TOO_LARGE: Final = Problem(
    413, "http_request_error", "The request's body is larger than allowed."
)

_PHRASES: Final = {414: "URI Too Long"}
"""As RFC 9110 has them, where `http` of the oldest Python has others."""

_REFUSALS: Final = {
    QueueFull: "Every worker is at its limit, and the queue is full.",
    QueueTimeout: "Every worker stayed at its limit for as long as a request may wait.",
    NoEndpoint: "No worker was ready for as long as a request may wait.",
}

_FAILURES: Final = {
    Outcome.CONNECT_REFUSED: Problem(502, "connection_refused", "The worker refused."),
    Outcome.CONNECT_SILENT: Problem(504, "connection_timeout", "The worker did not accept."),
    Outcome.DIED: Problem(
        502,
        "connection_terminated",
        "The worker's connection ended without an answer, and the request may not be sent again:"
        " it is not idempotent, or its body was too long to keep.",
    ),
    Outcome.TIMED_OUT: Problem(504, "http_response_timeout", "The worker did not answer in time."),
    Outcome.STALLED: Problem(504, "connection_write_timeout", "The worker stopped reading."),
    Outcome.GARBLED: Problem(502, "http_protocol_error", "The worker's answer was not HTTP."),
    Outcome.EXPIRED: EXPIRED,
}


def refusal(reason: Refusal) -> Problem:
    """Say why there was no slot."""
    kind = "destination_unavailable" if isinstance(reason, NoEndpoint) else "http_request_denied"
    return Problem(503, kind, _REFUSALS[type(reason)], RETRY_AFTER)


def failure(outcome: Outcome) -> Problem:
    """Say how the last attempt ended."""
    return _FAILURES[outcome]


def misunderstood(error: ProtocolError) -> Problem:
    """Say what is wrong with the request."""
    return Problem(error.status, "http_request_error", f"Bad request: {error.detail}.")


def serialise(
    problem: Problem,
    identifier: bytes,
    *,
    keep_alive: bool,
    with_body: bool,
    lines: bytes = b"",
) -> bytes:
    """Write the whole answer, with further field `lines`; without its body for HEAD."""
    phrase = _PHRASES.get(problem.status) or HTTPStatus(problem.status).phrase
    body = json.dumps(
        {
            "type": "about:blank",
            "title": phrase,
            "status": problem.status,
            "detail": problem.detail,
            "request_id": identifier.decode("latin-1"),
        }
    ).encode()
    head = [
        f"HTTP/1.1 {problem.status} {phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"Proxy-Status: leastwise; error={problem.error}",
        f"X-Request-ID: {identifier.decode('latin-1')}",
        "Cache-Control: no-store",
    ]
    if problem.retry_after is not None:
        head.append(f"Retry-After: {problem.retry_after}")
    if not keep_alive:
        head.append("Connection: close")
    raw = "\r\n".join([*head, ""]).encode("latin-1") + date_line() + lines + b"\r\n"
    return raw + body if with_body else raw
