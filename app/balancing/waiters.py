"""The queue: requests that wait for a slot, in order.

Two lanes, each first in, first out: requests that were sent before and lost their worker, then
the fresh ones. Leaving from the middle (a client that goes away) is O(1). Owned by `Pool`.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.balancing.endpoint import Endpoint
    from app.balancing.errors import Refusal
    from app.balancing.lease import Lease


class Claimant(Protocol):
    """Who waits: told once, by exactly one of the two.

    It is told in the middle of the pool's work and had better not call the pool from there: a
    release is handled, but each one nests, and an acquire may overtake those who wait.
    """

    def granted(self, lease: "Lease") -> None:
        """Take the slot; it is counted already."""

    def refused(self, refusal: "Refusal") -> None:
        """No slot: the wait is over."""


class Waiter:
    """A place in the queue. `Pool.cancel` leaves it."""

    __slots__ = ("claimant", "deadline", "elsewhere", "expires", "retried", "since", "tried")

    def __init__(
        self,
        claimant: Claimant,
        since: float,
        deadline: float,
        tried: "frozenset[Endpoint]",
        *,
        retried: bool,
        expires: float = inf,
        elsewhere: bool = False,
    ) -> None:
        self.claimant = claimant
        self.since = since
        self.deadline = deadline
        """When the wait ends."""

        self.tried = tried
        self.retried = retried
        self.expires = expires
        """When the request has to be over: a part of the lease that it will get."""

        self.elsewhere = elsewhere
        """Whether it waits in another replica, and here only for its slot."""


class Waiters:
    """All that wait, with their order and their deadlines."""

    def __init__(self) -> None:
        # OrderedDict and not dict: taking the first of a dict again and again is quadratic.
        self._retried: OrderedDict[Waiter, None] = OrderedDict()
        self._fresh: OrderedDict[Waiter, None] = OrderedDict()
        # Who left early stays in the heap until its deadline or the next compaction.
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self.standing = 0
        """How many wait."""

        self.elsewhere = 0
        """How many of them wait in other replicas."""

    def __len__(self) -> int:
        return self.standing

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._lane(waiter)

    def __iter__(self) -> Iterator[Waiter]:
        """All waiters, first to be served first."""
        yield from self._retried
        yield from self._fresh

    @property
    def fresh(self) -> int:
        """How many wait for their first slot: what the queue's size bounds."""
        return len(self._fresh)

    def join(self, waiter: Waiter) -> None:
        """Line up behind the others of the same lane."""
        self._lane(waiter)[waiter] = None
        self.standing += 1
        self.elsewhere += waiter.elsewhere
        heappush(self._deadlines, (waiter.deadline, next(self._numbers), waiter))

    def sort(self) -> None:
        """Line up by age: some have come who had waited elsewhere before."""
        for lane in (self._retried, self._fresh):
            waiters = sorted(lane, key=attrgetter("since"))
            lane.clear()
            lane.update(dict.fromkeys(waiters))

    def leave(self, waiter: Waiter) -> bool:
        """Leave from wherever it stands; return whether it still stood."""
        lane = self._lane(waiter)
        if waiter not in lane:
            return False
        del lane[waiter]
        self.standing -= 1
        self.elsewhere -= waiter.elsewhere
        if len(self._deadlines) > 64 + 2 * len(self):
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self]
            heapify(self._deadlines)
        return True

    def expire(self, now: float) -> list[Waiter]:
        """Take out those whose deadline has come, the earliest deadline first."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = heappop(self._deadlines)[2]
            if self.leave(waiter):
                expired.append(waiter)
        return expired

    def _lane(self, waiter: Waiter) -> OrderedDict[Waiter, None]:
        return self._retried if waiter.retried else self._fresh
