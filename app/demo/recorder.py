"""Watches a balancer from inside, for measurements, at little cost.

It observes the pool, the dispatches and the exchanges, all in the event loop's thread. A record
is an object in a list while requests are under way; a task turns the list into lines of a file
ten times a second. The file, unlike a pipe, makes nobody wait for a reader.
"""

import asyncio
from time import monotonic
from typing import TextIO

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.lease import Lease, Outcome
from app.balancing.pool import Pool
from app.demo.records import Changed, Granted, Queued, Record, Released, Retried, Sent, to_line
from app.proxy.exchange import Exchange

FLUSH = 0.1
"""Seconds between two writes."""


class Recorder:
    """Records one pool; `names` are the workers' by their endpoints' names."""

    def __init__(self, pool: Pool, file: TextIO, names: dict[str, str]) -> None:
        self._pool = pool
        self._file = file
        self._names = names
        self._records: list[Record] = []
        self._queued = 0
        self._known: dict[Endpoint, tuple[Phase, bool, float]] = {}

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                await asyncio.sleep(FLUSH)
                self.flush()
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what was recorded since the last time."""
        if self._pool.queued != self._queued:
            self._queued = self._pool.queued
            self._records.append(Queued(monotonic(), self._queued))
        records, self._records = self._records, []
        if records:
            self._file.writelines(map(to_line, records))
            self._file.flush()

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Record what the endpoint has become."""
        self._changed(endpoint, now)

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Record what the endpoint has become, unless its phase told it."""
        self._changed(endpoint, now)

    # --- as observer of the dispatches

    def granted(self, lease: Lease, pool: Pool) -> None:
        """Record who has got a request, and who could have."""
        endpoints = pool.endpoints.values()
        self._records.append(
            Granted(
                monotonic(),
                self._name(lease.endpoint),
                {self._name(endpoint): endpoint.in_flight for endpoint in endpoints},
                [self._name(endpoint) for endpoint in endpoints if self._choosable(endpoint)],
            )
        )

    def released(self, lease: Lease, outcome: Outcome) -> None:
        """Record a free slot."""
        endpoint = lease.endpoint
        name = self._name(endpoint)
        self._records.append(Released(monotonic(), name, endpoint.in_flight, outcome.value))

    # --- as observer of the exchanges

    def sent(self, exchange: Exchange) -> None:
        """Record an attempt."""
        now, endpoint = monotonic(), exchange.endpoint
        if endpoint is not None:
            name = self._name(endpoint)
            self._records.append(
                Sent(now, name, _text(exchange), exchange.attempts, exchange.waiting_since)
            )

    def retried(self, exchange: Exchange, outcome: Outcome) -> None:
        """Record a failed attempt."""
        self._records.append(
            Retried(monotonic(), _text(exchange), exchange.attempts, outcome.value)
        )

    # --- inside

    def _changed(self, endpoint: Endpoint, now: float) -> None:
        state = endpoint.phase, self._choosable(endpoint), endpoint.health.since
        if self._known.get(endpoint) != state:
            self._known[endpoint] = state
            phase, choosable, _ = state
            name, reason = self._name(endpoint), endpoint.health.reason
            self._records.append(Changed(monotonic(), now, name, phase.value, choosable, reason))

    def _choosable(self, endpoint: Endpoint) -> bool:
        return endpoint in self._pool.rotation and not endpoint.withheld

    def _name(self, endpoint: Endpoint) -> str:
        return self._names.get(endpoint.name, endpoint.name)


def _text(exchange: Exchange) -> str:
    return exchange.identifier.decode("ascii", "replace")
