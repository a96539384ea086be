"""`Pool` against a model of it that is simple and slow.

Hypothesis calls the pool in any order; the model says what has to hold at each grant and after each
call. It reads nothing of the pool's but what it checks: rotation, phase and health are worked out
here once more, from what the docstrings of `pool`, `endpoint` and `health` promise.

A rule changes the model first and then calls the pool: so a grant, which comes in the middle of
that call, is judged by the state that it was made in.
"""

from dataclasses import dataclass, field, replace
from math import inf
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.errors import LeaseReleasedError, NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import HealthPolicy, Policy, QueuePolicy
from app.balancing.pool import REFUSAL_PAUSE, REFUSAL_PAUSE_MAX, Pool
from app.balancing.waiters import Waiter

LIMIT = 2  # failures in a row that eject
HEALTH = HealthPolicy(failures=LIMIT)


@dataclass(eq=False)
class Worker:
    """The model of an endpoint."""

    member: bool = True
    ejected: bool = False
    suspect: bool = False
    withheld: bool = False
    failures: int = 0
    by_probe: bool = False
    """Whether nothing but the probe ejected it."""

    paused_until: float | None = None
    recovered_at: float = -inf
    leases: list[Lease] = field(default_factory=list)
    turn: int = 0
    """When it was last chosen; 0 is never."""

    spec: EndpointSpec = field(init=False)
    endpoint: Endpoint = field(init=False)
    """The pool's object for it: the same for as long as the pool knows the endpoint."""

    @property
    def phase(self) -> Phase:
        facts = {
            Phase.GONE: not self.member,
            Phase.DRAINING: self.spec.terminating,
            Phase.UNREADY: not self.spec.serving,
            Phase.EJECTED: self.ejected,
            Phase.REFUSING: self.paused_until is not None,
            Phase.SUSPECT: self.suspect,
            Phase.READY: True,
        }
        return next(phase for phase, holds in facts.items() if holds)

    def shows(self, sign: Sign, now: float) -> None:
        """Go through the table of `app.balancing.health`."""
        counted = sign in {Sign.CONNECT_SILENT, Sign.DIED, Sign.TIMED_OUT}
        if self.ejected:
            back = {Sign.CHECK_PASSED, *([Sign.PROBE_IGNORED] if self.by_probe else [])}
            if sign in back:
                self.begins_anew()
                self.recovered_at = now
            elif self.by_probe:
                self.failures += counted
                met = counted and self.failures >= LIMIT
                self.by_probe = not met and sign not in {Sign.CONNECT_REFUSED, Sign.CHECK_FAILED}
            return
        if sign is Sign.CHECK_PASSED:
            self.suspect = self.withheld = False
        self.failures += counted
        self.suspect |= sign in {Sign.CONNECT_SILENT, Sign.DIED, Sign.IDLE_CLOSED}
        self.withheld |= sign in {Sign.CONNECT_SILENT, Sign.DIED}
        self.ejected |= sign in {Sign.CONNECT_REFUSED, Sign.CHECK_FAILED, Sign.PROBE_FAILED}
        self.ejected |= counted and self.failures >= LIMIT
        self.by_probe = sign is Sign.PROBE_FAILED

    def begins_anew(self) -> None:
        self.recovered_at = -inf
        self.ejected = self.by_probe = self.suspect = self.withheld = False
        self.failures = 0


@dataclass(eq=False)
class Request:
    """A claimant that passes on to the machine what it is told."""

    retried: bool
    tried_names: frozenset[str]
    patience: float
    waited: float
    """Seconds, in earlier waits."""

    hasty: Outcome | None
    """How its attempt ends within the very call that ends its wait; None: later."""

    machine: "PoolMachine" = field(init=False)
    tried: frozenset[Endpoint] = field(init=False)
    deadline: float = field(init=False)
    """When its wait ends."""

    expires: float = field(init=False)
    """When all of it has to be over."""

    waiter: Waiter = field(init=False)

    def granted(self, lease: Lease) -> None:
        self.machine.on_granted(self, lease)

    def refused(self, refusal: Refusal) -> None:
        self.machine.on_refused(self, refusal)


