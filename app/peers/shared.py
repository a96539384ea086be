"""The pools that the replicas share, and who decides for them here.

Owned by `replica`, which says when that changes.
"""

from collections.abc import Iterator

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers.follower import Follower, PoolFollower
from app.peers.record import Held, sum_up


class SharedPools:
    """All of them. In the beginning another decides."""

    def __init__(self) -> None:
        self.follower = Follower()
        """Asks another replica, for all of them."""

        self._pools: dict[Pool, PoolFollower] = {}
        self._deciding = False

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools)

    # --- which they are

    def add(self, pool: Pool, now: float) -> None:
        """Let the pool's slots be decided by the replicas together."""
        pool.own_leases = set()
        self._pools[pool] = follower = PoolFollower(self.follower, pool)
        pool.observers.append(follower)
        if not self._deciding:
            pool.decide_by(follower, now)

    def remove(self, pool: Pool) -> None:
        """Forget a pool that has no requests any more."""
        pool.observers.remove(self._pools.pop(pool))

    def prepare_policy(self, pool: Pool, policy: Policy, now: float) -> None:
        """End self-help where the pool's workers will no longer refuse what is too much."""
        if not self._deciding and pool.decider is None and not policy.retry.refused_statuses:
            pool.decide_by(self._pools[pool], now)

    # --- who decides

    def follow(self, now: float) -> None:
        """Let another decide; as long as there is none, requests wait."""
        self._deciding = False
        for pool, follower in self._pools.items():
            pool.decide_by(follower, now)

    def decide(self, now: float) -> None:
        """Let the pools decide themselves: this replica is the arbiter."""
        self._deciding = True
        for pool in self._pools:
            pool.decide_by(None, now)

    def help_themselves(self, now: float) -> None:
        """Let those decide on this replica's count whose workers refuse what is too much."""
        for pool in self._pools:
            if pool.decider is not None and pool.policy.retry.refused_statuses:
                pool.decide_by(None, now)

    # --- what is in them

    def held(self, now: float) -> Held:
        """Say what this replica's own requests hold."""
        leases = ((pool, lease) for pool in self._pools for lease in pool.own_leases or ())
        return sum_up(
            ((pool.key, lease.endpoint.spec.identity, lease.expires) for pool, lease in leases), now
        )

    @property
    def have_requests(self) -> bool:
        """Whether requests of this replica wait or are at workers."""
        return any(
            pool.own_leases or any(not waiter.elsewhere for waiter in pool.waiting())
            for pool in self._pools
        )
