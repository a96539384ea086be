"""What is known of one request: its head, its body, and what becomes of it, when, and where.

Written by the exchange that is made of it, read by telemetry: it is an
`app.telemetry.requests.EndedRequest`, which says what each value means. Times are of
`time.monotonic()`; 0.0 means that it has not come to that.
"""

from app.balancing.endpoint import Endpoint
from app.http1.requests import RequestHead
from app.proxy.headers import request_id
from app.proxy.replay import Replay
from app.telemetry.endings import COMPLETE


class Record:
    """The facts of one request."""

    __slots__ = (
        "answered_at",
        "arrived",
        "attempts",
        "body",
        "bytes_out",
        "ended_at",
        "ending",
        "endpoint",
        "granted_at",
        "head",
        "identifier",
        "ready_at",
        "sent_at",
        "status",
    )

    def __init__(self, head: RequestHead, body: Replay, now: float) -> None:
        self.head = head
        self.body = body
        self.identifier = request_id(head)
        self.endpoint: Endpoint | None = None
        """The worker that has it, or had it last."""

        self.attempts = 0
        self.status = 0
        self.bytes_out = 0
        self.arrived = now
        self.ready_at = self.granted_at = self.sent_at = self.answered_at = self.ended_at = 0.0
        self.ending = COMPLETE

    @property
    def method(self) -> bytes:
        """The request's method."""
        return self.head.method

    @property
    def target(self) -> bytes:
        """Path and query."""
        return self.head.target

    @property
    def worker(self) -> str:
        """The name of the worker that has it, or had it last."""
        return "" if self.endpoint is None else self.endpoint.name

    @property
    def bytes_in(self) -> int:
        """Bytes of the request's body that have come."""
        return self.body.size
