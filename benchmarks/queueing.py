"""What waiting costs: to join the queue, to be served from it, to leave it; by its length."""

import gc
import tracemalloc
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import Refusal
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy, QueuePolicy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from benchmarks.run import Run
from benchmarks.tables import Table, figure

LENGTHS = (10, 100, 1_000, 10_000)
OPERATIONS = {"enqueue": "to join", "dequeue": "to be served", "cancel": "to leave"}
_BATCH = 1_000
"""Operations that are timed together, at the most."""


class Queue:
    """A pool whose one slot is taken, and a queue of about one length before it."""

    def __init__(self, length: int) -> None:
        policy = Policy(max_in_flight=1, queue=QueuePolicy(size=2 * max(LENGTHS), timeout=60.0))
        self._pool = Pool(policy)
        self._pool.apply_snapshot([EndpointSpec("only", "127.0.0.1", 1)], 0.0)
        self._now = 0.0
        self._random = Random(length)
        self._length = length
        lease = self._join()
        assert isinstance(lease, Lease)
        self._lease = lease
        """The one slot, which goes from hand to hand."""

    def granted(self, lease: Lease) -> None:
        """Take the slot for whoever waited; this object is the claimant of all."""
        self._lease = lease

    def refused(self, refusal: Refusal) -> None:
        """Nobody is: the queue is long enough, and no time passes."""
        raise AssertionError(refusal)

    def _join(self) -> Lease | Waiter:
        self._now += 1e-6  # deadlines differ
        return self._pool.acquire(self, self._now)

    def fill(self) -> None:
        """Let them line up until the queue has its length."""
        while self._pool.queued < self._length:
            self._join()

    def microseconds(self) -> dict[str, float]:
        """Time each operation around the queue's length; at the end it has it again."""
        count = min(_BATCH, self._length)
        repeat = _BATCH // count
        spent = dict.fromkeys(OPERATIONS, 0.0)
        for _ in range(repeat):
            spent["enqueue"] += self._time_joining(count)
            spent["dequeue"] += self._time_serving(count)
            spent["enqueue"] += self._time_joining(count)
            spent["cancel"] += self._time_leaving(count)
        spent["enqueue"] /= 2
        return {name: seconds / count / repeat * 1e6 for name, seconds in spent.items()}

    def _time_joining(self, count: int) -> float:
        self._last: list[Any] = []
        join, last = self._join, self._last
        began = perf_counter()
        for _ in range(count):
            last.append(join())
        return perf_counter() - began

    def _time_serving(self, count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            self._lease.release(Outcome.ANSWERED, self._now)
        return perf_counter() - began

    def _time_leaving(self, count: int) -> float:
        self._random.shuffle(self._last)  # from anywhere among the last to come
        cancel, last = self._pool.cancel, self._last
        began = perf_counter()
        for waiter in last:
            cancel(waiter)
        took = perf_counter() - began
        assert len(last) == count
        return took


def bytes_per_waiter(length: int) -> float:
    """Return the memory of one that waits, in the pool alone."""
    queue = Queue(length)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        queue.fill()
        return (tracemalloc.get_traced_memory()[0] - before) / length
    finally:
        tracemalloc.stop()


def main(run: Run) -> None:
    """Measure all lengths in turns, so that the machine's moods fall on all alike."""
    queues = {length: Queue(length) for length in LENGTHS}
    for queue in queues.values():
        queue.fill()
    rounds: dict[int, list[dict[str, float]]] = {length: [] for length in LENGTHS}
    for _ in range(run.either(31, 7)):
        for length, queue in queues.items():
            rounds[length].append(queue.microseconds())
    figures = {
        operation: {
            str(length): median(one[operation] for one in those) for length, those in rounds.items()
        }
        for operation in OPERATIONS
    }
    memory = {str(length): bytes_per_waiter(length) for length in LENGTHS}
    run.conclude("queueing", {"us": figures, "bytes_per_waiter": memory}, tables)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    rows = [
        [
            f"{int(length):,}",
            *(figure(figures["us"][operation][length]) for operation in OPERATIONS),
            figure(memory),
        ]
        for length, memory in figures["bytes_per_waiter"].items()
    ]
    header = ["waiting", *(f"{told}, µs" for told in OPERATIONS.values()), "bytes each"]
    return [Table("The queue of a pool, by its length", header, rows)]
