"""The real `app.balancing.Pool` under a simulated load, its retries by the real table and budget.

Modelled is only what does I/O around it: connections that fail, the checks of endpoints in doubt,
and the HTTP probe, at the times that `app.probing` keeps.
"""

from random import Random
from typing import Final

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.errors import Refusal
from app.balancing.health import Health, Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import REFUSAL_PAUSE, Pool
from app.balancing.retry import send_again
from app.probing.verdicts import Verdicts
from benchmarks.simulation.cluster import Attempt, Cluster
from benchmarks.simulation.workloads import Request

TICK: Final = 0.05
"""Seconds between two ticks of the pool."""

STANDS: Final = 0.05
"""Seconds that a check's connection has to stand."""


class Claim:
    """A request at the pool: granted a slot, now or later."""

    __slots__ = ("_pooled", "request", "since", "tried")

    def __init__(self, pooled: "Pooled", request: Request) -> None:
        self._pooled = pooled
        self.request = request
        self.since = 0.0
        """When it last asked for a slot."""

        self.tried: frozenset[Endpoint] = frozenset()

    def granted(self, lease: Lease) -> None:
        self._pooled.send(self, lease)

    def refused(self, refusal: Refusal) -> None:  # noqa: ARG002
        self._pooled.cluster.finish(self.request, good=False)


class Pooled:
    """A balancer that is leastwise's own pool, or the `pool` given, which obeys `policy` too.

    What it asks of the pool goes through `_acquire`, `send` and `_give_back`, so that there may be
    a network between them.
    """

    cluster: Cluster

    def __init__(
        self,
        policy: Policy,
        random: Random,
        *,
        method: bytes = b"GET",
        pool: Pool | None = None,
    ) -> None:
        self.pool = pool or Pool(policy, random=random)
        self.longest_queue = 0
        """The most that waited in the pool's queue at a time."""

        self.longest_wait = 0.0
        """The longest that one waited there, in seconds."""

        self._method = method
        self._random = random
        self._specs: list[EndpointSpec] = []
        self._leases: dict[Attempt, tuple[Lease, Claim]] = {}
        self._checked: set[Endpoint] = set()
        self._verdicts = Verdicts()
        self.pool.observers.append(self)

    @property
    def _now(self) -> float:
        return self.cluster.events.now

    # --- as balancer of the cluster

    def join(self, cluster: Cluster, worker: int) -> None:
        """Take in a worker."""
        self.cluster = cluster
        self._specs.append(EndpointSpec(str(worker), "127.0.0.1", 1 + worker))
        self.pool.apply_snapshot(self._specs, self._now)
        probe = self.pool.policy.health.probe
        if probe is not None:
            endpoint = self.pool.endpoints[str(worker)]
            cluster.events.after(self._random.random() * probe.interval, self._probe, endpoint)

    def offer(self, request: Request) -> None:
        """Ask for a slot."""
        self.pool.budget.deposit(self._now)
        self._acquire(Claim(self, request), retried=False)

    def send(self, claim: Claim, lease: Lease) -> None:
        """Send it where its slot is."""
        self.longest_wait = max(self.longest_wait, self._now - claim.since)
        attempt = self.cluster.send(claim.request, _number(lease.endpoint))
        self._leases[attempt] = lease, claim

    def ended(self, attempt: Attempt, outcome: Outcome, *, good: bool) -> None:
        """Give the slot back; finish the request or send it again."""
        lease, claim = self._leases.pop(attempt)
        again = outcome is not Outcome.ANSWERED and send_again(
            self.pool.policy.retry, self.pool.budget, outcome, self._now, self._method,
            keyed=False, replayable=True,
        )  # fmt: skip
        if again and outcome is not Outcome.REFUSED:
            claim.tried |= {lease.endpoint}
        self._give_back(claim, lease, outcome)
        if again:
            self._acquire(claim, retried=True)
        else:
            self.cluster.finish(claim.request, good=good)

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """Nobody leaves or joins but by `join`."""

    def health_changed(self, endpoint: Endpoint, now: float) -> None:  # noqa: ARG002
        """Check an endpoint that has come into doubt."""
        if endpoint.health.state is not Health.HEALTHY and endpoint not in self._checked:
            self._checked.add(endpoint)
            self._check(endpoint)

    # --- inside

    def _acquire(self, claim: Claim, *, retried: bool) -> None:
        claim.since = self._now
        got = self.pool.acquire(claim, self._now, tried=claim.tried, retried=retried)
        if isinstance(got, Lease):
            self.send(claim, got)
        else:
            self.longest_queue = max(self.longest_queue, self.pool.queued)
            if got.deadline != float("inf"):
                self.cluster.events.after(got.deadline - self._now + TICK, self._tick)

    def _give_back(self, claim: Claim, lease: Lease, outcome: Outcome) -> None:  # noqa: ARG002
        lease.release(outcome, self._now)
        if outcome is Outcome.REFUSED:
            self.cluster.events.after(REFUSAL_PAUSE + TICK, self._tick)

    def _tick(self) -> None:
        self.pool.tick(self._now)

    def _check(self, endpoint: Endpoint) -> None:
        self.cluster.events.after(STANDS, self._checked_since, endpoint, self._now)

    def _checked_since(self, endpoint: Endpoint, began: float) -> None:
        """End a check: of the connection, or by the probe if there is one and it is ejected."""
        worker = self.cluster.workers[_number(endpoint)]
        policy, health = self.pool.policy.health, endpoint.health
        probed = policy.probe is not None and health.state is Health.EJECTED
        passed = not worker.down and not (probed and worker.fault is not None)
        if passed and health.doubted_at <= began:
            self.pool.observe(endpoint, Sign.CHECK_PASSED, self._now)
        elif worker.down:
            self.pool.observe(endpoint, Sign.CHECK_FAILED, self._now)
        if health.state is Health.HEALTHY:
            self._checked.discard(endpoint)
        else:
            pause = 0.0 if passed else max(0.0, began + policy.recheck - self._now)
            self.cluster.events.after(pause, self._check, endpoint)

    def _probe(self, endpoint: Endpoint) -> None:
        """Probe one that is not ejected; a worker that fails requests fails its probe."""
        probe = self.pool.policy.health.probe
        if probe is None:
            return
        self.cluster.events.after(probe.interval, self._probe, endpoint)
        if endpoint.health.state is Health.EJECTED:
            return
        members = self.pool.endpoints.values()
        if self.cluster.workers[_number(endpoint)].fault is None:
            signs = self._verdicts.passed(endpoint, probe.failures, members)
        else:
            signs = self._verdicts.failed(endpoint, "an error", probe.failures, members)
        for about, sign, detail in signs:
            self.pool.observe(about, sign, self._now, detail)


def _number(endpoint: Endpoint) -> int:
    return int(endpoint.spec.identity)
