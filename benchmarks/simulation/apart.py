"""Replicas that each decide for themselves: by their own counts, a share of the cap, or hearsay.

All are the real pool. `SharedPool` adds what it lacks here: slots that are taken by others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from benchmarks.simulation.cluster import Attempt, Cluster
from benchmarks.simulation.network import Network, Wire
from benchmarks.simulation.pooled import Pooled
from benchmarks.simulation.workloads import Request


class Apart:
    """Several balancers side by side. Each request comes to one of them, drawn from `front`."""

    def __init__(self, replicas: Sequence[Pooled], front: Random) -> None:
        self.replicas = replicas
        self._front = front
        self.came_to: dict[Request, Pooled] = {}
        """Which replica got a request."""

    def join(self, cluster: Cluster, worker: int) -> None:
        """Take in a worker."""
        for replica in self.replicas:
            replica.join(cluster, worker)

    def offer(self, request: Request) -> None:
        """Let it come to a replica."""
        replica = self._front.choice(self.replicas)
        self.came_to[request] = replica
        replica.offer(request)

    def ended(self, attempt: Attempt, outcome: Outcome, *, good: bool) -> None:
        """Let its replica take it back."""
        self.came_to[attempt.request].ended(attempt, outcome, good=good)


class SharedPool(Pool):
    """A pool whose workers have requests of others too: its counts, and so its cap, are of all."""

    def hear(self, changes: Mapping[str, int], now: float) -> None:
        """Take in by how much the counts of others have changed, by the endpoints' identities."""
        for identity, change in changes.items():
            endpoint = self.endpoints[identity]
            for _ in range(change):
                self._picker.take(endpoint)
            if change < 0:
                endpoint.in_flight += change
                self._picker.update(endpoint)
        self._dispatch(now)


class Divided(Pooled):
    """A replica that has a share of each worker's slots for itself.

    Where the cap does not divide evenly, the slots that remain go in turn: to the replicas that
    follow the worker's number, so all have as many in total. All workers join before the first
    request.
    """

    def __init__(self, policy: Policy, random: Random, number: int, replicas: int) -> None:
        self._shared = SharedPool(policy, random=random)
        super().__init__(policy, random, pool=self._shared)
        self._number = number
        self._replicas = replicas

    def join(self, cluster: Cluster, worker: int) -> None:
        """Take in a worker, the others' slots on it taken for good."""
        super().join(cluster, worker)
        cap = cluster.workload.slots
        share, rest = divmod(cap, self._replicas)
        mine = share + ((self._number - worker) % self._replicas < rest)
        if mine < cap:
            self._shared.hear({str(worker): cap - mine}, cluster.events.now)


class Told(Pooled):
    """A replica that tells the others of each change of its counts, and decides on the sum."""

    def __init__(
        self, policy: Policy, random: Random, network: Network, *, each: bool = False
    ) -> None:
        self._shared = SharedPool(policy, random=random)
        super().__init__(policy, random, pool=self._shared)
        self._network = network
        self._random = random
        self._each = each
        """Whether a slot that is given back and given again is told as two changes, not as none."""

        self._peers: list[tuple[Wire, Told]] = []
        self._changes: Counter[str] = Counter()
        self._planned = False
        self.pool.dispatch_observer = self

    def connect(self, others: Sequence["Told"]) -> None:
        """Tell those from now on."""
        self._peers = [(Wire(self._network, self._random), other) for other in others]

    # --- as dispatch observer of the pool

    def granted(self, lease: Lease, pool: Pool) -> None:  # noqa: ARG002
        """Follow a slot that was given."""
        self._change(lease.endpoint.spec.identity, 1)

    def released(self, lease: Lease, outcome: Outcome) -> None:  # noqa: ARG002
        """Follow a slot that was given back."""
        self._change(lease.endpoint.spec.identity, -1)

    # --- inside

    def _change(self, identity: str, change: int) -> None:
        if self._each:
            self._tell({identity: change})
            return
        self._changes[identity] += change
        if not self._planned:
            self._planned = True
            self.cluster.events.after(0.0, self._tell_all)

    def _tell_all(self) -> None:
        """Tell what this moment comes to."""
        changes = {identity: change for identity, change in self._changes.items() if change}
        self._planned = False
        self._changes.clear()
        if changes:
            self._tell(changes)

    def _tell(self, changes: Mapping[str, int]) -> None:
        for wire, peer in self._peers:
            wire.carry(self.cluster.events, peer.hear, changes)

    def hear(self, changes: Mapping[str, int]) -> None:
        """Take in what another told."""
        self._shared.hear(changes, self.cluster.events.now)
