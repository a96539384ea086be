"""The side that decides: what the other replicas hold and want, on this replica's own pools.

Made by `replica` for each term in which this replica is the arbiter, and closed at its end. The
pools decide as they do alone; the others' requests wait in the same queues, and their slots are
leases like any. What always holds:

- a slot that another replica holds is counted until that replica says that it is free, or is proved
  dead for long enough that workers have noticed, or its request's own deadline has passed while
  nothing is known of the replica. The end of a connection proves nothing;
- what a replica did not give back itself is freed only if the Lease was found to be this arbiter's
  after the death or the deadline: else a later arbiter, to which that replica has gone, may have
  given the slot to another request already;
- until all have said what they hold, what is not accounted for counts as held (`docket`);
- what a replica reports takes the place of all that was known of it.
"""

from collections.abc import Callable, Iterable
from itertools import count
from math import inf, isfinite
from typing import Any, Final

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.errors import QueueFull
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.peers import messages
from app.peers.docket import WORKERS_STOP, Docket, free_at
from app.peers.messages import Message, ProtocolError
from app.peers.names import Link, Named, Names
from app.peers.peer import Claim, Holding, Peer
from app.peers.record import Held, Member, sum_up

_NOBODY: Final[frozenset[Endpoint]] = frozenset()
_BEFORE_ANSWER: Final = frozenset(
    {
        messages.NamePool, messages.NameEndpoint, messages.ForgetNames, messages.Higher,
        messages.Promise, messages.Held, messages.Reported, messages.Alive, messages.Leaving,
        messages.Goodbye,
    }
)  # fmt: skip


class HigherTermError(Exception):
    """A replica has promised a higher term than this one."""

    def __init__(self, term: int) -> None:
        super().__init__(term)
        self.term = term


