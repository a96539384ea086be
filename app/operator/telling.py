"""Events for people (`kubectl describe wp`): a few for many things alike; decides, writes nothing.

Called by `operating`. An Event of `events.k8s.io/v1` stands for a series: what happens again to the
same worker raises its count instead of making another. What always holds: of one pool and reason
there are at most `DISTINCT` Events and one for all further workers, each written at once when it
is new or comes a second time, and then once in `SPACING` seconds; after `FORGET` seconds of quiet
a series is over. So a worker that flaps for an hour makes two Events and some 240 writes, however
fast it flaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from app.config.poolstatus import MAX_MESSAGE
from app.config.resource import Identity

DISTINCT = 10
"""Workers of one pool that have an Event of their own, for each reason."""

SPACING = 30.0
"""Seconds between two writes of one series."""

FORGET = 600.0
"""Seconds of quiet after which a series is over."""

_AT_ONCE = 2
"""A series whose written count is below this is written without waiting."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a pool."""

    pool: Identity
    reason: str
    note: str
    warning: bool
    subject: str = ""
    """What it is about, a worker; empty for the pool itself."""


@dataclass(slots=True)
class Series:
    """One Event, and how it stands."""

    notice: Notice
    name: str
    first: float
    last: float
    count: int = 1
    written: int = 0
    """The count that the API server knows; 0 if it knows nothing."""

    written_at: float = 0.0


@dataclass(slots=True)
class Teller:
    """Gathers notices into series."""

    _series: dict[tuple[str, str, str], Series] = field(default_factory=dict)

    def note(self, notice: Notice, now: float) -> None:
        """Take in what happened; `now` is in seconds of the epoch."""
        key = (notice.pool.uid, notice.reason, notice.subject)
        if key not in self._series and notice.subject:
            alike = sum(k[:2] == key[:2] and bool(k[2]) for k in self._series)
            if alike >= DISTINCT:
                key = (*key[:2], "")
                note = f"Further workers, among them {notice.subject}: {notice.note}"
                notice = Notice(notice.pool, notice.reason, note, notice.warning)
        series = self._series.get(key)
        if series is None:
            name = _name(notice.pool, (*key, str(now)))
            self._series[key] = Series(notice, name, first=now, last=now)
        else:
            series.count += 1
            series.last = now

    def due(self, now: float) -> list[Series]:
        """Return the series that are to be written now."""
        return [
            series
            for series in self._series.values()
            if series.written < series.count
            and (series.written < _AT_ONCE or now - series.written_at >= SPACING)
        ]

    def wrote(self, series: Series, now: float) -> None:
        """Take note that the series was written as it is."""
        series.written, series.written_at = series.count, now

    def forget(self, uids: Iterable[str], now: float) -> None:
        """End the series that have been quiet, and those of pools that are no more."""
        there = set(uids)
        self._series = {
            key: series
            for key, series in self._series.items()
            if key[0] in there and (now - series.last < FORGET or series.written < series.count)
        }


def shorten(note: str) -> str:
    """Cut a note to what an Event may hold."""
    return note if len(note) <= MAX_MESSAGE else note[: MAX_MESSAGE - 3] + "..."


def _name(pool: Identity, key: tuple[str, ...]) -> str:
    digest = sha256("\0".join(key).encode()).hexdigest()[:16]
    return f"{pool.name[:200].rstrip(chr(46))}.{digest}"
