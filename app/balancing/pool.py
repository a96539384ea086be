"""The pool: the only writer of counts, phases and the queue.

Who calls it: discovery (`apply_snapshot`), configuration (`apply_policy`), the probes and the idle
connections (`observe`), the exchanges (`acquire`, `cancel`, `Lease.release`), the peers (`hold`,
`assign`, `line_up`, `decide_by`), and one ticker (`tick`). All from one thread.

What always holds between two calls:

- an endpoint's `in_flight` is the number of its unreleased leases, and never grows past the cap;
- nobody waits who could be served, before the deadline of its request: so a new request that finds
  a slot overtakes nobody who could have used it;
- nothing new is granted to an endpoint out of rotation, nor to a request past its own deadline;
- with a `decider` (several replicas, of which another one decides) nothing is granted here but what
  came by `assign`; the three above hold for the replica that decides, whose counts include the
  slots that the others hold.

In rotation are the serving endpoints that are neither terminating nor ejected; only if there are
none, the terminating ones that still serve. One that said "full", or whose request has just died,
stays in rotation but is withheld: not chosen until its pause or its check is over.
"""

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Final

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.health import HealthRecord, Sign
from app.balancing.lease import LET_DOWN, SIGNS, Lease, Outcome
from app.balancing.observers import Decider, DispatchObserver, PoolObserver
from app.balancing.picker import Picker
from app.balancing.policy import Policy
from app.balancing.retry import RetryBudget
from app.balancing.rotation import Rotation
from app.balancing.waiters import Claimant, Waiter, Waiters

REFUSAL_PAUSE: Final = 0.1
"""Seconds that an endpoint gets nothing after it said "full" without a Retry-After."""

REFUSAL_PAUSE_MAX: Final = 30.0
"""The longest Retry-After of a worker that is honoured, in seconds."""

_NOBODY: Final[frozenset[Endpoint]] = frozenset()
_ANSWERED: Final = Outcome.ANSWERED


