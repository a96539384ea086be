"""The arbiter's books: which replicas there are, what each holds, and what nobody accounts for.

Owned by `arbiter`, which enters what is said. What always holds:

- a slot that another replica holds is counted until that replica says that it is free, or is proved
  dead for long enough that workers have noticed, or its request's own deadline has passed while
  nothing is known of the replica. The end of a connection proves nothing;
- what a replica did not give back itself is freed only if the Lease was found to be this arbiter's
  after the death or the deadline: else a later arbiter, to which that replica has gone, may have
  given the slot to another request already;
- until all have said what they hold, what is not accounted for counts as held (`docket`);
- what a replica reports takes the place of all that was known of it.
"""

from collections.abc import Iterable
from itertools import count
from math import inf, isfinite

from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers.docket import WORKERS_STOP, Docket, free_at
from app.peers.peer import Holding, Peer
from app.peers.record import Held, Member, sum_up


class Books:
    """Those of one term."""

    def __init__(
        self, me: Member, members: Iterable[Member], pools: Iterable[Pool], now: float
    ) -> None:
        self.peers = {member.id: Peer(member) for member in members if member.id != me.id}
        self.accounted = not self.peers
        """Whether it is known who holds what."""

        self.confirmed = now
        """Until when this was the arbiter for certain: the Lease said so."""

        self.to_strike: set[str] = set()
        """Members that are gone, with all they held: to be taken out of the Lease."""

        self.dockets: dict[str, Docket] = {}
        self._my_id = me.id
        self._inherited = frozenset(self.peers)
        """The ids of those that an earlier arbiter may have given something: who has joined in this
        term has had no other arbiter, unless a later one."""

        self._unheard: dict[str, float] = {}
        """When the death of those was proved that never said what they held."""

        for pool in pools:
            self.add_pool(pool, now)
        self.account(now)

    # --- pools

    def add_pool(self, pool: Pool, now: float) -> None:
        """Decide for this pool too; what was said of it before is made up for."""
        docket = self.dockets[pool.key] = Docket(
            pool, now, accounted=self.accounted and not self._in_doubt(pool, now)
        )
        self.accounted = self.accounted and docket.accounted
        for peer in self.peers.values():
            for holding in peer.holdings.values():
                if holding.pool == pool.key and holding.lease is None:
                    holding.lease = docket.place(holding.spec, now, holding.expires)
            for claim in peer.claims.values():
                if claim.pool == pool.key and claim.waiter is not None:
                    docket.rejoining.append(claim.waiter)
        docket.line_up(now)

    def remove_pool(self, pool: Pool, now: float) -> None:
        """Decide for this pool no more: it has no requests, here or elsewhere."""
        docket = self.dockets.pop(pool.key, None)
        if docket is not None:
            docket.close(now)

    def prepare_policy(self, pool: Pool, policy: Policy, now: float) -> None:
        """Prepare for another policy of a pool."""
        docket = self.dockets.get(pool.key)
        if docket is not None:
            docket.prepare_policy(policy, now)

    # --- replicas

    def know(self, members: Iterable[Member]) -> None:
        """Take note of those that stand in the Lease: one may die before it comes here."""
        listed = {member.id: member for member in members}
        self.to_strike.intersection_update(listed)
        for member_id, member in listed.items():
            if member_id not in self.peers and member_id not in {self._my_id, *self.to_strike}:
                self.peers[member_id] = Peer(member)

    def dead(self, peer: Peer, now: float) -> None:
        """Take note of a proof that the replica's process is no more."""
        peer.dead_at = now
        if not peer.answered:
            self._unheard[peer.member.id] = now

    def believe(self, member_id: str, held: Held, now: float) -> None:
        """Take in what a replica holds by an earlier arbiter's books, until it says so itself.

        It has to be an upper bound: no arbiter may have come between that one and this.
        """
        peer = self.peers.get(member_id)
        if peer is None or peer.answered:
            return
        numbers = count(-1, -1)  # no request's: what it says itself takes the place of as many
        for name, slots in held.items():
            for identity, times in slots.items():
                spec = EndpointSpec(identity, "", 0)
                for seconds in times:
                    expires = inf if seconds is None else now + seconds
                    docket = self.dockets.get(name)
                    lease = docket.place(spec, now, expires) if docket is not None else None
                    peer.holdings[next(numbers)] = Holding(name, spec, expires, lease)
        peer.answered = True
        self.account(now)

    def held(self, now: float) -> dict[str, Held]:
        """Say what each of the others holds at the most, as far as it is known."""
        return {
            member_id: sum_up(
                ((one.pool, one.spec.identity, one.expires) for one in peer.holdings.values()), now
            )
            for member_id, peer in self.peers.items()
            if peer.answered
        }

    def take_report(self, peer: Peer, report: dict[int, Holding], now: float) -> None:
        """Put what a replica says that it holds in the place of what was known."""
        known, peer.holdings = peer.holdings, report
        believed: dict[tuple[str, str], list[int]] = {}
        for ask, holding in known.items():
            if ask < 0:
                believed.setdefault((holding.pool, holding.spec.identity), []).append(ask)
        for ask, holding in report.items():
            before = known.pop(ask, None)
            if before is None and (same := believed.get((holding.pool, holding.spec.identity))):
                before = known.pop(same.pop())
            if before is not None and before.lease is not None:
                holding.lease = before.lease
                holding.lease.expires = holding.expires
            elif (docket := self.dockets.get(holding.pool)) is not None:
                holding.lease = docket.place(holding.spec, now, holding.expires)
        peer.answered = True
        self._unheard.pop(peer.member.id, None)
        for holding in known.values():  # given back while nobody heard it
            if holding.lease is not None:
                holding.lease.release(Outcome.CANCELLED, now)

    def free(self, peer: Peer, ask: int, now: float) -> None:
        """Free what the replica held for that request, if anything."""
        holding = peer.holdings.pop(ask, None)
        if holding is not None and holding.lease is not None:
            holding.lease.release(Outcome.CANCELLED, now)

    def close(self, now: float) -> None:
        """Let go of all that is held. The pools must have another decider already."""
        for peer in self.peers.values():
            for holding in peer.holdings.values():
                if holding.lease is not None:
                    holding.lease.release(Outcome.CANCELLED, now)
        for docket in self.dockets.values():
            docket.close(now)

    # --- time

    def tick(self, now: float) -> None:
        """Free what can no longer run, and settle what is no longer in doubt."""
        for peer in list(self.peers.values()):
            if peer.link is None:
                self._expire(peer, now)
                stopped = peer.dead_at is not None and now >= peer.dead_at + WORKERS_STOP
                if stopped and not peer.holdings and self.accounted:
                    del self.peers[peer.member.id]
                    self.to_strike.add(peer.member.id)
        self.account(now)

    def _expire(self, peer: Peer, now: float) -> None:
        """Free slots of a replica that is dead, or of which nothing is known."""
        for ask, holding in list(peer.holdings.items()):
            until = since = holding.expires
            if peer.dead_at is not None:
                docket = self.dockets.get(holding.pool)
                policy = None if docket is None else docket.pool.policy
                until = min(until, free_at(policy, peer.dead_at))
                since = min(since, peer.dead_at)
            if isfinite(until) and now >= until and (peer.said_goodbye or self.confirmed >= since):
                self.free(peer, ask, now)

    def account(self, now: float) -> None:
        """End the doubt where everybody has answered, or was dead for long enough."""
        if self.accounted:
            return
        if any(peer.dead_at is None and not peer.answered for peer in self.peers.values()):
            return
        for docket in self.dockets.values():
            if not docket.accounted and not self._in_doubt(docket.pool, now):
                docket.account(now)
        self.accounted = all(docket.accounted for docket in self.dockets.values())

    def _in_doubt(self, pool: Pool, now: float) -> bool:
        """Tell whether requests of the dead that nobody knows of may still run, or others instead.

        They have never come here, and may have gone to a later arbiter: as in `_expire`.
        """
        return any(
            (member_id in self._inherited and now < free_at(pool.policy, dead_at))
            or self.confirmed < dead_at
            for member_id, dead_at in self._unheard.items()
        )
