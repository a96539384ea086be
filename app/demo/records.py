"""What is written down while the scenario runs, to be measured afterwards.

The balancer's recorder writes `Record`s, one JSON array a line, the workers their journals, the
load its `Response`s. All times are `time.monotonic` in seconds, one clock for all processes.
"""

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

from app.demo.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Changed:
    """A worker's health or place in the rotation has changed."""

    t: float
    """The recorder's clock: the change is in force."""

    sign_at: float
    """When that was seen which led to it."""

    worker: str
    phase: str
    choosable: bool
    """Whether it can be given new requests now: in rotation, and not withheld."""

    reason: str
    """The last sign that changed its health; empty before any did."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A request was given a slot: dispatched."""

    t: float
    worker: str
    counts: dict[str, int]
    """In-flight of every worker right after, this one included."""

    choosable: list[str]
    """The workers that were in rotation and not withheld, at their cap or not."""


@dataclass(frozen=True, slots=True)
class Released:
    """A slot was given back."""

    t: float
    worker: str
    in_flight: int
    """Of that worker, after it."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The first bytes of an attempt were written to a worker."""

    t: float
    worker: str
    request: str
    attempt: int
    ready: float
    """Since when it could have been sent, or sent again."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt has failed, and the request will be sent again."""

    t: float
    request: str
    attempt: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The length of the queue, looked at now and then: for the screen, not for the figures."""

    t: float
    queued: int


Record = Changed | Granted | Released | Sent | Retried | Queued

_KINDS: dict[str, type[Record]] = {
    kind.__name__.lower(): kind for kind in (Changed, Granted, Released, Sent, Retried, Queued)
}


def to_line(record: Record) -> str:
    """Write a record as one line."""
    return json.dumps([type(record).__name__.lower(), *astuple(record)]) + "\n"


def from_line(line: str) -> Record:
    """Read a record back. Raises ValueError, KeyError or TypeError if it is none."""
    kind, *fields = json.loads(line)
    return _KINDS[kind](*fields)


@dataclass(frozen=True, slots=True)
class Count:
    """One change of a worker's own count, or one refusal."""

    t: float
    event: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Life:
    """One process of a worker, by its own journal."""

    worker: str
    began: float
    """When it listened."""

    ended: float | None
    """When it was killed; None if it lived to the end."""

    counts: list[Count]


def read_journal(path: Path) -> list[Count]:
    """Read a worker's journal; none yet is an empty one. A line cut short by a kill is left out."""
    if not path.exists():
        return []
    entries = (json.loads(line) for line in whole_lines(path.read_text()))
    return [Count(e["monotonic"], e["event"], e["in_flight"]) for e in entries]


def whole_lines(text: str) -> Iterator[str]:
    """Give the lines that are complete."""
    return (line for line in text.splitlines(keepends=True) if line.endswith("\n"))


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one request, as its client saw it."""

    number: int
    due: float
    sent: float
    ended: float
    error: str
    """What was wrong with it; empty if it was answered with the right result."""


@dataclass(frozen=True, slots=True)
class Recording:
    """All that was seen of one run."""

    scenario: Scenario
    started: float
    """When the first request was due: scenario time 0."""

    fault_at: float
    """Right before the signal was sent."""

    returned_at: float | None
    """When the victim could work again: its new process listens, or right before SIGCONT."""

    records: list[Record] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    requests: int = 0
    """How many were sent."""

    def scenario_time(self, t: float) -> float:
        """Return a time in scenario seconds."""
        return (t - self.started) * self.scenario.speed

    def changes(self, worker: str) -> list[Changed]:
        """Return what happened to one worker, in order."""
        return [r for r in self.records if isinstance(r, Changed) and r.worker == worker]
