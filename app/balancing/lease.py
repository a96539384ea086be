"""A lease: one slot on one endpoint, given by `Pool`, held by one attempt of one request.

It is released exactly once, whatever happened, with an `Outcome` that says what. A release after
the endpoint has left the pool is harmless.
"""

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from app.balancing.errors import LeaseReleasedError
from app.balancing.health import Sign

if TYPE_CHECKING:
    from app.balancing.endpoint import Endpoint
    from app.balancing.pool import Pool


class Outcome(Enum):
    """How an attempt ended. The value is said to people."""

    ANSWERED = "answered"
    """The worker's response was read to its end, whatever its status."""

    REFUSED = "refused"
    """The worker answered a status that means "full, nothing done"."""

    CONNECT_REFUSED = "connection refused"
    CONNECT_SILENT = "connection not accepted in time"
    DIED = "connection died"
    """Reset or closed before the response's end."""

    TIMED_OUT = "no answer in time"
    STALLED = "stalled"
    """A body stopped flowing for longer than `timeouts.between_bytes`."""

    GARBLED = "not understood"
    """What came was not HTTP."""

    CLIENT_GONE = "client gone"
    EXPIRED = "request timed out"
    """The time for the whole request was over."""

    CANCELLED = "cancelled"
    """We gave the attempt up before it was sent."""


SIGNS: Final = {
    Outcome.CONNECT_REFUSED: Sign.CONNECT_REFUSED,
    Outcome.CONNECT_SILENT: Sign.CONNECT_SILENT,
    Outcome.DIED: Sign.DIED,
    Outcome.TIMED_OUT: Sign.TIMED_OUT,
}
"""What the end of an attempt says about the endpoint's health; the others say nothing."""

LET_DOWN: Final = frozenset({Outcome.DIED, Outcome.TIMED_OUT, Outcome.STALLED, Outcome.GARBLED})
"""Outcomes that are the worker's fault after it took the request."""


class Lease:
    """One slot on one endpoint, until `release`."""

    __slots__ = ("_pool", "elsewhere", "endpoint", "expires", "granted_at", "released")

    def __init__(
        self,
        pool: "Pool",
        endpoint: "Endpoint",
        granted_at: float,
        expires: float,
        *,
        elsewhere: bool,
    ) -> None:
        self._pool = pool
        self.endpoint = endpoint
        self.granted_at = granted_at
        self.expires = expires
        """When its request has to be over; infinite without such a limit."""

        self.elsewhere = elsewhere
        """Whether another replica has the request, and it is only counted here."""

        self.released = False

    def release(
        self, outcome: Outcome, now: float, *, retry_after: float | None = None, detail: str = ""
    ) -> None:
        """Give the slot back; it goes to the first waiter before this returns.

        `retry_after` (seconds) is the worker's word with `Outcome.REFUSED`. Raises
        `LeaseReleasedError` the second time.
        """
        if self.released:
            raise LeaseReleasedError(f"{self.endpoint.name}: {outcome.value}")
        self.released = True
        self._pool.take_back(self, outcome, now, retry_after, detail)

    def unbound(self) -> None:
        """Hold the slot for as long as it takes: the request has become a tunnel."""
        self.expires = inf
        if self._pool.decider is not None:
            self._pool.decider.unbounded(self)
