"""Time as a number: what is to happen, in order. Ties go to what was planned first."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Events:
    """A clock that jumps from one event to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""

        self._planned: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()

    @property
    def next_at(self) -> float:
        """When the next event is due. Raises IndexError if nothing is planned."""
        return self._planned[0][0]

    def after(self, seconds: float, happen: Callable[..., object], *about: object) -> None:
        """Plan an event so many seconds from now. Raises ValueError if it would lie in the past."""
        self.at(self.now + seconds, happen, *about)

    def at(self, when: float, happen: Callable[..., object], *about: object) -> None:
        """Plan an event. Raises ValueError if it would lie in the past."""
        if when < self.now:
            raise ValueError(f"an event {self.now - when} s in the past")
        heappush(self._planned, (when, next(self._numbers), happen, about))

    def step(self) -> None:
        """Let the next event happen. Raises IndexError if nothing is planned."""
        self.now, _, happen, about = heappop(self._planned)
        happen(*about)
