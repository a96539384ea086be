"""What a choice costs: acquire and release of one slot, by the number of endpoints."""

from collections import deque
from statistics import median
from time import perf_counter

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import Refusal
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from benchmarks.run import Run

SIZES = (5, 500, 5_000)
ROUNDS = 7
CYCLES = 50_000


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

    def microseconds(self) -> float:
        """Time one acquire and one release."""
        nobody = _Nobody()
        running, acquire = self._running, self._pool.acquire
        began = perf_counter()
        for _ in range(CYCLES):
            running.append(acquire(nobody, 0.0))  # type: ignore[arg-type] # no queue here
            running.popleft().release(Outcome.ANSWERED, 0.0)
        return (perf_counter() - began) / CYCLES * 1e6


def main(_run: Run) -> None:
    cycles = {size: _Cycle(size) for size in SIZES}
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):  # alternating, so that the machine's moods fall on all alike
        for size, cycle in cycles.items():
            times[size].append(cycle.microseconds())
    base = median(times[SIZES[0]])
    print("acquire + release")
    for size in SIZES:
        cost = median(times[size])
        print(f"  {size:>6} endpoints {cost:6.2f} µs {cost / base:5.2f}×")
