"""What the requests to one pool share: the pool, its connections, its counters, its observer."""

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from app.balancing.endpoint import Endpoint
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.proxy.connections import Connections
from app.telemetry.requests import EndedRequest, RequestStats

if TYPE_CHECKING:
    from app.proxy.exchange import Exchange
    from app.proxy.proxy import Proxy


class ExchangeObserver(Protocol):
    """Told of the attempts of requests: for measurements, None in ordinary runs."""

    def sent(self, exchange: "Exchange") -> None:
        """Follow a request whose first bytes were just written to a worker."""

    def retried(self, exchange: "Exchange", outcome: Outcome) -> None:
        """Follow a request that will be sent again."""


class LostRequests(Protocol):
    """Remembers requests that lost their worker: `app.telemetry.events`."""

    def lost(self, identifier: bytes, worker: str, outcome: Outcome, *, again: bool) -> None:
        """Take in a lost attempt, and whether the request is sent again."""


class RequestTracing(Protocol):
    """Makes spans: `app.telemetry.tracing`."""

    def sent(self, request: EndedRequest, endpoint: Endpoint, fields: bytes) -> bytes:
        """Begin an attempt; return the field lines to send in place of `fields`."""

    def failed(self, request: EndedRequest, outcome: Outcome) -> None:
        """End an attempt that is followed by another."""

    def ended(self, request: EndedRequest, fields: bytes) -> None:
        """End the request."""


class Stats:
    """Plain counters, read by whoever shows them."""

    __slots__ = ("answers", "clients_gone", "requests", "retries")

    def __init__(self) -> None:
        self.requests = 0
        """Requests admitted."""

        self.retries: Counter[Outcome] = Counter()
        """Requests sent again, by how the attempt before had ended."""

        self.answers: Counter[int] = Counter()
        """Answers of ours in a worker's place, by status."""

        self.clients_gone = 0
        """Clients that left before their answer was complete."""


class Backend:
    """One pool, as the exchanges use it."""

    __slots__ = (
        "connections",
        "events",
        "observer",
        "pool",
        "proxy",
        "requests",
        "stats",
        "tracing",
    )

    def __init__(self, proxy: "Proxy", pool: Pool) -> None:
        self.proxy = proxy
        self.pool = pool
        self.connections = Connections(pool, proxy.deadlines)
        self.stats = Stats()
        self.requests: RequestStats | None = RequestStats()
        """Told of each request that is over; None leaves them uncounted."""

        self.events: LostRequests | None = None
        """Told of each request that lost its worker."""

        self.tracing: RequestTracing | None = None
        """Told of attempts, where spans are wanted."""

        self.observer: ExchangeObserver | None = None
