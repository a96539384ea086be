"""Counts the requests of one pool as they end: plain integers and lists, read when asked for.

The exchange calls `RequestStats.count` once for each request, whatever became of it; nothing else
of telemetry stands on a request's way. It costs about a microsecond (`benchmarks.telemetry`), so
it does few searches in a list of bounds and some additions, and no more. All from one thread:
no locks. Who reads (`app.admin.metrics`, `app.telemetry.history`) does all the rest.
"""

import math
from bisect import bisect_left
from collections import Counter
from typing import Final, Protocol

from app.telemetry.endings import COMPLETE

BOUNDS: Final[tuple[float, ...]] = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5,
    10.0, 12.5, 15.0, 17.5, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0,
)  # fmt: skip
"""Upper bounds of the histograms' buckets in seconds, each admitted; what is longer comes last."""

_BOUNDS: Final = [*BOUNDS, math.inf]  # bisect is quicker on a list
_LEAST: Final = BOUNDS[0]
_UNDER: Final = [-1.0, *BOUNDS]
"""What a duration exceeds that lies in the bucket of that place."""

_RECENT: Final = 0.1
"""Weight of the newest answer in a worker's moving average."""


class EndedRequest(Protocol):
    """What is to be known of a request that is over.

    Times are of `time.monotonic()`, in seconds; 0.0 means that it did not come to that.
    """

    @property
    def method(self) -> bytes:
        """As it came."""

    @property
    def target(self) -> bytes:
        """Path and query as they came."""

    @property
    def status(self) -> int:
        """Of the final answer, the worker's or ours; 0 if none was sent."""

    @property
    def arrived(self) -> float:
        """When the head was complete."""

    @property
    def ready_at(self) -> float:
        """When it first asked for a slot: body complete, or replay buffer full."""

    @property
    def granted_at(self) -> float:
        """When it got its last slot."""

    @property
    def sent_at(self) -> float:
        """When its last attempt was written to the worker."""

    @property
    def answered_at(self) -> float:
        """When the final response's head was passed on, or our own answer was given."""

    @property
    def ended_at(self) -> float:
        """When it was over."""

    @property
    def attempts(self) -> int:
        """How many slots it got."""

    @property
    def worker(self) -> str:
        """The name of the last attempt's endpoint; empty if there was none."""

    @property
    def identifier(self) -> bytes:
        """The request id."""

    @property
    def bytes_in(self) -> int:
        """Of the request's body."""

    @property
    def bytes_out(self) -> int:
        """Of the response's body."""

    @property
    def ending(self) -> str:
        """Two letters that say how it ended; see `app.telemetry.endings`."""


class RequestLog(Protocol):
    """Writes a line for a request, or does not."""

    def ended(self, request: EndedRequest) -> None:
        """Take in a request that is over."""


class Histogram:
    """How often a duration fell between which bounds. `counts` has one more than `BOUNDS`."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        """Sum of all durations, in seconds."""

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def cumulated(self) -> list[int]:
        """Return how many lay at or under each bound; the last is for no bound at all."""
        total = 0
        return [total := total + count for count in self.counts]


class Average:
    """A worker's moving average: changed in place, since to store it anew costs a search."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class RequestStats:
    """All requests of one pool since the start."""

    __slots__ = (
        "_averages", "_place", "classes", "duration", "endings", "first_byte", "log", "waiting",
    )  # fmt: skip

    def __init__(self, log: RequestLog | None = None) -> None:
        self.log = log
        self.classes = [0] * 10
        """How many ended with which class of status, by its first digit; at 0 those that were
        never answered."""

        self.endings: Counter[str] = Counter()
        """How many ended otherwise than complete, by their two letters."""

        self.duration = Histogram()
        """From the head to the end."""

        self.waiting = Histogram()
        """From asking for a slot to the last slot given, or to the end if none was. With a retry
        that includes the attempt that was lost."""

        self.first_byte = Histogram()
        """From the head until the final response is passed on, the worker's or ours."""

        self._averages: dict[str, Average] = {}
        self._place = 0
        """The bucket of the last duration."""

    @property
    def latency(self) -> dict[str, float]:
        """A moving average of the recent answers of each worker, in seconds.

        From sent until the response is passed on. Who left is taken out by `forget`.
        """
        return {worker: average.seconds for worker, average in self._averages.items()}

    def ended(self, request: EndedRequest) -> None:
        """Count a request that is over."""
        self.count(
            request.status,
            request.ending,
            request.worker,
            arrived=request.arrived,
            ready=request.ready_at,
            granted=request.granted_at,
            sent=request.sent_at,
            answered=request.answered_at,
            ended=request.ended_at,
        )
        if self.log is not None:
            self.log.ended(request)

    def count(
        self,
        status: int,
        ending: str,
        worker: str,
        *,
        arrived: float,
        ready: float,
        granted: float,
        sent: float,
        answered: float,
        ended: float,
    ) -> None:
        """Count it by its values, those of `EndedRequest`: cheaper if the caller is compiled.

        It writes into the histograms itself: a method of theirs would be three calls more.
        """
        self.classes[status // 100] += 1
        seconds = ended - arrived
        place = self._place  # mostly that of the one before: a comparison is quicker than a search
        if seconds > _BOUNDS[place] or seconds <= _UNDER[place]:
            place = self._place = bisect_left(_BOUNDS, seconds)
        histogram = self.duration
        histogram.counts[place] += 1
        histogram.total += seconds
        if ready:  # most get a slot at once
            seconds = (granted or ended) - ready
            histogram = self.waiting
            histogram.counts[0 if seconds <= _LEAST else bisect_left(_BOUNDS, seconds)] += 1
            histogram.total += seconds
        if answered:  # most answers are short: their beginning lies in their end's bucket
            seconds = answered - arrived
            histogram = self.first_byte
            if seconds <= _UNDER[place]:
                place = bisect_left(_BOUNDS, seconds)
            histogram.counts[place] += 1
            histogram.total += seconds
        if ending != COMPLETE:
            self.endings[ending] += 1
        elif answered and sent:
            seconds = answered - sent
            average = self._averages.get(worker)
            if average is None:
                self._averages[worker] = Average(seconds)
            else:
                average.seconds += _RECENT * (seconds - average.seconds)

    def forget(self, workers: set[str]) -> None:
        """Keep of the workers' latencies only those of `workers`. Called at times by who reads."""
        for name in self._averages.keys() - workers:
            del self._averages[name]
