"""The side that asks: what this replica wants of the arbiter, and what it holds.

Owned by `replica`, which gives it a link to the arbiter and takes it away. Each of the replica's
pools has a `PoolFollower` as its decider while another replica decides. What always holds:

- each request that waits here, and each slot that is held here, has a number of its own, which
  stays the same from one arbiter to the next;
- a new arbiter is told first what is held, and then what is wanted, in order of age; nothing of the
  old one is listened to any more;
- without a link nothing is lost: who waits goes on waiting, in the pool's own queue.
"""

from itertools import count
from typing import TYPE_CHECKING

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Health, Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.peers.messages import (
    Acquire,
    Cancel,
    ForgetNames,
    Grant,
    Held,
    Message,
    NameEndpoint,
    NamePool,
    Observed,
    Promise,
    ProtocolError,
    Refuse,
    Release,
    Reported,
    Unbound,
)
from app.peers.names import Link, Named, Names

if TYPE_CHECKING:
    from collections.abc import Iterable


class PoolFollower:
    """One pool's way to the arbiter: its decider, and an observer of it."""

    def __init__(self, follower: "Follower", pool: Pool) -> None:
        self._follower = follower
        self.pool = pool

    # --- as decider

    @property
    def away(self) -> bool:
        """Whether there is no arbiter now."""
        return not self._follower.linked

    def asked(self, waiter: Waiter) -> None:
        """Ask for a slot."""
        self._follower.asked(self.pool, waiter)

    def left(self, waiter: Waiter) -> None:
        """Ask no more."""
        self._follower.left(waiter)

    def released(
        self, lease: Lease, outcome: Outcome, retry_after: float | None, detail: str
    ) -> None:
        """Give a slot back."""
        self._follower.released(lease, outcome, retry_after, detail)

    def unbounded(self, lease: Lease) -> None:
        """Say that a slot is held without a limit."""
        self._follower.unbounded(lease)

    # --- as observer

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """Nothing to tell: the arbiter watches the endpoints itself."""

    def health_changed(self, endpoint: Endpoint, now: float) -> None:  # noqa: ARG002
        """Tell of an idle connection that was closed: the arbiter may have none there.

        The rest it learns from the ends of requests, and finds out itself by its own checks.
        """
        health = endpoint.health
        if health.state is Health.SUSPECT and health.sign is Sign.IDLE_CLOSED:
            self._follower.observed(self.pool, endpoint, Sign.IDLE_CLOSED)


