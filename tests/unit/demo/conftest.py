"""Hand-made recordings of a small run that meets every criterion."""

from collections.abc import Callable

import pytest

from app.demo.records import (
    Changed,
    Count,
    Granted,
    Life,
    Record,
    Recording,
    Released,
    Response,
    Retried,
    Sent,
)
from app.demo.scenario import Fault, Scenario

START = 1000.0


class Script:
    """Writes records; times in seconds from the start."""

    def __init__(self, workers: list[str]) -> None:
        self.records: list[Record] = []
        self.counts = dict.fromkeys(workers, 0)
        self.choosable: list[str] = []

    def change(
        self, t: float, worker: str, phase: str, *, choosable: bool, sign: float, reason: str = ""
    ) -> None:
        if choosable and worker not in self.choosable:
            self.choosable.append(worker)
        if not choosable and worker in self.choosable:
            self.choosable.remove(worker)
        record = Changed(START + t, START + sign, worker, phase, choosable, reason)
        self.records.append(record)

    def dispatch(
        self, t: float, worker: str, request: str, *, ready: float, attempt: int = 1
    ) -> None:
        """Grant at `t`, sent 0.5 ms later."""
        self.counts[worker] += 1
        counts, choosable = dict(self.counts), list(self.choosable)
        self.records.append(Granted(START + t, worker, counts, choosable))
        sent = Sent(START + t + 0.0005, worker, request, attempt, START + ready)
        self.records.append(sent)

    def release(self, t: float, worker: str, outcome: str = "answered") -> None:
        self.counts[worker] -= 1
        self.records.append(Released(START + t, worker, self.counts[worker], outcome))


def two_workers(fault: Fault) -> Recording:
    """Two workers, two slots each, tasks of 10 s, nothing sped up."""
    kill = fault is Fault.KILL
    scenario = Scenario(speed=1.0, fault=fault, workers=2, cap=2, task=10.0, requests=250)
    script = Script(scenario.names)
    for worker in scenario.names:
        script.change(-1, worker, "ready", choosable=True, sign=-1)
    script.dispatch(0.001, "worker1", "a", ready=0.0)
    script.dispatch(1.001, "worker2", "b", ready=1.0)
    script.release(10.1, "worker1")
    script.release(11.1, "worker2")
    script.dispatch(98.001, "worker1", "c", ready=98.0)
    script.dispatch(99.001, "worker2", "d", ready=99.0)
    script.change(100.0101, "worker1", "suspect" if kill else "ejected", choosable=False,
                  sign=100.01, reason="died")  # fmt: skip
    script.release(100.0102, "worker1", "connection died")
    script.records.append(Retried(START + 100.0103, "c", 1, "connection died"))
    script.dispatch(100.0104, "worker2", "c", ready=100.0102, attempt=2)
    if kill:
        script.change(100.012, "worker1", "ejected", choosable=False, sign=100.011, reason="died")
    script.release(109.1, "worker2")  # since 108 a request waits: worker2 was at its cap
    script.dispatch(109.1001, "worker2", "e", ready=108.0)
    script.release(110.1, "worker2")
    script.release(119.1, "worker2")
    script.dispatch(125.001, "worker2", "f", ready=125.0)
    script.release(135.1, "worker2")
    script.change(200.45, "worker1", "ready", choosable=True, sign=200.45)
    script.dispatch(225.001, "worker1", "g", ready=225.0)
    script.dispatch(226.001, "worker2", "h", ready=226.0)
    return Recording(
        scenario,
        started=START,
        fault_at=START + 100,
        returned_at=START + 200.4,
        records=script.records,
        lives=lives(kill=kill),
        responses=[
            Response(n, START + n, START + n + 0.001, START + n + 10, "") for n in range(250)
        ],
        requests=250,
    )


def lives(*, kill: bool) -> list[Life]:
    def counts(*entries: tuple[float, str, int]) -> list[Count]:
        return [Count(START + t, event, in_flight) for t, event, in_flight in entries]

    early = [(0.002, "begun", 1), (10.0, "ended", 0), (98.002, "begun", 1)]
    late = [(225.002, "begun", 1), (235.0, "ended", 0)]
    other = counts(
        (1.002, "begun", 1), (11.0, "ended", 0), (99.002, "begun", 1), (100.011, "begun", 2),
        (109.0, "ended", 1), (109.101, "begun", 2), (110.0, "ended", 1), (119.0, "ended", 0),
        (125.002, "begun", 1), (135.0, "ended", 0), (226.002, "begun", 1), (236.0, "ended", 0),
    )  # fmt: skip
    if not kill:
        whole = counts(*early, (200.401, "ended", 0), *late)
        return [Life("worker1", START - 2, None, whole), Life("worker2", START - 2, None, other)]
    return [
        Life("worker1", START - 2, START + 100, counts(*early)),
        Life("worker2", START - 2, None, other),
        Life("worker1", START + 200.4, None, counts(*late)),
    ]


@pytest.fixture
def record_run() -> Callable[[Fault], Recording]:
    return two_workers


@pytest.fixture
def killed() -> Recording:
    return two_workers(Fault.KILL)


@pytest.fixture
def hung() -> Recording:
    return two_workers(Fault.HANG)
