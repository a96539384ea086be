"""One view: one replica, the arbiter, decides with its pool; the others ask it over a network.

A slot is asked for, granted and given back by a message each. So a slot that comes free is known
only when its message is there, and its next request begins only when the grant is. The arbiter asks
itself without delay.
"""

from random import Random

from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from benchmarks.simulation.network import Network, Wire
from benchmarks.simulation.pooled import Claim, Pooled
from benchmarks.simulation.workloads import Request


class Arbitrated(Pooled):
    """Several replicas with one pool. Each request comes to one of them, drawn from `front`."""

    def __init__(
        self, policy: Policy, random: Random, front: Random, replicas: int, network: Network
    ) -> None:
        super().__init__(policy, random)
        self._front = front
        self._replicas = range(replicas)
        self._asking = [Wire(network, random) for _ in self._replicas]
        self._granting = [Wire(network, random) for _ in self._replicas]
        self.came_to: dict[Request, int] = {}
        """Which replica got a request."""

    def offer(self, request: Request) -> None:
        """Let it come to a replica."""
        self.came_to[request] = self._front.choice(self._replicas)
        super().offer(request)

    def send(self, claim: Claim, lease: Lease) -> None:
        """Tell its replica of the grant, which sends the request when it hears of it."""
        replica = self.came_to[claim.request]
        if replica == 0:
            super().send(claim, lease)
        else:
            self._granting[replica].carry(self.cluster.events, super().send, claim, lease)

    def _acquire(self, claim: Claim, *, retried: bool) -> None:
        replica = self.came_to[claim.request]
        if replica == 0:
            self._decide(claim, retried)
        else:
            self._asking[replica].carry(self.cluster.events, self._decide, claim, retried)

    def _decide(self, claim: Claim, retried: bool) -> None:
        super()._acquire(claim, retried=retried)

    def _give_back(self, claim: Claim, lease: Lease, outcome: Outcome) -> None:
        replica = self.came_to[claim.request]
        if replica == 0:
            super()._give_back(claim, lease, outcome)
        else:
            self._asking[replica].carry(
                self.cluster.events, super()._give_back, claim, lease, outcome
            )
