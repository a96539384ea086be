"""The last events of all pools of a balancer, numbered: the only place that keeps them.

Made by the composition root; each pool's `Events` adds its own. The dashboard's feed reads those of
one pool, `GET /events` those of all since a number: a counter that is polled misses what went and
came back between two polls, a number in a sequence does not. What always holds: numbers grow by one
for all pools together, as long as the process runs, and stand on the log's lines too; a pool in
which much happens pushes out its own events only.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Final

KEPT: Final = 500
"""Events that are remembered of each pool, and of all that have left together."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    number: int
    at: float
    """Seconds since 1970."""

    pool: str
    kind: str
    """What a person would call it: joined, ejected, back, draining, unready, left; config, probe,
    balancer; lost, of a request that lost its worker."""

    text: str
    worker: str = ""
    """The endpoint's name; empty where it is not about one."""

    address: str = ""
    phase: str = ""
    reason: str = ""
    in_flight: int = 0
    """How many requests the worker had."""

    after: float | None = None
    """Seconds: of an ejection since the first sign of trouble, of a return since it was out. None
    where an ejected worker only comes to be seen again, or one is back that was never ejected."""

    request_id: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return what is set."""
        return {name: value for name, value in asdict(self).items() if value not in {"", None}}

    def fields(self) -> Mapping[str, object]:
        """Return what is set and not said by a line of the log anyway."""
        told = self.as_dict()
        told["event"] = told.pop("number")
        del told["text"], told["at"]
        return told


class Ring:
    """The last events of all pools."""

    def __init__(self, each: int = KEPT, wall: Callable[[], float] = time.time) -> None:
        self.instance: Final = token_hex(8)
        """Which process numbered them: another one begins at 1 again."""

        self.last = 0
        """The number of the newest event; 0 before the first."""

        self._each = each
        self._wall = wall
        self._kept: dict[object, deque[Event]] = {}
        """By who added them."""

        self._left: deque[Event] = deque(maxlen=each)
        """Of pools that are no more."""

    def stamp(self) -> tuple[int, float]:
        """Return the number and the time of an event that is to be added at once."""
        self.last += 1
        return self.last, self._wall()

    def add(self, owner: object, event: Event) -> None:
        """Keep an event of the pool that is `owner`'s."""
        kept = self._kept.get(owner)
        if kept is None:
            kept = self._kept[owner] = deque(maxlen=self._each)
        kept.append(event)

    def of(self, owner: object) -> list[Event]:
        """Return what is kept of one pool, the oldest first."""
        return list(self._kept.get(owner, ()))

    def since(self, number: int) -> tuple[list[Event], int]:
        """Return all pools' events after `number`, and how many of those are kept no more."""
        if number >= self.last:
            return [], 0
        events = [
            event
            for kept in (*self._kept.values(), self._left)
            for event in kept
            if event.number > number
        ]
        events.sort(key=lambda event: event.number)
        return events, self.last - number - len(events)

    def release(self, owner: object) -> None:
        """The pool is no more: its events have to make room for those of the next that leave."""
        self._left.extend(self._kept.pop(owner, ()))
