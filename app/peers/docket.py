"""One pool under the arbiter: the slots that nobody has accounted for, and what waits for a pool.

A new arbiter knows what it holds itself. Until each other replica has said what it holds, or is
proved dead, all other slots of an endpoint might be theirs: they are held here, as leases, and what
a replica reports takes the place of as many. So no slot is given twice, whoever still lives. What
reporters give back is free.

Where workers refuse what is too much (`retry.refused_statuses`), they have the last word on their
cap, and nothing is held for silence.
"""

from collections import Counter
from collections.abc import Iterable

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import OnClientGone, Policy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter

WORKERS_STOP = 1.0
"""Seconds after a replica's death in which workers notice that its connections are gone."""

LONGEST = 600.0
"""Seconds that a dead replica's requests are believed to run where nothing limits them."""


def free_at(policy: Policy | None, dead_at: float) -> float:
    """Say when the requests of a replica that died then no longer run at the workers.

    Without a policy: in a pool that is not known here, and may become so.
    """
    if policy is not None and policy.on_client_gone is OnClientGone.CANCEL:
        return dead_at + WORKERS_STOP
    longest = None if policy is None else policy.timeouts.request
    return dead_at + (LONGEST if longest is None else longest)


class Docket:
    """The arbiter's view of one pool. An observer of it, while slots are unaccounted for."""

    def __init__(self, pool: Pool, now: float, *, accounted: bool) -> None:
        self.pool = pool
        self.accounted = accounted
        """Whether it is known who holds what."""

        self.rejoining: list[Waiter] = []
        """Requests that waited for an earlier arbiter: to be lined up together, by age."""

        self._reserve: dict[Endpoint, list[Lease]] = {}
        if not accounted:
            self._fill(list(pool.endpoints.values()), pool.policy, now)
        pool.observers.append(self)

    @property
    def reserved(self) -> int:
        """How many slots count as held because of silent replicas."""
        return sum(len(leases) for leases in self._reserve.values())

    # --- what the replicas say

    def place(self, spec: EndpointSpec, now: float, expires: float) -> Lease:
        """Count a slot that a replica says it holds."""
        endpoint = self.pool.endpoints.get(spec.identity)
        reserve = self._reserve.get(endpoint) if endpoint is not None else None
        if reserve:
            lease = reserve.pop()
            lease.expires = expires
            return lease
        return self.pool.hold(spec, now, elsewhere=True, expires=expires)

    def line_up(self, now: float) -> None:
        """Let those wait who have waited before."""
        if self.rejoining:
            waiters, self.rejoining = self.rejoining, []
            self.pool.line_up(waiters, now)

    def withdraw(self, waiter: Waiter) -> None:
        """Take out one that waits, wherever it stands."""
        if not self.pool.cancel(waiter) and waiter in self.rejoining:
            self.rejoining.remove(waiter)

    # --- what ends the doubt

    def account(self, now: float) -> None:
        """All have said what they hold, or are dead: the rest is free."""
        self.accounted = True
        reserve, self._reserve = self._reserve, {}
        for leases in reserve.values():
            for lease in leases:
                lease.release(Outcome.CANCELLED, now)

    def prepare_policy(self, policy: Policy, now: float) -> None:
        """Account for a cap that will be higher: it may have been so for others already."""
        if not self.accounted:
            self._fill(list(self.pool.endpoints.values()), policy, now)

    def close(self, now: float) -> None:
        """Let go of the pool: another decides."""
        self.pool.observers.remove(self)
        self.account(now)

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """Hold the slots of an endpoint that others may have known before."""
        if not self.accounted and before in {None, Phase.GONE} and endpoint.member:
            self._fill([endpoint], self.pool.policy, now)

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Nothing to do."""

    # --- inside

    def _fill(self, endpoints: Iterable[Endpoint], policy: Policy, now: float) -> None:
        cap = policy.max_in_flight
        if cap is None or policy.retry.refused_statuses:
            return
        # What is past its deadline here may have been given to another by an earlier arbiter.
        own = self.pool.own_leases or ()
        late = Counter(lease.endpoint for lease in own if lease.expires <= now)
        for endpoint in endpoints:
            leases = self._reserve.setdefault(endpoint, [])
            for _ in range(cap - endpoint.in_flight + late[endpoint]):
                leases.append(self.pool.hold(endpoint.spec, now, elsewhere=True))
