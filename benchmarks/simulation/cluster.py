"""The workers and the passing of time: runs one workload under one policy.

A worker runs as many requests at once as it has slots, each at full speed, and keeps what it got
beyond them in a queue of its own, in order: what is sent there cannot be taken back. If the
workload says so, it refuses that instead. What always holds: each request that arrived is present
until it has ended, once; `present` minus `running` of them wait somewhere.
"""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from app.balancing.lease import Outcome
from benchmarks.simulation.events import Events
from benchmarks.simulation.measures import Watch
from benchmarks.simulation.workloads import Request, Workload

REFUSED_AFTER = 0.001
"""Seconds until a worker that is down refuses a connection, or a full one a request."""


class Worker:
    """One worker."""

    __slots__ = ("down", "fault", "number", "pace", "running", "slots", "waiting")

    def __init__(self, number: int, workload: Workload) -> None:
        self.number = number
        self.slots = workload.slots
        self.pace = workload.pace.get(number, 1.0)
        self.fault = workload.faults.get(number)
        self.down = False
        self.running: dict[Attempt, None] = {}
        self.waiting: deque[Attempt] = deque()

    @property
    def in_flight(self) -> int:
        """How many requests it has."""
        return len(self.running) + len(self.waiting)

    @property
    def free(self) -> bool:
        """Whether it could run one more at once."""
        return not self.down and len(self.running) < self.slots


class Attempt:
    """One sending of a request to a worker. Compared by identity."""

    __slots__ = ("request", "worker")

    def __init__(self, request: Request, worker: Worker) -> None:
        self.request = request
        self.worker = worker


class Balancer(Protocol):
    """What decides. It answers each offered request by one `Cluster.finish`, some time."""

    def join(self, cluster: "Cluster", worker: int) -> None:
        """Take in a worker; all are numbered from 0, and join before the first request or later."""

    def offer(self, request: Request) -> None:
        """Send a request by `Cluster.send`, now or later."""

    def ended(self, attempt: Attempt, outcome: Outcome, *, good: bool) -> None:
        """Take back an attempt: finish its request, or send it again."""


class Cluster:
    """The workers of one run."""

    def __init__(self, workload: Workload, balancer: Balancer, seed: int) -> None:
        self.workload = workload
        self.events = Events()
        self.workers: list[Worker] = []
        self.present = 0
        self.running = 0
        self.slots = 0
        self.watch = Watch(workload)
        self._balancer = balancer
        self._arrivals: Iterator[Request] = workload.arrivals(seed)

    def run(self) -> Watch:
        """Let all requests come and end; return what was seen."""
        workload = self.workload
        for number in range(workload.workers):
            self.events.after(workload.joins.get(number, 0.0), self._join)
        self._plan_arrival()
        if workload.dies is not None:
            number, when, away = workload.dies
            self.events.after(when, self._die, number, away)
        while self.present or self.watch.arrived < workload.requests:
            self.watch.until(self.events.next_at, self.present, self.running, self.slots)
            self.events.step()
        return self.watch

    # --- for the balancer

    def send(self, request: Request, number: int) -> Attempt:
        """Give a request to a worker, once and for all. How that ends is told, never at once."""
        worker = self.workers[number]
        attempt = Attempt(request, worker)
        if worker.down:
            self.events.after(REFUSED_AFTER, self._refuse, attempt)
            return attempt
        if worker.free:
            self._start(attempt)
        elif self.workload.refuses:
            self.watch.refused(number)
            self.events.after(REFUSED_AFTER, self._turn_away, attempt)
            return attempt
        else:
            worker.waiting.append(attempt)
        self.watch.sent(number, worker.in_flight)
        return attempt

    def finish(self, request: Request, *, good: bool) -> None:
        """End a request. Raises RuntimeError the second time."""
        if request.ended is not None:
            raise RuntimeError("a request has ended twice")
        request.ended, request.good = self.events.now, good
        self.present -= 1
        self.watch.finished(request)

    # --- events

    def _join(self) -> None:
        number = len(self.workers)
        self.workers.append(Worker(number, self.workload))
        self.slots += self.workload.slots
        self._balancer.join(self, number)

    def _plan_arrival(self) -> None:
        request = next(self._arrivals, None)
        if request is not None:
            self.events.after(max(0.0, request.arrived - self.events.now), self._arrive, request)

    def _arrive(self, request: Request) -> None:
        self.present += 1
        self.watch.arrived += 1
        request.arrived = self.events.now
        self._plan_arrival()
        self._balancer.offer(request)

    def _start(self, attempt: Attempt) -> None:
        worker, request = attempt.worker, attempt.request
        worker.running[attempt] = None
        self.running += 1
        fault = worker.fault
        seconds = fault.seconds if fault is not None else worker.pace * request.work
        request.waited = self.events.now - request.arrived
        self.events.after(seconds, self._complete, attempt)

    def _complete(self, attempt: Attempt) -> None:
        worker = attempt.worker
        if attempt not in worker.running:
            return  # it died with its worker
        del worker.running[attempt]
        self.running -= 1
        if worker.waiting:
            self._start(worker.waiting.popleft())
        fault = worker.fault
        outcome = Outcome.ANSWERED if fault is None else fault.outcome
        self._balancer.ended(attempt, outcome, good=fault is None)

    def _refuse(self, attempt: Attempt) -> None:
        self._balancer.ended(attempt, Outcome.CONNECT_REFUSED, good=False)

    def _turn_away(self, attempt: Attempt) -> None:
        self._balancer.ended(attempt, Outcome.REFUSED, good=False)

    def _die(self, number: int, away: float) -> None:
        worker = self.workers[number]
        lost = [*worker.running, *worker.waiting]
        self.running -= len(worker.running)
        self.slots -= worker.slots
        worker.running.clear()
        worker.waiting.clear()
        worker.down = True
        self.events.after(away, self._return, worker)
        for attempt in lost:
            self._balancer.ended(attempt, Outcome.DIED, good=False)

    def _return(self, worker: Worker) -> None:
        worker.down = False
        self.slots += worker.slots
