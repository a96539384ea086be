"""What the requests to one pool share: the pool, its connections, its counters, its observer."""

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.proxy.connections import Connections
from app.telemetry.requests import RequestStats

if TYPE_CHECKING:
    from app.proxy.exchange import Exchange
    from app.proxy.proxy import Proxy


class ExchangeObserver(Protocol):
    """Told of the attempts of requests: for measurements, None in ordinary runs."""

    def sent(self, exchange: "Exchange") -> None:
        """Follow a request whose first bytes were just written to a worker."""

    def retried(self, exchange: "Exchange", outcome: Outcome) -> None:
        """Follow a request that will be sent again."""


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

    __slots__ = ("connections", "observer", "pool", "proxy", "requests", "stats")

    def __init__(self, proxy: "Proxy", pool: Pool) -> None:
        self.proxy = proxy
        self.pool = pool
        self.connections = Connections(pool, proxy.deadlines)
        self.stats = Stats()
        self.requests: RequestStats | None = RequestStats()
        """Told of each request that is over; None leaves them uncounted."""

        self.observer: ExchangeObserver | None = None