class Pool:
    """The endpoints of one service, their slots, and the requests that wait for one."""

    def __init__(
        self,
        policy: Policy,
        *,
        name: str = "default",
        key: str = "",
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.key = key
        """What the replicas of a balancer call it among themselves: it stays, a name may change."""

        self.policy = policy
        self.endpoints: dict[str, Endpoint] = {}
        """By identity; those that left are kept until their last request has ended."""

        self.in_flight = 0
        self.elsewhere = 0
        """How many of those in flight are other replicas'."""

        self.budget = RetryBudget()
        self.observers: list[PoolObserver] = []
        self.dispatch_observer: DispatchObserver | None = None
        self.decider: Decider | None = None
        """Who decides in this pool's place which request gets which slot; None: it does itself."""

        self.own_leases: set[Lease] | None = None
        """The leases of requests that are here; None where nobody wants to know."""

        self._waiters = Waiters()
        self._picker = Picker(random or Random())
        self._rotation = Rotation(self.endpoints, self._picker, self.observers)
        self.rotation = self._rotation.endpoints
        """The endpoints that new requests may go to."""

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._waiters)

    @property
    def own_in_flight(self) -> int:
        """How many requests of this replica the endpoints have."""
        return self.in_flight - self.elsewhere

    @property
    def own_queued(self) -> int:
        """How many requests of this replica wait."""
        return len(self._waiters) - self._waiters.elsewhere

    # --- what is known of the endpoints

    def apply_snapshot(self, specs: Iterable[EndpointSpec], now: float) -> None:
        """Take in all endpoints that discovery sees now; those not named have left."""
        seen = {spec.identity: spec for spec in specs}
        for identity, endpoint in list(self.endpoints.items()):
            if endpoint.member and identity not in seen:
                self._remove(endpoint, now)
        for identity, spec in seen.items():
            known = self.endpoints.get(identity)
            if known is None:
                self.endpoints[identity] = endpoint = Endpoint(spec)
                self._rotation.follow(endpoint, None, now)
            elif (known.spec is not spec and known.spec != spec) or not known.member:
                before = known.phase
                if not known.member:
                    known.health = HealthRecord()
                known.member, known.spec = True, spec
                self._rotation.follow(known, before, now)
        self._dispatch(now)

    def apply_policy(self, policy: Policy, now: float) -> None:
        """Obey other limits from now on; what runs or waits goes on under its old deadline."""
        self.policy = policy
        self._dispatch(now)

    def observe(self, endpoint: Endpoint, sign: Sign, now: float, detail: str = "") -> None:
        """Take in a sign of the endpoint's health that is not the end of a request."""
        self._weigh(endpoint, sign, now, detail)
        self._dispatch(now)

    def tick(self, now: float) -> None:
        """End the pauses and the waits whose time is over. To be called every 50 ms or so.

        Until then a pause goes on, and a waiter past the end of its wait may still be served.
        """
        if self._rotation.resume(now):
            self._dispatch(now)
        for waiter in self._waiters.expire(now):
            if self.decider is not None:
                self.decider.left(waiter)
            refusal: Refusal = QueueTimeout() if self.rotation else NoEndpoint()
            waiter.claimant.refused(refusal)

    # --- slots

    def acquire(
        self,
        claimant: Claimant,
        now: float,
        *,
        deadline: float = inf,
        waited: float = 0.0,
        tried: frozenset[Endpoint] = _NOBODY,
        retried: bool = False,
        elsewhere: bool = False,
    ) -> Lease | Waiter:
        """Give the request a slot on the least-loaded endpoint, or a place in the queue.

        With a `Waiter`, `claimant` is told later; the wait ends at `queue.timeout`, of which the
        `waited` seconds of earlier waits are taken off, or at `deadline` (the request's own),
        whichever is earlier. `tried` endpoints are passed over while others are in rotation. A
        `retried` request waits before the fresh ones. `elsewhere`: for another replica. Raises
        `QueueFull`.
        """
        decider = self.decider
        if decider is None and now < deadline:
            cap = self.policy.max_in_flight
            endpoint = self._choose(tried) if tried else self._picker.pick(cap)
            if endpoint is not None:
                return self._grant(endpoint, now, deadline, elsewhere=elsewhere)
        queue = self.policy.queue
        if not retried and self._waiters.fresh >= queue.size + self._asking():
            raise QueueFull
        until = min(now + max(0.0, queue.timeout - waited), deadline)
        waiter = Waiter(
            claimant, now, until, tried, retried=retried, expires=deadline, elsewhere=elsewhere
        )
        self._waiters.join(waiter)
        if decider is not None:
            decider.asked(waiter)
        return waiter

    def cancel(self, waiter: Waiter) -> bool:
        """Leave the queue; return whether the waiter still stood there."""
        stood = self._waiters.leave(waiter)
        if stood and self.decider is not None:
            self.decider.left(waiter)
        return stood

    def take_back(
        self, lease: Lease, outcome: Outcome, now: float, retry_after: float | None, detail: str
    ) -> None:
        """Take a slot back. Called by `Lease.release` alone, which keeps it to once."""
        endpoint = lease.endpoint
        endpoint.in_flight -= 1
        self.in_flight -= 1
        self._picker.update(endpoint)
        if lease.elsewhere:
            endpoint.elsewhere -= 1
            self.elsewhere -= 1
        elif self.own_leases is not None:
            self.own_leases.discard(lease)
        if outcome is _ANSWERED:
            endpoint.health.failures = 0  # see the table in `health`
        else:
            self._account(lease, outcome, now, retry_after, detail)
        if not endpoint.member and endpoint.in_flight == 0:
            self.endpoints.pop(endpoint.spec.identity, None)
        if self.dispatch_observer is not None:
            self.dispatch_observer.released(lease, outcome)
        if self.decider is not None:
            self.decider.released(lease, outcome, retry_after, detail)
        elif self._waiters.standing:
            self._dispatch(now)

    # --- slots, where several replicas count as one

    def hold(
        self, spec: EndpointSpec, now: float, *, elsewhere: bool, expires: float = inf
    ) -> Lease:
        """Count a slot that was given by somebody else, whatever the cap and the phase.

        An endpoint that is not known here is kept as one that has left, until it joins.
        """
        endpoint = self.endpoints.get(spec.identity)
        if endpoint is None:
            endpoint = self.endpoints[spec.identity] = Endpoint(spec)
            endpoint.member = False
        self._picker.take(endpoint)
        return self._lease(endpoint, now, expires, elsewhere=elsewhere)

    def assign(self, waiter: Waiter, spec: EndpointSpec, now: float) -> Lease:
        """Let a waiter leave with the slot that the decider gave it; the caller tells it so."""
        self._waiters.leave(waiter)
        lease = self.hold(spec, now, elsewhere=False, expires=waiter.expires)
        lease.endpoint.granted += 1
        return lease

    def waiting(self) -> list[Waiter]:
        """Return those who wait, first to be served first."""
        return list(self._waiters)

    def line_up(self, waiters: Iterable[Waiter], now: float) -> None:
        """Take in those who waited elsewhere, each at the place that its age gives it."""
        for waiter in waiters:
            self._waiters.join(waiter)
        self._waiters.sort()
        self._dispatch(now)

    def decide_by(self, decider: Decider | None, now: float) -> None:
        """Let somebody else decide from now on, or the pool itself; who waits goes on waiting."""
        self.decider = decider
        self._dispatch(now)

    # --- inside

    def _asking(self) -> float:
        """Say how many may stand in the queue that another replica is about to give a slot.

        It bounds the queue of all itself, if it knows this pool.
        """
        if self.decider is None or self.decider.away or not self.rotation:
            return 0.0
        cap = self.policy.max_in_flight
        return inf if cap is None else cap * len(self.rotation)

    def _grant(self, endpoint: Endpoint, now: float, expires: float, *, elsewhere: bool) -> Lease:
        """Give a slot that was picked, and so counted."""
        if not elsewhere:
            endpoint.granted += 1
        return self._lease(endpoint, now, expires, elsewhere=elsewhere)

    def _lease(self, endpoint: Endpoint, now: float, expires: float, *, elsewhere: bool) -> Lease:
        self.in_flight += 1
        lease = Lease(self, endpoint, now, expires, elsewhere=elsewhere)
        if elsewhere:
            endpoint.elsewhere += 1
            self.elsewhere += 1
        elif self.own_leases is not None:
            self.own_leases.add(lease)
        if self.dispatch_observer is not None:
            self.dispatch_observer.granted(lease, self)
        return lease

    def _choose(self, tried: frozenset[Endpoint]) -> Endpoint | None:
        """Pick and count; `tried` endpoints only when no other is in rotation."""
        if tried and not self.rotation <= tried:
            return self._picker.pick(self.policy.max_in_flight, tried)
        return self._picker.pick(self.policy.max_in_flight)

    def _dispatch(self, now: float) -> None:
        """Serve those who wait, in order, as far as there are slots for them."""
        while self.decider is None and self._waiters:
            for waiter in self._waiters:
                if waiter.expires <= now:
                    continue  # `tick` is about to refuse it
                endpoint = self._choose(waiter.tried)
                if endpoint is not None:
                    break
                if not waiter.tried:
                    return  # who excludes nobody saw every slot: there is none for those behind
            else:
                return
            self._waiters.leave(waiter)
            lease = self._grant(endpoint, now, waiter.expires, elsewhere=waiter.elsewhere)
            waiter.claimant.granted(lease)

    def _account(
        self,
        lease: Lease,
        outcome: Outcome,
        now: float,
        retry_after: float | None,
        detail: str,
    ) -> None:
        """Take in an end that was not an answer."""
        endpoint, here = lease.endpoint, not lease.elsewhere
        if outcome in LET_DOWN:
            endpoint.failed += here
        elif outcome in {Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT}:
            endpoint.connect_errors += here
        elif outcome is Outcome.REFUSED:
            endpoint.refusals += here
            seconds = REFUSAL_PAUSE if retry_after is None else retry_after
            self._rotation.pause(endpoint, now, min(seconds, REFUSAL_PAUSE_MAX))
            return
        else:
            return  # the client's doing, or ours: says nothing of the worker
        endpoint.last_error = f"{outcome.value}: {detail}" if detail else outcome.value
        endpoint.last_error_at = now
        if outcome in SIGNS and lease.granted_at >= endpoint.health.recovered_at:
            self._weigh(endpoint, SIGNS[outcome], now, detail)

    def _weigh(self, endpoint: Endpoint, sign: Sign, now: float, detail: str) -> None:
        before = endpoint.phase
        if endpoint.health.observe(sign, self.policy.health, now, detail):
            self._rotation.follow(endpoint, before, now)
            for observer in self.observers:
                observer.health_changed(endpoint, now)

    def _remove(self, endpoint: Endpoint, now: float) -> None:
        before = endpoint.phase
        endpoint.member = False
        self._rotation.forget_pause(endpoint)  # one that returns begins anew
        if endpoint.in_flight == 0:
            del self.endpoints[endpoint.spec.identity]
        self._rotation.follow(endpoint, before, now)