IDENTITIES = st.sampled_from("abcde")
CAPS = st.sampled_from([1, 1, 2, 3, None])
QUEUES = st.builds(QueuePolicy, size=st.integers(0, 4), timeout=st.sampled_from([0.0, 1.0, 60.0]))
OUTCOMES = st.sampled_from([*Outcome, *[Outcome.ANSWERED] * 4, *[Outcome.REFUSED] * 2])
SIGNS = st.sampled_from([*Sign, *[Sign.CHECK_PASSED] * 8])
NUMBERS = st.integers(0, 11)
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 30.0, 40.0])
REQUESTS = st.builds(
    Request,
    retried=st.booleans(),
    tried_names=st.just(frozenset[str]()) | st.frozensets(IDENTITIES, max_size=4),
    patience=st.just(inf) | SECONDS,
    waited=st.just(0.0) | SECONDS,
    hasty=st.none() | OUTCOMES,
)
SPECS = st.builds(
    EndpointSpec,
    identity=st.just(""),
    host=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    port=st.just(8000),
    serving=st.sampled_from([True, True, True, False]),
    terminating=st.sampled_from([False, False, False, True]),
)
CHANGES = st.dictionaries(IDENTITIES, st.none() | SPECS | SPECS, min_size=1, max_size=3)
"""What discovery sees otherwise than before: None for an endpoint that is no longer there."""


