"""What happened to the workers, numbered, for whoever asks by the admin port: `GET /events`.

A counter that is polled misses what went and came back between two polls; a number in a sequence
does not. The ring holds the last `SIZE` events of all pools; who asks for those since a number
learns whether some were lost meanwhile. `Ring.observer` is an observer of a pool.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import Final, Literal

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.pool import Pool

SIZE: Final = 1000
"""Events that are kept. A flapping worker makes a few in a second."""

Kind = Literal["Ejected", "Returned"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    number: int
    """From 1, without gaps, as long as the process runs."""

    time: float
    """Seconds of the epoch."""

    pool: str
    kind: Kind
    worker: str
    """The endpoint's name: the pod's, or its address."""

    address: str
    reason: str
    """What was seen of it, for people."""


class Ring:
    """The last events of a balancer's pools."""

    def __init__(self, size: int = SIZE, clock: Callable[[], float] = time) -> None:
        self.instance: Final = token_hex(8)
        """Which process numbered them: another one begins at 1 again."""

        self.last = 0
        """The number of the latest event."""

        self._events: deque[Event] = deque(maxlen=size)
        self._clock = clock

    def observer(self, pool: Pool) -> "RingObserver":
        """Make an observer of the pool, to be told of its changes."""
        return RingObserver(self, pool)

    def add(self, pool: str, kind: Kind, endpoint: Endpoint) -> None:
        """Take note of an event."""
        self.last += 1
        spec = endpoint.spec
        host = f"[{spec.host}]" if ":" in spec.host else spec.host
        address, reason = f"{host}:{spec.port}", endpoint.health.reason
        self._events.append(
            Event(self.last, self._clock(), pool, kind, endpoint.name, address, reason)
        )

    def since(self, number: int) -> tuple[list[Event], int]:
        """Return the events after `number`, and how many of those have been lost."""
        events = [event for event in self._events if event.number > number]
        return events, max(0, self.last - number) - len(events)


class RingObserver:
    """Observes one pool: which endpoints were ejected, and which are back."""

    def __init__(self, ring: Ring, pool: Pool) -> None:
        self._ring = ring
        self._pool = pool
        self._out: set[Endpoint] = set()
        """Those that were ejected and are not back: Kubernetes may call one unready meanwhile."""

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Take note of an ejection and of a return."""
        phase = endpoint.phase
        if phase is Phase.EJECTED and endpoint not in self._out:
            self._out.add(endpoint)
            self._ring.add(self._pool.name, "Ejected", endpoint)
        elif phase is Phase.READY and endpoint in self._out:
            self._out.discard(endpoint)
            self._ring.add(self._pool.name, "Returned", endpoint)
        elif phase is Phase.GONE:
            self._out.discard(endpoint)

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Nothing to say: the phase does."""