class Follower:
    """What this replica asks, for all its pools."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._names: Names | None = None
        self._named = Named()
        self._numbers = count(1)
        self._asks: dict[int, tuple[Pool, Waiter]] = {}
        self._numbered: dict[Waiter, int] = {}
        self._held: dict[Lease, int] = {}

    @property
    def linked(self) -> bool:
        """Whether there is an arbiter that listens."""
        return self._link is not None

    # --- the link

    def report(
        self, link: Link, pools: "Iterable[Pool]", term: int, now: float, *, leaving: bool
    ) -> None:
        """Promise the arbiter its term, and tell it all that is held and wanted here."""
        self._link, self._names, self._named = link, Names(link), Named()
        pools = list(pools)
        link.send(Promise(term, leaving))
        self._forget_what_ended(pools)
        for pool in pools:
            for lease in pool.own_leases or ():
                if lease.expires <= now:  # it is about to end, and may have been given again
                    continue
                ask = self._held.get(lease)
                if ask is None:  # given here, while nobody else decided
                    ask = self._held[lease] = next(self._numbers)
                endpoint = self._names.endpoint(pool.key, lease.endpoint)
                link.send(Held(ask, endpoint, lease.expires - now))
        link.send(Reported())
        for pool in pools:
            for waiter in pool.waiting():
                if not waiter.elsewhere:
                    self._ask(pool, waiter, now)

    def unlink(self) -> None:
        """There is no arbiter for the moment."""
        self._link = self._names = None

    def forget(self) -> None:
        """Forget all numbers: the pools decide themselves, and tell nothing until a report."""
        self._asks.clear()
        self._numbered.clear()
        self._held.clear()

    def take(self, message: Message, now: float) -> None:
        """Take in what the arbiter says. Raises `ProtocolError`."""
        if type(message) is Grant:
            self._granted(message, now)
        elif type(message) is Refuse:
            pool, waiter = self._asks.pop(message.ask, (None, None))
            if pool is not None and waiter is not None:
                del self._numbered[waiter]
                pool.cancel(waiter)
                waiter.claimant.refused(message.refusal())
        elif isinstance(message, NamePool | NameEndpoint | ForgetNames):
            self._named.take(message)
        else:
            raise ProtocolError(f"{type(message).__name__} from an arbiter")

    # --- from the pools

    def asked(self, pool: Pool, waiter: Waiter) -> None:
        """Ask for a slot, now or when there is an arbiter."""
        if self._link is not None:
            self._ask(pool, waiter, waiter.since)

    def left(self, waiter: Waiter) -> None:
        """Ask no more."""
        ask = self._numbered.pop(waiter, None)
        if ask is not None:
            del self._asks[ask]
            if self._link is not None:
                self._link.send(Cancel(ask))

    def released(
        self, lease: Lease, outcome: Outcome, retry_after: float | None, detail: str
    ) -> None:
        """Give a slot back; without an arbiter, the next report will not have it."""
        ask = self._held.pop(lease, None)
        if ask is not None and self._link is not None:
            self._link.send(Release(ask, outcome, retry_after, detail))

    def unbounded(self, lease: Lease) -> None:
        """Say that a slot is held without a limit."""
        ask = self._held.get(lease)
        if ask is not None and self._link is not None:
            self._link.send(Unbound(ask))

    def observed(self, pool: Pool, endpoint: Endpoint, sign: Sign) -> None:
        """Tell a sign of an endpoint's health."""
        if self._link is not None and self._names is not None:
            number = self._names.endpoint(pool.key, endpoint)
            self._link.send(Observed(number, sign, endpoint.health.reason))

    # --- inside

    def _ask(self, pool: Pool, waiter: Waiter, now: float) -> None:
        if self._link is None or self._names is None:
            raise AssertionError
        ask = self._numbered.get(waiter)
        if ask is None:
            ask = self._numbered[waiter] = next(self._numbers)
            self._asks[ask] = pool, waiter
        names = self._names
        names.refresh()
        tried = tuple(names.endpoint(pool.key, endpoint) for endpoint in waiter.tried)
        self._link.send(
            Acquire(
                ask,
                names.pool(pool.key),
                waiter.retried,
                now - waiter.since,
                waiter.deadline - now,
                waiter.expires - now,
                tried,
            )
        )

    def _granted(self, grant: Grant, now: float) -> None:
        _, spec = self._named.endpoint(grant.endpoint)
        pool, waiter = self._asks.pop(grant.ask, (None, None))
        if pool is None or waiter is None:
            return  # it left meanwhile, and has said so
        del self._numbered[waiter]
        if waiter.expires <= now:  # read late: the slot may be another's by now
            if self._link is not None:
                self._link.send(Cancel(grant.ask))
            return  # the pool is about to end its wait
        lease = pool.assign(waiter, spec, now)
        self._held[lease] = grant.ask
        waiter.claimant.granted(lease)

    def _forget_what_ended(self, pools: "list[Pool]") -> None:
        """Forget the numbers of what ended while the pools decided themselves."""
        leases = {lease for pool in pools for lease in pool.own_leases or ()}
        self._held = {lease: ask for lease, ask in self._held.items() if lease in leases}
        waiting = {waiter for pool in pools for waiter in pool.waiting()}
        for waiter, ask in list(self._numbered.items()):
            if waiter not in waiting:
                del self._numbered[waiter], self._asks[ask]