class Arbiter:
    """One term of deciding."""

    def __init__(
        self, me: Member, term: int, members: Iterable[Member], pools: Iterable[Pool], now: float
    ) -> None:
        self.me = me
        self.term = term
        self.peers = {member.id: Peer(member) for member in members if member.id != me.id}
        self.accounted = not self.peers
        """Whether it is known who holds what."""

        self.confirmed = now
        """Until when this was the arbiter for certain: the Lease said so."""

        self.to_strike: set[str] = set()
        """Members that are gone, with all they held: to be taken out of the Lease."""

        self.dockets: dict[str, Docket] = {}
        self._unheard: dict[str, float] = {}
        """When the death of those was proved that never said what they held."""

        self._linked: dict[Link, Peer] = {}
        self._handlers: dict[type[Message], Callable[[Peer, Any, float], None]] = {
            messages.Acquire: self._acquire,
            messages.Release: self._release,
            messages.Cancel: self._cancel,
            messages.NamePool: self._name,
            messages.NameEndpoint: self._name,
            messages.ForgetNames: self._name,
            messages.Higher: self._higher,
            messages.Promise: self._promise,
            messages.Held: self._held,
            messages.Reported: self._reported,
            messages.Unbound: self._unbound,
            messages.Observed: self._observed,
            messages.Leaving: self._leaving,
            messages.Goodbye: self._goodbye,
            messages.Alive: self._alive,
        }
        for pool in pools:
            self.add_pool(pool, now)
        self._account(now)

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
        self._account(now)

    def books(self, now: float) -> dict[str, Held]:
        """Say what each of the others holds at the most, as far as it is known."""
        return {
            member_id: sum_up(
                ((one.pool, one.spec.identity, one.expires) for one in peer.holdings.values()), now
            )
            for member_id, peer in self.peers.items()
            if peer.answered
        }

    def close(self, now: float) -> None:
        """Decide no more. The pools must have another decider already."""
        for peer in self.peers.values():
            self._cancel_claims(peer)
            for holding in peer.holdings.values():
                if holding.lease is not None:
                    holding.lease.release(Outcome.CANCELLED, now)
            if peer.link is not None:
                peer.link.close()
        for docket in self.dockets.values():
            docket.close(now)

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

    # --- links

    def know(self, members: Iterable[Member]) -> None:
        """Take note of those that stand in the Lease: one may die before it comes here."""
        listed = {member.id: member for member in members}
        self.to_strike.intersection_update(listed)
        for member_id, member in listed.items():
            if member_id not in self.peers and member_id not in {self.me.id, *self.to_strike}:
                self.peers[member_id] = Peer(member)

    def attach(self, member: Member, link: Link, now: float) -> None:
        """Take in a replica that has come, and ask it what it holds."""
        for older in self.peers.values():
            if older.member.uid == member.uid and older.member.id != member.id:
                self.dead(older.member.id, now)
        peer = self.peers.setdefault(member.id, Peer(member))
        if peer.link is not None:
            self._detach(peer)
        peer.link, peer.names, peer.named = link, Names(link), Named()
        peer.dead_at = None
        peer.said_goodbye = peer.cut_off = False
        self._linked[link] = peer
        self.to_strike.discard(member.id)
        link.send(messages.Term(self.term))

    def lost(self, link: Link, *, silent: bool) -> None:
        """Take note of a link's end; what its replica holds is held."""
        peer = self._linked.get(link)
        if peer is not None:
            self._detach(peer)
            peer.cut_off = silent

    def _detach(self, peer: Peer) -> None:
        if peer.link is not None:
            del self._linked[peer.link]
            peer.link.close()
        peer.link = peer.names = peer.report = None
        self._cancel_claims(peer)

    def _cancel_claims(self, peer: Peer) -> None:
        claims, peer.claims = peer.claims, {}
        for claim in claims.values():
            self._withdraw(claim)

    def _withdraw(self, claim: Claim) -> None:
        docket = self.dockets.get(claim.pool)
        if docket is not None and claim.waiter is not None:
            docket.withdraw(claim.waiter)

    def dead(self, member_id: str, now: float) -> None:
        """Take note of a proof that the replica's process is no more."""
        peer = self.peers.get(member_id)
        if peer is None or peer.dead_at is not None:
            return
        peer.dead_at = now
        if not peer.answered:
            self._unheard[member_id] = now
        if peer.link is not None:
            self._detach(peer)

    # --- what is said

    def take(self, link: Link, said: Iterable[Message], now: float) -> None:
        """Take in what a replica says, in one go. Raises `ProtocolError`."""
        peer = self._linked.get(link)
        if peer is None:
            return
        for message in said:
            handler = self._handlers.get(type(message))
            if handler is None or (not peer.answered and type(message) not in _BEFORE_ANSWER):
                raise ProtocolError(f"{type(message).__name__} from a replica that asks")
            handler(peer, message, now)
            if peer.link is not link:
                return
        for docket in self.dockets.values():
            docket.line_up(now)
        self._account(now)  # only now: what is free goes to those who have waited longest

    def _name(self, peer: Peer, message: Message, _now: float) -> None:
        if isinstance(message, messages.NamePool | messages.NameEndpoint | messages.ForgetNames):
            peer.named.take(message)

    def _higher(self, _peer: Peer, message: messages.Higher, _now: float) -> None:
        raise HigherTermError(message.term)

    def _promise(self, peer: Peer, message: messages.Promise, _now: float) -> None:
        if message.term != self.term:
            raise ProtocolError(f"a promise for term {message.term} in term {self.term}")
        peer.leaving = message.leaving
        peer.report = {}

    def _held(self, peer: Peer, message: messages.Held, now: float) -> None:
        if peer.report is None:
            raise ProtocolError("something held outside of a report")
        pool, spec = peer.named.endpoint(message.endpoint)
        peer.report[message.ask] = Holding(pool, spec, now + message.expires)

    def _reported(self, peer: Peer, _message: Message, now: float) -> None:
        report, peer.report = peer.report, None
        if report is None:
            raise ProtocolError("the end of no report")
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

    def _acquire(self, peer: Peer, message: messages.Acquire, now: float) -> None:
        name = peer.named.pool(message.pool)
        if message.ask in peer.claims or message.ask in peer.holdings:
            raise ProtocolError(f"request {message.ask} asks twice")
        claim = peer.claims[message.ask] = Claim(peer, name, message.ask)
        docket = self.dockets.get(name)
        if docket is not None and message.age <= 0:
            docket.line_up(now)  # those that came before it in this batch, and have waited
        tried = _NOBODY
        if docket is not None and message.tried:
            tried = _endpoints(docket.pool, peer, message.tried)
        if docket is None or message.age > 0:  # it waits until the pool is known, or has waited
            claim.waiter = Waiter(
                claim, now - message.age, now + message.patience, tried,
                retried=message.retried, expires=now + message.expires, elsewhere=True,
            )  # fmt: skip
            if docket is not None:
                docket.rejoining.append(claim.waiter)
            return
        pool = docket.pool
        try:
            got = pool.acquire(
                claim,
                now,
                deadline=now + message.expires,
                waited=max(0.0, pool.policy.queue.timeout - message.patience),
                tried=tried,
                retried=message.retried,
                elsewhere=True,
            )
        except QueueFull:
            peer.refused(claim, QueueFull)
            return
        if isinstance(got, Lease):
            claim.granted(got)
        else:
            claim.waiter = got

    def _cancel(self, peer: Peer, message: messages.Cancel, now: float) -> None:
        claim = peer.claims.pop(message.ask, None)
        if claim is None:
            self._free(peer, message.ask, now)  # the grant is on its way, and will not be used
        else:
            self._withdraw(claim)

    def _release(self, peer: Peer, message: messages.Release, now: float) -> None:
        holding = peer.holdings.pop(message.ask, None)
        if holding is not None and holding.lease is not None:
            holding.lease.release(
                message.outcome, now, retry_after=message.retry_after, detail=message.detail
            )

    def _unbound(self, peer: Peer, message: messages.Unbound, _now: float) -> None:
        holding = peer.holdings.get(message.ask)
        if holding is not None:
            holding.expires = inf
            if holding.lease is not None:
                holding.lease.expires = inf

    def _observed(self, peer: Peer, message: messages.Observed, now: float) -> None:
        name, spec = peer.named.endpoint(message.endpoint)
        docket = self.dockets.get(name)
        endpoint = docket.pool.endpoints.get(spec.identity) if docket is not None else None
        if docket is not None and endpoint is not None:
            docket.pool.observe(endpoint, message.sign, now, message.detail)

    def _leaving(self, peer: Peer, _message: Message, _now: float) -> None:
        peer.leaving = True

    def _goodbye(self, peer: Peer, _message: Message, now: float) -> None:
        peer.said_goodbye = True
        self.dead(peer.member.id, now)

    def _alive(self, peer: Peer, message: Message, now: float) -> None:
        """Nothing to do: that it was heard is noted with the link."""

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
        self._account(now)

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
                self._free(peer, ask, now)

    def _free(self, peer: Peer, ask: int, now: float) -> None:
        holding = peer.holdings.pop(ask, None)
        if holding is not None and holding.lease is not None:
            holding.lease.release(Outcome.CANCELLED, now)

    def _account(self, now: float) -> None:
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
            now < free_at(pool.policy, dead_at) or self.confirmed < dead_at
            for dead_at in self._unheard.values()
        )


def _endpoints(pool: Pool, peer: Peer, numbers: Iterable[int]) -> frozenset[Endpoint]:
    """Return those of the endpoints that are known here."""
    specs = (peer.named.endpoint(number)[1] for number in numbers)
    found = (pool.endpoints.get(spec.identity) for spec in specs)
    return frozenset(endpoint for endpoint in found if endpoint is not None)
