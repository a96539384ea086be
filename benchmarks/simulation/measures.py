"""What is seen of one run, and the figures that come of it."""

from collections import Counter
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
        self._watched = 0.0
        self._idle = 0.0

    # --- told by the cluster

    def until(self, when: float, present: int, running: int, slots: int) -> None:
        """Follow the time in which nothing changes."""
        seconds = when - self._now
        self.request_seconds += present * seconds
        if self._now >= self._workload.warmup and self.arrived < self._workload.requests:
            self._watched += seconds
            if present > running and running < slots:
                self._idle += seconds
        self._now = when

    def sent(self, worker: int, in_flight: int) -> None:
        """Follow a request to a worker, which now has so many."""
        self.given[worker] += 1
        self.most = max(self.most, in_flight)

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


def _latency(request: Request) -> float:
    if request.ended is None:
        raise ValueError("it has not ended")
    return request.ended - request.arrived
