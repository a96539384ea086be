"""What the records add up to: when every worker was full, and which attempts each request had.

Pure, and used by `analysis` and `plot`. It knows nothing of the balancer's queue: that a request
had to wait is inferred from the counts alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from app.demo.records import Changed, Granted, Record, Released, Sent

Interval = tuple[float, float]
Step = tuple[float, int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one request."""

    worker: str
    ready: float
    sent: float
    tried: frozenset[str]
    """Where the request had been sent before."""

    grant: Granted | None
    """How it got its slot; None if that was not recorded."""

    waited: float
    """Seconds before it got its slot in which every live worker was at its cap."""

    @property
    def dispatch(self) -> float:
        """Seconds that the balancer took, its inevitable wait for a slot left out."""
        return self.sent - self.ready - self.waited


def full_intervals(records: Iterable[Record], cap: int) -> list[Interval]:
    """Return when no worker in rotation had a free slot; also, when there was none in rotation.

    The last one may be open: its end is then infinite.
    """
    counts: dict[str, int] = {}
    choosable: set[str] = set()
    full_since: float | None = None
    intervals = []
    for record in records:
        match record:
            case Granted():
                counts.update(record.counts)
            case Released():
                counts[record.worker] = record.in_flight
            case Changed():
                (choosable.add if record.choosable else choosable.discard)(record.worker)
            case _:
                continue
        full = all(counts.get(worker, 0) >= cap for worker in choosable)
        if full and full_since is None:
            full_since = record.t
        elif not full and full_since is not None:
            intervals.append((full_since, record.t))
            full_since = None
    if full_since is not None:
        intervals.append((full_since, inf))
    return intervals


def overlap(intervals: Iterable[Interval], begin: float, end: float) -> float:
    """Return how much of `begin` to `end` lies in the intervals, which do not overlap."""
    return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in intervals)


def attempts(records: Iterable[Record], full: Iterable[Interval]) -> list[Attempt]:
    """Return all attempts in the order of their sending.

    An attempt's grant is the first one of its worker, since it was ready, that is not another's.
    """
    full = list(full)
    grants: dict[str, list[Granted]] = defaultdict(list)
    tried: dict[str, frozenset[str]] = defaultdict(frozenset)
    found = []
    for record in records:
        if isinstance(record, Granted):
            grants[record.worker].append(record)
        elif isinstance(record, Sent):
            open_grants = grants[record.worker]
            grant = next((g for g in open_grants if g.t >= record.ready), None)
            if grant is not None:
                open_grants.remove(grant)
            until = record.t if grant is None else grant.t
            waited = overlap(full, record.ready, until)
            before = tried[record.request]
            found.append(Attempt(record.worker, record.ready, record.t, before, grant, waited))
            tried[record.request] = before | {record.worker}
    return found


def in_flight(records: Iterable[Record], workers: Iterable[str]) -> Mapping[str, list[Step]]:
    """Return each worker's count as the balancer has it: its changes, with their times."""
    steps: dict[str, list[Step]] = {worker: [] for worker in workers}
    for record in records:
        if isinstance(record, Granted):
            steps[record.worker].append((record.t, record.counts[record.worker]))
        elif isinstance(record, Released):
            steps[record.worker].append((record.t, record.in_flight))
    return steps


def out_of_rotation(changes: Iterable[Changed]) -> list[Interval]:
    """Return when the worker of these changes could not be chosen."""
    since: float | None = None
    intervals = []
    for change in changes:
        if not change.choosable and since is None:
            since = change.t
        elif change.choosable and since is not None:
            intervals.append((since, change.t))
            since = None
    if since is not None:
        intervals.append((since, inf))
    return intervals


def peak(steps: list[Step], begin: float, end: float) -> int | None:
    """Return the highest count from `begin` to `end`; None if it is not known at any moment."""
    reaching = pairwise([*steps, (inf, 0)])
    counts = [count for (since, count), (until, _) in reaching if since < end and until > begin]
    return max(counts, default=None)


def lengths(found: Iterable[Attempt]) -> list[Step]:
    """Return how many attempts waited, at each moment that this changed."""
    changes = sorted(
        change
        for attempt in found
        if attempt.waited > 0
        for change in ((attempt.ready, 1), (attempt.ready + attempt.waited, -1))
    )
    steps: list[Step] = []
    length = 0
    for t, change in changes:
        length += change
        steps.append((t, length))
    return steps
