"""What a choice costs: acquire and release of one slot, by the number of endpoints."""

from collections import deque
from statistics import median
from time import perf_counter
from typing import Any

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import Refusal
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from benchmarks.run import Run
from benchmarks.tables import Table, figure, times

SIZES = (5, 50, 500, 5_000)


class _Nobody:
    """There is always a free slot here: nobody waits."""

    def granted(self, lease: Lease) -> None:
        raise AssertionError(lease)

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)


class _Cycle:
    """A pool in use: each endpoint has two requests, each round ends one and begins one."""

    def __init__(self, endpoints: int) -> None:
        self._pool = Pool(Policy(max_in_flight=4))
        self._pool.apply_snapshot(
            [EndpointSpec(str(number), "127.0.0.1", 1 + number) for number in range(endpoints)], 0.0
        )
        self._running = deque(self._begin() for _ in range(2 * endpoints))

    def _begin(self) -> Lease:
        lease = self._pool.acquire(_Nobody(), 0.0)
        assert isinstance(lease, Lease)
        return lease

    def microseconds(self, cycles: int) -> float:
        """Time one acquire and one release."""
        nobody = _Nobody()
        running, acquire = self._running, self._pool.acquire
        began = perf_counter()
        for _ in range(cycles):
            running.append(acquire(nobody, 0.0))  # type: ignore[arg-type] # no queue here
            running.popleft().release(Outcome.ANSWERED, 0.0)
        return (perf_counter() - began) / cycles * 1e6


def main(run: Run) -> None:
    """Measure all sizes in turns, so that the machine's moods fall on all alike."""
    cycles = {size: _Cycle(size) for size in SIZES}
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(run.either(15, 5)):
        for size, cycle in cycles.items():
            times[size].append(cycle.microseconds(20_000))
    run.conclude("picking", {"us": {str(size): median(times[size]) for size in SIZES}}, tables)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    found = figures["us"]
    base = found[str(SIZES[0])]
    rows = [[f"{int(size):,}", figure(us), times(us / base)] for size, us in found.items()]
    return [Table("One acquire and one release", ["endpoints", "µs", f"of {SIZES[0]}"], rows)]
