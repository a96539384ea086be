"""What happens to a pool's workers and to the balancer, made into events and lines of the log.

Observes a pool, and puts into the balancer's ring (`app.telemetry.ring`) what it makes of that; the
composition root adds what is no change of a worker by `note`, and brackets each snapshot of
discovery with `together`: a line for each of 1,000 workers that join at once would hold up all
requests for 10 ms, and nobody would read them. Each event has a number, the same in the ring, in
the log, on the dashboard's time line and for the operator. What comes and goes by the second
(suspicion without a consequence, a worker that says "full") is in the log at level DEBUG only: it
would push everything else out.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Health, Sign
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.telemetry.ring import Event, Ring

log = logging.getLogger("leastwise.events")

FEW = 10
"""Up to so many changes of one kind, in one snapshot, are an event each."""

_NAMED = 3
"""So many workers are named in an event of more."""

_IGNORED = (
    "every worker fails the probe: it is ignored until one passes."
    " Look at its path and timeout, and at what its answer depends on"
)
_PASSING = frozenset({Phase.SUSPECT, Phase.REFUSING})
_LEVELS = {Phase.EJECTED: logging.WARNING}


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
        return (back and self.after is None) or self.phase in _PASSING

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
    """The events of one pool, and how often its workers were ejected."""

    def __init__(self, pool: Pool, ring: Ring) -> None:
        """Observe `pool`; keep its events in `ring`."""
        self._pool = pool
        self._ring = ring
        self._gathered: list[_Change] | None = None
        """What happened within `together`; None outside of it."""

        self._doubted: dict[str, float] = {}
        self._out: dict[str, float] = {}
        """Since when those are out that were ejected and are not back: Kubernetes may call one
        unready meanwhile."""

        self.ejections: Counter[Sign] = Counter()
        """By the sign that ejected."""

        pool.observers.append(self)

    def __iter__(self) -> Iterator[Event]:
        """All that are remembered, the oldest first."""
        return iter(self._ring.of(self))

    @property
    def last(self) -> int:
        """The number of the ring's newest event; 0 before the first."""
        return self._ring.last

    @property
    def instance(self) -> str:
        """Which process numbers them."""
        return self._ring.instance

    def since(self, number: int) -> list[Event]:
        """Return this pool's events after that number."""
        if number >= self._ring.last:
            return []
        return [event for event in self if event.number > number]

    def close(self) -> None:
        """The pool is no more."""
        self._ring.release(self)

    def note(self, kind: str, text: str, level: int = logging.INFO) -> None:
        """Remember and log what is no change of a worker's phase."""
        self._add(Event(*self._ring.stamp(), self._pool.name, kind, text), level)

    def lost(self, identifier: bytes, worker: str, outcome: Outcome, *, again: bool) -> None:
        """Remember and log a request whose attempt failed."""
        request_id = identifier.decode("latin-1")
        then = "sent again" if again else "given up"
        event = Event(
            *self._ring.stamp(), self._pool.name, "lost",
            f"request {request_id}: {outcome.value}, {then}",
            worker=worker, reason=outcome.value, request_id=request_id,
        )  # fmt: skip
        self._add(event, logging.INFO if again else logging.WARNING)

    def probe_ignored(self, ignored: bool) -> None:
        """Say that the probe has begun to be ignored, or is no longer."""
        if ignored:
            self.note("probe", _IGNORED, logging.WARNING)
        else:
            self.note("probe", "the probe is no longer ignored")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell what happens in the block at its end, many changes of one kind as one event."""
        gathered: list[_Change] = []
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
            kinds: dict[tuple[Phase | None, Phase, bool], list[_Change]] = {}
            for change in gathered:
                kind = (change.before, change.phase, change.after is not None)
                kinds.setdefault(kind, []).append(change)
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
        spec = endpoint.spec
        host = f"[{spec.host}]" if ":" in spec.host else spec.host
        event = Event(
            *self._ring.stamp(), self._pool.name, change.kind, text, worker=endpoint.name,
            address=f"{host}:{spec.port}", phase=phase.value, reason=reason,
            in_flight=change.in_flight, after=change.after,
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
        longest = max(
            (change.after for change in changes if change.after is not None), default=None
        )
        event = Event(
            *self._ring.stamp(), self._pool.name, first.kind, text, phase=first.phase.value,
            in_flight=in_flight, after=longest,
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
            if identity in self._out:  # it was, behind what Kubernetes said of it
                return None
            self._out[identity] = now
            return now - doubted
        if phase in {Phase.READY, Phase.GONE}:
            out = self._out.pop(identity, None)
            if phase is Phase.READY and before is not None and out is not None:
                return now - out
        return None

    def _add(self, event: Event, level: int) -> None:
        self._ring.add(self, event)
        log.log(level, "%s", event.text, extra={"fields": event.fields()})
