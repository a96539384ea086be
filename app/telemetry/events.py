"""What happened to the workers and to the balancer: the last events, and the log's lines of them.

Observes a pool; the composition root adds what is no change of a worker by `note`, and brackets
each snapshot of discovery with `together`: a line for each of 1,000 workers that join at once would
hold up all requests for 10 ms, and nobody would read them. Each event has
a number, the same here, in the log and on the dashboard's time line. What comes and goes by the
second (suspicion without a consequence, a worker that says "full") is in the log at level DEBUG
only: it would push everything else out.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import NamedTuple

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Health, Sign
from app.balancing.lease import Outcome

log = logging.getLogger("leastwise.events")

KEPT = 500
"""Events that are remembered."""

FEW = 10
"""Up to so many changes of one kind, in one snapshot, are an event each."""

_NAMED = 3
"""So many workers are named in an event of more."""

_PASSING = frozenset({Phase.SUSPECT, Phase.REFUSING})
_LEVELS = {Phase.EJECTED: logging.WARNING}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    number: int
    at: float
    """Seconds since 1970."""

    kind: str
    """What a person would call it: joined, ejected, back, draining, unready, left; config,
    balancer; lost, of a request that lost its worker."""

    text: str
    worker: str = ""
    phase: str = ""
    reason: str = ""
    in_flight: int = 0
    """How many requests the worker had."""

    after: float | None = None
    """Seconds: of an ejection since the first sign of trouble, of a return since it was out."""

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


class _Change(NamedTuple):
    """What happened to one endpoint, as it was then."""

    endpoint: Endpoint
    before: Phase | None
    phase: Phase
    in_flight: int
    after: float | None

    @property
    def passing(self) -> bool:
        """Whether it comes and goes by the second."""
        back = self.phase is Phase.READY and self.before in _PASSING
        return back or self.phase in _PASSING

    @property
    def told(self) -> str:
        """From where to where."""
        return f"{'new' if self.before is None else self.before.value} -> {self.phase.value}"

    @property
    def kind(self) -> str:
        """What a person would call it."""
        if self.phase is Phase.READY:
            return "joined" if self.before in {None, Phase.GONE} else "back"
        if self.before is None:
            return "joined"
        return "left" if self.phase is Phase.GONE else self.phase.value


class Events:
    """The last events of one pool, and how often workers were ejected."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._numbers = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._gathered: list[_Change] | None = None
        """What happened within `together`; None outside of it."""

        self._doubted: dict[str, float] = {}
        self._out: dict[str, float] = {}
        self.ejections: Counter[Sign] = Counter()
        """By the sign that ejected."""

    def __iter__(self) -> Iterator[Event]:
        """All that are remembered, the oldest first."""
        return iter(self._kept)

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._numbers

    def since(self, number: int) -> list[Event]:
        """Return the events after that number."""
        if number >= self._numbers:
            return []
        return [event for event in self._kept if event.number > number]

    def note(self, kind: str, text: str, level: int = logging.INFO) -> None:
        """Remember and log what is no change of a worker's phase."""
        self._add(Event(self._next(), self._wall(), kind, text), level)

    def lost(self, identifier: bytes, worker: str, outcome: Outcome, *, again: bool) -> None:
        """Remember and log a request whose attempt failed."""
        request_id = identifier.decode("latin-1")
        then = "sent again" if again else "given up"
        event = Event(
            self._next(), self._wall(), "lost", f"request {request_id}: {outcome.value}, {then}",
            worker=worker, reason=outcome.value, request_id=request_id,
        )  # fmt: skip
        self._add(event, logging.INFO if again else logging.WARNING)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell what happens in the block at its end, many changes of one kind as one event."""
        gathered: list[_Change] = []
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
            kinds: dict[tuple[Phase | None, Phase], list[_Change]] = {}
            for change in gathered:
                kinds.setdefault((change.before, change.phase), []).append(change)
            for changes in kinds.values():
                self._say_all(changes)

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """Say what became of the endpoint, and why."""
        after = self._after(endpoint, before, now)
        change = _Change(endpoint, before, endpoint.phase, endpoint.in_flight, after)
        if self._gathered is None:
            self._say(change)
        else:
            self._gathered.append(change)

    def health_changed(self, endpoint: Endpoint, now: float) -> None:  # noqa: ARG002
        """Count the ejections."""
        health = endpoint.health
        if health.state is Health.EJECTED and health.sign is not None:
            self.ejections[health.sign] += 1

    # --- inside

    def _say(self, change: _Change) -> None:
        endpoint, phase = change.endpoint, change.phase
        reason = endpoint.health.reason if phase in {Phase.EJECTED, Phase.SUSPECT} else ""
        why = f" ({reason})" if reason else ""
        text = f"{endpoint.name}: {change.told}{why}, {change.in_flight} in flight"
        if change.passing:
            log.debug("%s", text)
            return
        event = Event(
            self._next(), self._wall(), change.kind, text, worker=endpoint.name,
            phase=phase.value, reason=reason, in_flight=change.in_flight, after=change.after,
        )  # fmt: skip
        self._add(event, _LEVELS.get(phase, logging.INFO))

    def _say_all(self, changes: list[_Change]) -> None:
        """Say what happened alike to several endpoints: each for itself, or all in one event."""
        first = changes[0]
        if len(changes) <= FEW or first.passing:
            for change in changes:
                self._say(change)
            return
        text = "{} workers: {}, {} in flight: {} and {} more".format(
            len(changes),
            first.told,
            in_flight := sum(change.in_flight for change in changes),
            ", ".join(change.endpoint.name for change in changes[:_NAMED]),
            len(changes) - _NAMED,
        )
        event = Event(
            self._next(), self._wall(), first.kind, text, phase=first.phase.value,
            in_flight=in_flight,
        )  # fmt: skip
        self._add(event, _LEVELS.get(first.phase, logging.INFO))

    def _after(self, endpoint: Endpoint, before: Phase | None, now: float) -> float | None:
        """Follow how long the endpoint was in doubt or out."""
        identity, phase = endpoint.spec.identity, endpoint.phase
        if phase is Phase.SUSPECT:
            self._doubted[identity] = now
            return None
        doubted = self._doubted.pop(identity, now)
        if phase is Phase.EJECTED:
            self._out[identity] = now
            return now - doubted
        out = self._out.pop(identity, None)
        if phase is Phase.READY and before is Phase.EJECTED and out is not None:
            return now - out
        return None

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _add(self, event: Event, level: int) -> None:
        self._kept.append(event)
        log.log(level, "%s", event.text, extra={"fields": event.fields()})
