"""A simulated replica's process: its pools, its requests, and what it is told and does in time."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.errors import QueueFull, Refusal
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import OnClientGone, Policy, QueuePolicy, TimeoutPolicy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.peers.record import Member, Record
from app.peers.replica import Replica
from tests.unit.peers.kube import TIMEOUT, Store
from tests.unit.peers.network import DIALING, Dial

if TYPE_CHECKING:
    from tests.unit.peers.world import World

REQUEST = 16.0
"""Seconds that a request may take."""

QUEUE = 6.0
"""Seconds that a request may wait."""

POOLS = {"cancel": OnClientGone.CANCEL, "finish": OnClientGone.FINISH}
ENDPOINTS = ("x", "y")


def policy(pool: str, cap: int) -> Policy:
    """Return the limits of a pool."""
    return Policy(
        max_in_flight=cap,
        on_client_gone=POOLS[pool],
        queue=QueuePolicy(size=6, timeout=QUEUE),
        timeouts=TimeoutPolicy(request=REQUEST),
    )


class Request:
    """One request, from its coming to its end: a claimant that passes on what it is told."""

    def __init__(self, process: "Process", pool: str, expires: float) -> None:
        self.process = process
        self.pool = pool
        self.expires = expires
        """When it has to be over."""

        self.until = expires
        """When its worker stops at the latest."""

        self.retried = False
        self.tried: frozenset[Endpoint] = frozenset()
        self.waiter: Waiter | None = None
        self.lease: Lease | None = None
        self.over = False

    def __repr__(self) -> str:
        return f"<{self.process.member.id} {self.pool} until {self.until}>"

    @property
    def place(self) -> tuple[str, str]:
        """Where it runs."""
        if self.lease is None:
            raise AssertionError
        return self.pool, self.lease.endpoint.spec.identity

    def ask(self) -> None:
        """Ask for a slot."""
        try:
            got = self.process.pools[self.pool].acquire(
                self,
                self.process.world.now,
                deadline=self.expires,
                tried=self.tried,
                retried=self.retried,
            )
        except QueueFull:
            self.over = True
            return
        if isinstance(got, Lease):
            self.granted(got)
        else:
            self.waiter = got

    def granted(self, lease: Lease) -> None:
        assert self.lease is None, "granted twice"
        assert not self.over, "granted after its end"
        self.lease, self.waiter = lease, None
        self.process.world.starts(self)

    def refused(self, refusal: Refusal) -> None:
        assert self.lease is None, "refused after its grant"
        assert not self.over, "refused after its end"
        self.waiter, self.over = None, True

    def ends(self, outcome: Outcome, *, again: bool = False) -> None:
        """End the attempt."""
        if self.over or self.lease is None or not self.process.alive:
            return
        self.process.world.ends(self)
        lease, self.lease, self.over = self.lease, None, not again
        lease.release(outcome, self.process.world.now)
        if again:
            self.retried, self.tried = True, frozenset({lease.endpoint})
            self.ask()

    def client_leaves(self) -> None:
        """Leave the queue, or end the attempt where workers stop then."""
        if self.waiter is not None:
            assert self.process.pools[self.pool].cancel(self.waiter)
            self.waiter, self.over = None, True
        elif POOLS[self.pool] is OnClientGone.CANCEL:
            self.ends(Outcome.CLIENT_GONE)


class Process:
    """One process of one pod, with its replica."""

    def __init__(self, world: "World", pod: str, uid: str, number: int, versions: int) -> None:
        self.world = world
        self.pod = pod
        self.member = Member(f"{uid}.{number}", pod, uid, f"{pod}:1")
        self.newest_version = versions
        self.alive = True
        self.stopped = False
        """By SIGSTOP."""

        self.leaving = self.stopping = False
        self.pools: dict[str, Pool] = {}
        self.caps: dict[str, int] = {}
        self.requests: list[Request] = []
        self.dialing: Dial | None = None
        self.store = Store(self)
        self.replica = Replica(self.member, self, world.now)

    @property
    def older(self) -> bool:
        """Whether it is of an older build."""
        return self.newest_version == 1

    def __repr__(self) -> str:
        state = "stopped" if self.stopped else self.replica.role.value if self.alive else "dead"
        return f"<{self.member.id} {state} {self.replica.promised}>"

    @property
    def awake(self) -> bool:
        """Whether it does anything."""
        return self.alive and not self.stopped

    # --- effects

    def read_lease(self) -> None:
        self.store.read_lease()

    def write_lease(self, record: Record, version: str) -> None:
        self.store.write_lease(record, version)

    def read_pod(self, member: Member) -> None:
        self.store.read_pod(member)

    def dial(self, member: Member) -> None:
        assert self.dialing is None, "dials twice at once"
        self.dialing = Dial(self, member)

    # --- what it is told

    def learn(self, name: str, cap: int, endpoints: frozenset[str]) -> None:
        """Learn of a pool, or of other endpoints of one that is known."""
        pool = self.pools.get(name)
        if pool is None:
            self.caps[name] = cap
            pool = self.pools[name] = Pool(policy(name, cap), name=name, key=name, random=Random(1))
            self.replica.add_pool(pool, self.world.now)
        specs = [EndpointSpec(i, "10.0.0.1", 80, i) for i in sorted(endpoints)]
        pool.apply_snapshot(specs, self.world.now)

    def obey(self, name: str, cap: int) -> None:
        """Obey another cap."""
        pool = self.pools[name]
        self.caps[name] = cap
        self.replica.prepare_policy(pool, policy(name, cap), self.world.now)
        pool.apply_policy(policy(name, cap), self.world.now)

    def accept(self, pool: str, seconds: float) -> None:
        """Take a request of a client."""
        request = Request(self, pool, self.world.now + seconds)
        self.requests.append(request)
        request.ask()

    # --- time

    @property
    def chores(self) -> list[Callable[[], None]]:
        """What is due from time to time, in any order."""
        return [self._tick, self._tick_pools, self._sweep, self._give_up, self._part]

    def _tick(self) -> None:
        self.replica.tick(self.world.now)

    def _tick_pools(self) -> None:
        for pool in self.pools.values():
            for endpoint in list(pool.endpoints.values()):  # checks find nothing
                if endpoint.health.sign is not None:
                    pool.observe(endpoint, Sign.CHECK_PASSED, self.world.now)
            pool.tick(self.world.now)

    def _sweep(self) -> None:
        self.requests = [request for request in self.requests if not request.over]
        for request in list(self.requests):
            if request.expires <= self.world.now:
                request.ends(Outcome.EXPIRED)

    def part(self) -> None:
        """End gracefully: an arbiter waits until it has written that it goes."""
        self.leaving = self.stopping = True
        self.replica.stop()
        if self.replica.arbiter is None:
            self._part()

    def _part(self) -> None:
        writing = self.alive and any(not call.over for call in self.store.calls)
        if self.stopping and not (self.replica.arbiter is not None and writing):
            self.world.kube.pods.pop(self.pod, None)
            self.die()

    def _give_up(self) -> None:
        self.store.give_up(self.world.now - TIMEOUT)
        if self.dialing is not None and self.world.now - self.dialing.started >= DIALING:
            self.dialing.failed()

    # --- its end

    def die(self) -> None:
        """Be killed: workers notice within a second, or go on."""
        self.alive = self.stopped = False
        for wire in self.world.wires:
            wire.died(self)
        self.world.left_alone(self)