class PoolMachine(RuleBasedStateMachine):
    """The judge: at each grant. The rules: what may happen. The invariants: after each rule."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.policy = Policy()
        self.pool = Pool(self.policy, random=Random(1))
        self.pool.observers.append(self)
        self.workers: dict[str, Worker] = {}
        self.waiting: list[Request] = []
        self.turn = 0
        self.phases: dict[Endpoint, Phase] = {}

    # --- what the model says

    def rotation(self) -> list[Worker]:
        members = [worker for worker in self.workers.values() if worker.member]
        usable = [worker for worker in members if worker.spec.serving and not worker.ejected]
        return [worker for worker in usable if not worker.spec.terminating] or usable

    def choices(self, request: Request) -> list[Worker]:
        """Who may get the request now."""
        if request.expires <= self.now:
            return []
        rotation = self.rotation()
        allowed = [w for w in rotation if w.endpoint not in request.tried] or rotation
        open_to_it = [w for w in allowed if w.paused_until is None and not w.withheld]
        cap = inf if self.policy.max_in_flight is None else self.policy.max_in_flight
        return [worker for worker in open_to_it if len(worker.leases) < cap]

    def held(self) -> list[Lease]:
        return [lease for worker in self.workers.values() for lease in worker.leases]

    def worker_of(self, lease: Lease) -> Worker:
        return next(w for w in self.workers.values() if w.endpoint is lease.endpoint)

    def forget(self, worker: Worker) -> None:
        """Keep an endpoint that has left until its last lease is released, and no longer."""
        if not worker.member and not worker.leases:
            del self.workers[worker.spec.identity]

    # --- the judge

    def judge(self, request: Request, lease: Lease, ahead: list[Request]) -> None:
        """Judge any grant; `ahead` are those who stood before the request."""
        worker, choices = self.worker_of(lease), self.choices(request)
        assert worker in choices
        assert (len(worker.leases), worker.turn) == min((len(w.leases), w.turn) for w in choices)
        assert not any(worker in self.choices(other) for other in ahead), "overtaken"
        worker.leases.append(lease)
        worker.turn = self.turn = self.turn + 1

    def on_granted(self, request: Request, lease: Lease) -> None:
        line = sorted(self.waiting, key=lambda other: not other.retried)
        self.waiting.remove(request)  # raises if it was told before, or has left
        self.judge(request, lease, line[: line.index(request)])
        assert not self.pool.cancel(request.waiter)
        if request.hasty is not None:
            self.give_back(lease, request.hasty, None)

    def on_refused(self, request: Request, refusal: Refusal) -> None:
        self.waiting.remove(request)
        assert request.deadline <= self.now
        assert not self.choices(request)
        assert type(refusal) is (QueueTimeout if self.rotation() else NoEndpoint)

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """As an observer: each change begins where the last one ended."""
        assert (before, now) == (self.phases.get(endpoint), self.now)
        assert endpoint.phase is not before
        self.phases[endpoint] = endpoint.phase
        if before is None:  # it joined, and may get something within the same call
            self.workers[endpoint.spec.identity].endpoint = endpoint

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Nothing: the phase tells."""

    # --- the rules

    @initialize(cap=CAPS, queue=QUEUES, specs=st.lists(SPECS, min_size=2, max_size=5))
    def start(self, cap: int | None, queue: QueuePolicy, specs: list[EndpointSpec]) -> None:
        self.obey(cap, queue)
        self.discover(dict(zip("abcde", specs, strict=False)))

    @rule(cap=CAPS, queue=QUEUES)
    def obey(self, cap: int | None, queue: QueuePolicy) -> None:
        self.policy = Policy(max_in_flight=cap, queue=queue, health=HEALTH)
        self.pool.apply_policy(self.policy, self.now)

    @rule(changes=CHANGES)
    def discover(self, changes: dict[str, EndpointSpec | None]) -> None:
        for identity, spec in changes.items():
            worker = self.workers.get(identity)
            if spec is None:
                if worker is not None and worker.member:
                    worker.member, worker.paused_until = False, None
                    self.forget(worker)
                continue
            if worker is None:
                worker = self.workers[identity] = Worker()
            elif not worker.member:
                worker.begins_anew()
            worker.member, worker.spec = True, replace(spec, identity=identity)
        self.pool.apply_snapshot([w.spec for w in self.workers.values() if w.member], self.now)

    @rule(requests=st.lists(REQUESTS, min_size=1, max_size=4))
    def acquire(self, requests: list[Request]) -> None:
        for request in requests:
            tried = [w.endpoint for i, w in self.workers.items() if i in request.tried_names]
            request.machine, request.tried = self, frozenset(tried)
            left = max(0.0, self.policy.queue.timeout - request.waited)
            request.deadline = self.now + min(request.patience, left)
            request.expires = self.now + request.patience
            self.ask(request)

    def ask(self, request: Request) -> None:
        choices, retried = self.choices(request), request.retried
        fresh = sum(not other.retried for other in self.waiting)
        fits = retried or fresh < self.policy.queue.size
        try:
            got = self.pool.acquire(
                request,
                self.now,
                deadline=self.now + request.patience,
                waited=request.waited,
                tried=request.tried,
                retried=retried,
            )
        except QueueFull:
            assert (choices, fits) == ([], False)
            return
        if isinstance(got, Lease):
            self.judge(request, got, self.waiting)
        else:
            assert (choices, fits) == ([], True)
            request.waiter = got
            self.waiting.append(request)

    @precondition(lambda self: self.waiting)
    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        request = self.waiting.pop(number % len(self.waiting))
        assert self.pool.cancel(request.waiter)
        assert not self.pool.cancel(request.waiter)

    @precondition(lambda self: self.held())
    @rule(number=NUMBERS, outcome=OUTCOMES, retry_after=st.none() | SECONDS)
    def release(self, number: int, outcome: Outcome, retry_after: float | None) -> None:
        lease = self.held()[number % len(self.held())]
        self.give_back(lease, outcome, retry_after)
        with pytest.raises(LeaseReleasedError):
            lease.release(outcome, self.now)

    def give_back(self, lease: Lease, outcome: Outcome, retry_after: float | None) -> None:
        worker = self.worker_of(lease)
        worker.leases.remove(lease)
        if outcome is Outcome.REFUSED:
            pause = REFUSAL_PAUSE if retry_after is None else min(retry_after, REFUSAL_PAUSE_MAX)
            worker.paused_until = max(self.now + pause, worker.paused_until or 0.0)
        elif outcome is Outcome.ANSWERED:
            worker.failures = 0
        elif outcome.name in Sign.__members__ and lease.granted_at >= worker.recovered_at:
            worker.shows(Sign[outcome.name], self.now)
        self.forget(worker)
        lease.release(outcome, self.now, retry_after=retry_after)

    @rule(identity=IDENTITIES, elsewhere=st.booleans())
    def hold(self, identity: str, elsewhere: bool) -> None:
        """Count a slot that another replica gave, beyond the cap or at a stranger too."""
        worker = self.workers.get(identity)
        spec = EndpointSpec(identity, "10.0.0.3", 8000) if worker is None else worker.spec
        lease = self.pool.hold(spec, self.now, elsewhere=elsewhere)
        if worker is None:
            worker = self.workers[identity] = Worker(member=False)
            worker.spec, worker.endpoint = spec, lease.endpoint
            self.phases[lease.endpoint] = Phase.GONE
        assert (lease.endpoint, lease.elsewhere) == (worker.endpoint, elsewhere)
        worker.leases.append(lease)
        worker.turn = self.turn = self.turn + 1

    @precondition(lambda self: self.workers)
    @rule(number=NUMBERS, sign=SIGNS)
    def observe(self, number: int, sign: Sign) -> None:
        worker = list(self.workers.values())[number % len(self.workers)]
        worker.shows(sign, self.now)
        self.pool.observe(worker.endpoint, sign, self.now)

    @rule(seconds=SECONDS, ticks=st.booleans())
    def pass_time(self, seconds: float, ticks: bool) -> None:
        self.now += seconds
        if not ticks:  # calls may come between the time's coming and the tick that notices
            return
        for worker in self.workers.values():
            if worker.paused_until is not None and worker.paused_until <= self.now:
                worker.paused_until = None
        self.pool.tick(self.now)
        assert all(request.deadline > self.now for request in self.waiting)

    # --- the invariants

    @invariant()
    def counts_are_the_leases(self) -> None:
        counts = {identity: len(worker.leases) for identity, worker in self.workers.items()}
        assert {i: e.in_flight for i, e in self.pool.endpoints.items()} == counts
        assert self.pool.in_flight == sum(counts.values())
        held = {e: sum(lease.elsewhere for lease in w.leases) for e, w in self.workers.items()}
        assert {i: e.elsewhere for i, e in self.pool.endpoints.items()} == held
        assert self.pool.elsewhere == sum(held.values())
        assert self.pool.queued == len(self.waiting)

    @invariant()
    def endpoints_are_what_they_should_be(self) -> None:
        assert self.pool.endpoints == {i: w.endpoint for i, w in self.workers.items()}
        assert self.pool.rotation == {worker.endpoint for worker in self.rotation()}
        for worker in self.workers.values():
            assert (worker.endpoint.spec, worker.endpoint.phase) == (worker.spec, worker.phase)
            assert self.phases[worker.endpoint] is worker.phase

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        assert not any(self.choices(request) for request in self.waiting)

    def teardown(self) -> None:
        """Whatever happened: once all is given back, nothing is left of it."""
        while self.waiting:
            assert self.pool.cancel(self.waiting.pop().waiter)
        for lease in self.held():
            self.give_back(lease, Outcome.ANSWERED, None)
        self.counts_are_the_leases()
        assert (self.pool.in_flight, self.pool.queued) == (0, 0)
        assert all(endpoint.member for endpoint in self.pool.endpoints.values())


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    derandomize=True,  # the same examples in each run
    deadline=None,
    report_multiple_bugs=False,
)
