"""The pool's last ten minutes, a row a second: kept here, so that a page opened late sees them.

With several replicas, what is under way and what waits is that of all of them, as the slots are;
the requests that ended are those of this replica.

`History.run` is a task of the composition root. A row is what was so at that moment, and what had
changed since the row before.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.balancing.pool import Pool
from app.telemetry.requests import BOUNDS, RequestStats

KEPT = 600
"""Rows that are remembered."""

STEP = 1.0
"""Seconds from row to row."""


class Row(NamedTuple):
    """One second of the pool."""

    at: float
    """Seconds since 1970."""

    in_flight: int
    """Requests at workers, of all replicas where that is known."""

    queued: int
    """Requests that wait, likewise."""

    slots: int | None
    """How many requests the workers in rotation may have together; None without a cap."""

    workers: int
    """How many are in rotation."""

    ended: int
    """Requests of this replica that ended within the step."""

    failed: int
    """Those of them that were answered 5xx or not at all."""

    retried: int
    """Attempts of this replica within the step that were sent again."""

    p50: float | None
    """Half of those that ended took at most so long, in seconds; None if none did."""

    p99: float | None


class History:
    """The rows of one pool.

    `retries` tells how many attempts were sent again since the start, `load` how many requests
    are at workers and how many wait (without it: those that the pool knows of).
    """

    def __init__(
        self,
        pool: Pool,
        stats: RequestStats,
        retries: Callable[[], int],
        wall: Callable[[], float] = time.time,
        load: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._pool = pool
        self._stats = stats
        self._retries = retries
        self._wall = wall
        self._load = load or (lambda: (pool.in_flight, pool.queued))
        self._rows: deque[Row] = deque(maxlen=KEPT)
        self._counts = list(stats.duration.counts)
        self._classes = list(stats.classes)
        self._retried = 0

    def __iter__(self) -> Iterator[Row]:
        """All rows, the oldest first."""
        return iter(self._rows)

    @property
    def last(self) -> float:
        """When the newest row was taken, in seconds since 1970; 0 before the first."""
        return self._rows[-1].at if self._rows else 0.0

    def since(self, at: float) -> list[Row]:
        """Return the rows after that time."""
        return [row for row in self._rows if row.at > at] if self.last > at else []

    async def run(self) -> None:
        """Take a row each step until cancelled."""
        while True:
            await asyncio.sleep(STEP)
            self.take()

    def take(self) -> None:
        """Take a row now, and forget what is kept of workers that have left."""
        pool, stats = self._pool, self._stats
        counts, classes, retried = list(stats.duration.counts), list(stats.classes), self._retries()
        ended = [now - before for now, before in zip(counts, self._counts, strict=True)]
        by_class = [now - before for now, before in zip(classes, self._classes, strict=True)]
        cap = pool.policy.max_in_flight
        in_flight, queued = self._load()
        row = Row(
            at=round(self._wall(), 3),
            in_flight=in_flight,
            queued=queued,
            slots=None if cap is None else cap * len(pool.rotation),
            workers=len(pool.rotation),
            ended=sum(ended),
            failed=by_class[0] + by_class[5],
            retried=retried - self._retried,
            p50=quantile(ended, 0.5),
            p99=quantile(ended, 0.99),
        )
        self._counts, self._classes, self._retried = counts, classes, retried
        self._rows.append(row)
        stats.forget({endpoint.name for endpoint in pool.endpoints.values()})


def quantile(counts: list[int], share: float) -> float | None:
    """Estimate the time within which `share` of the requests lay, as Prometheus does it.

    Within a bucket they are taken to lie evenly; beyond the last bound, at that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            if place == len(BOUNDS):
                break
            low = BOUNDS[place - 1] if place else 0.0
            return round(low + (BOUNDS[place] - low) * (rank - below) / count, 4)
        below += count
    return BOUNDS[-1]
