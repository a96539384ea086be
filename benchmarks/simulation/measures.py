"""What is seen of one run, and the figures that come of it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from benchmarks.simulation.workloads import Request, Workload
from benchmarks.stats import percentile

MEASURES = ("p50", "p99", "wait_p99", "wait_mean", "most", "idle", "failed")
"""The keys of `Watch.figures`."""


class Watch:
    """Follows one run. What is measured begins when the warm-up is over."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.arrived = 0
        self.ended: list[Request] = []
        self.given: Counter[int] = Counter()
        """How many requests each worker was sent, retries each."""

        self.most = 0
        """The largest number of requests that one worker had at a time, its own queue included."""

        self.request_seconds = 0.0
        """The integral over time of the number of requests that are present."""

        self._now = 0.0
        self._given = 0
        self._beyond = 0
        self._watched = 0.0
        self._idle = 0.0

    # --- told by the cluster

    def until(self, when: float, present: int, running: int, slots: int) -> None:
        """Follow the time in which nothing changes."""
        seconds = when - self._now
        self.request_seconds += present * seconds
        if self._measuring:
            self._watched += seconds
            if present > running and running < slots:
                self._idle += seconds
        self._now = when

    def sent(self, worker: int, in_flight: int) -> None:
        """Follow a request to a worker, which now has so many."""
        self.most = max(self.most, in_flight)
        self._count(worker, beyond=in_flight > self._workload.slots)

    def refused(self, worker: int) -> None:
        """Follow a request to a worker, which has no slot for it and refuses it."""
        self._count(worker, beyond=True)

    def finished(self, request: Request) -> None:
        """Follow a request to its end."""
        self.ended.append(request)

    # --- asked when all is over

    def measured(self) -> list[Request]:
        """Return the requests that count."""
        return [each for each in self.ended if each.arrived >= self._workload.warmup]

    def share(self, worker: int) -> float:
        """Return the share of all sent requests that a worker got."""
        return self.given[worker] / self.given.total()

    @property
    def beyond(self) -> float:
        """The share of all sendings that met a worker whose slots were taken."""
        return self._beyond / self._given

    def figures(self) -> dict[str, float]:
        """Return the figures of this run, by `MEASURES`.

        Latencies and waits (seconds) are of requests that ended well; `failed` is the share of the
        others; `idle` the share of time in which a slot was free though a request waited.
        """
        measured = self.measured()
        good = [each for each in measured if each.good]
        latencies = sorted(_latency(each) for each in good)
        waits = sorted(each.waited for each in good)
        return {
            "p50": percentile(latencies, 0.50),
            "p99": percentile(latencies, 0.99),
            "wait_p99": percentile(waits, 0.99),
            "wait_mean": fmean(waits),
            "most": float(self.most),
            "idle": self._idle / self._watched,
            "failed": 1.0 - len(good) / len(measured),
        }

    # --- inside

    @property
    def _measuring(self) -> bool:
        """Whether the pool has filled, and requests still come."""
        return self._now >= self._workload.warmup and self.arrived < self._workload.requests

    def _count(self, worker: int, *, beyond: bool) -> None:
        self.given[worker] += 1
        if self._measuring:
            self._given += 1
            self._beyond += beyond


def out_of_order(requests: Sequence[Request], slack: float) -> float:
    """Return the share of requests that overtook another.

    That is, one that came more than `slack` seconds earlier and began to run more than `slack`
    later. If no message takes longer than that, one queue, wherever it stands, counts none.
    """
    by_arrival = sorted(requests, key=lambda each: each.arrived)
    arrivals = [each.arrived for each in by_arrival]
    begun = [each.arrived + each.waited for each in by_arrival]
    latest = [0.0, *accumulate(begun, max)]
    overtook = sum(
        latest[bisect_left(arrivals, arrived - slack)] > start + slack
        for arrived, start in zip(arrivals, begun, strict=True)
    )
    return overtook / len(by_arrival)


def _latency(request: Request) -> float:
    if request.ended is None:
        raise ValueError("it has not ended")
    return request.ended - request.arrived
