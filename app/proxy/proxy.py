"""What all requests share: the pool, its connections, the clients, and the counters."""

import asyncio
from collections import Counter
from typing import Protocol

from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.config.settings import Settings
from app.proxy.connections import Connections
from app.proxy.deadlines import Deadlines
from app.proxy.downstream import Downstream
from app.proxy.exchange import Exchange
from app.proxy.hangups import Hangups


class ExchangeObserver(Protocol):
    """Told of the attempts of requests: for measurements, None in ordinary runs."""

    def sent(self, exchange: Exchange) -> None:
        """Follow a request whose first bytes were just written to a worker."""

    def retried(self, exchange: Exchange, outcome: Outcome) -> None:
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


class Proxy:
    """The data path of one pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.deadlines = Deadlines()
        self.hangups = Hangups(loop)
        self.connections = Connections(pool, self.deadlines)
        self.stats = Stats()
        self.observer: ExchangeObserver | None = None
        self.downstreams: set[Downstream] = set()
        self.draining = False
        """Whether clients are to be sent away after their current request."""

        self.on_room = _nothing
        """Called when a client's connection has ended; the listener's."""

    @property
    def busy(self) -> bool:
        """Whether a client is connected or a worker still has a request of ours."""
        return bool(self.downstreams) or self.pool.in_flight > 0

    def tick(self, now: float) -> None:
        """End what has taken too long. To be called every `deadlines.TICK` seconds."""
        self.deadlines.sweep(now)
        self.pool.tick(now)

    def forget(self, downstream: Downstream) -> None:
        """Take note that a client's connection has ended."""
        self.downstreams.discard(downstream)
        self.deadlines.forget(downstream)
        self.on_room()

    def drain(self) -> None:
        """Send clients away: the idle ones now, the others with their answer."""
        self.draining = True
        for downstream in list(self.downstreams):
            downstream.drain()

    def close(self) -> None:
        """Break off whatever is left."""
        for downstream in list(self.downstreams):
            downstream.abort()
        self.connections.close()
        self.hangups.close()


def _nothing() -> None:
    """Do nothing: there is no listener yet."""
