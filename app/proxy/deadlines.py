"""Deadlines without a timer each: connections are enrolled in coarse slots and swept.

A connection's deadline moves with every request, mostly further away. So it is enrolled only if
it has no earlier entry; when the slot comes, the connection says whether its time is really over
or when to look again. On a busy connection that costs one comparison a request. `app.runtime`
calls `sweep` every `TICK` seconds; a deadline is kept to within two ticks. A connection that ends
is to be forgotten: deadlines are minutes away, and thousands of clients may come and go in that.
"""

import logging
from math import inf
from typing import Final, Protocol

TICK: Final = 0.05

log: Final = logging.getLogger(__name__)


class Mortal(Protocol):
    """Something with a deadline."""

    armed: float
    """When it is looked at next, owned by `Deadlines`; `inf` at first."""

    def expire(self, now: float) -> float | None:
        """Do what the time demands; return when to look again, None for not until armed."""


class Deadlines:
    """All enrolled connections, by the tick in which they are looked at."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Mortal]] = {}
        self._next = 0
        """The first tick that has not been swept."""

    def arm(self, mortal: Mortal, when: float) -> None:
        """Look at `mortal` at `when` (monotonic seconds) at the latest."""
        if when >= mortal.armed:
            return
        self.forget(mortal)
        mortal.armed = when
        self._slots.setdefault(self._slot(when), set()).add(mortal)

    def forget(self, mortal: Mortal) -> None:
        """Look at `mortal` no more; harmless if it was not armed."""
        if mortal.armed != inf:
            self._slots.get(self._slot(mortal.armed), set()).discard(mortal)
            mortal.armed = inf

    def sweep(self, now: float) -> None:
        """Look at all whose slot has come."""
        current = int(now / TICK)
        first, self._next = self._next, current + 1
        due = list(range(first, current + 1)) if current - first < len(self._slots) else None
        if due is None:  # the first sweep, a quiet time, or a long stop of the process
            due = sorted(tick for tick in self._slots if tick <= current)
        for tick in due:
            for mortal in self._slots.pop(tick, ()):
                if mortal.armed > now:
                    continue  # forgotten, or enrolled anew for later, in this very sweep
                mortal.armed = inf
                try:
                    when = mortal.expire(now)
                except Exception:  # one connection's fault is not to end all the others
                    log.exception("looking at %r has failed", mortal)
                    continue
                if when is not None:
                    self.arm(mortal, max(when, now + TICK))

    def _slot(self, when: float) -> int:
        """Return the tick in which `when` is looked at; it stays the same until that is swept."""
        return max(int(when / TICK) + 1, self._next)
