"""The choice: least connections, ties to the endpoint least recently chosen.

A heap of integers, each an endpoint's count and ticket in one: `in_flight << 48 | ticket`. The
ticket is renewed at each choice, so among equals the smallest was chosen longest ago; an endpoint
that was never chosen has a random one below all others. An entry whose ticket nobody holds any
more is left in the heap and dropped when it comes to the top. While an endpoint holds a ticket its
count only falls, so its valid entry lies above its outdated ones, and leaves them without a holder
when it is chosen. Pick and update are O(log n) in C.

It is a part of `Pool`, which owns the counts: a choice is counted here, at selection, so that a
burst cannot pile up on one endpoint; every other change is made by `Pool` and told by `update`.
"""

from collections.abc import Collection
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from random import Random
from typing import Final

from app.balancing.endpoint import Endpoint

_BITS: Final = 48
_MASK: Final = (1 << _BITS) - 1
_FIRST_TICKET: Final = 1 << 32
"""Tickets below are the random ones of endpoints that were never chosen."""


class Picker:
    """The endpoints that may be chosen now, in order of choice."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tickets = count(_FIRST_TICKET)
        self._heap: list[int] = []
        self._holders: dict[int, Endpoint] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, endpoint: Endpoint) -> bool:
        return self._holders.get(endpoint.ticket) is endpoint

    def add(self, endpoint: Endpoint) -> None:
        """Let the endpoint be chosen. It keeps its place among the recently chosen."""
        while endpoint.ticket == 0 or self._holders.get(endpoint.ticket, endpoint) is not endpoint:
            endpoint.ticket = self._random.randrange(1, _FIRST_TICKET)
        self._holders[endpoint.ticket] = endpoint
        self.update(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        """Let the endpoint be chosen no more."""
        del self._holders[endpoint.ticket]

    def update(self, endpoint: Endpoint) -> None:
        """Follow a fall of the endpoint's count; harmless if it is not to be chosen."""
        ticket = endpoint.ticket
        if self._holders.get(ticket) is not endpoint:
            return
        heap = self._heap
        heappush(heap, endpoint.in_flight << _BITS | ticket)
        if len(heap) > 64 + 4 * len(self._holders):
            self._heap = [e.in_flight << _BITS | e.ticket for e in self._holders.values()]
            heapify(self._heap)

    def take(self, endpoint: Endpoint) -> None:
        """Count a slot that was not chosen here, whether or not it could have been.

        The ticket is renewed, as at a choice: entries of the old one show a smaller count.
        """
        chosen = endpoint in self
        if chosen:
            del self._holders[endpoint.ticket]
        endpoint.ticket = next(self._tickets)
        endpoint.in_flight += 1
        if chosen:
            self._holders[endpoint.ticket] = endpoint
            self.update(endpoint)

    def pick(self, cap: int | None, excluded: Collection[Endpoint] = ()) -> Endpoint | None:
        """Choose the endpoint for one request and count it there.

        None if no endpoint outside `excluded` has fewer than `cap` in flight.
        """
        heap, holders = self._heap, self._holders
        passed_over: list[int] = []
        chosen = None
        while heap:
            key = heap[0]
            endpoint = holders.get(key & _MASK)
            if endpoint is None:
                heappop(heap)
                continue
            if cap is not None and endpoint.in_flight >= cap:
                break
            if endpoint in excluded:
                passed_over.append(heappop(heap))
                continue
            del holders[endpoint.ticket]
            endpoint.ticket = next(self._tickets)
            endpoint.in_flight += 1
            holders[endpoint.ticket] = endpoint
            heapreplace(heap, endpoint.in_flight << _BITS | endpoint.ticket)
            chosen = endpoint
            break
        for key in passed_over:
            heappush(heap, key)
        return chosen
