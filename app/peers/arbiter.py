"""The side that decides: what the other replicas hold and want, on this replica's own pools.

Made by `replica` for each term in which this replica is the arbiter, and closed at its end. The
pools decide as they do alone; the others' requests wait in the same queues, and their slots are
leases like any. What is said goes into the `books`, which say what always holds.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final

from app.balancing.endpoint import Endpoint
from app.balancing.errors import QueueFull
from app.balancing.lease import Lease
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.peers import messages
from app.peers.books import Books
from app.peers.messages import Message, ProtocolError
from app.peers.names import Link, Named, Names
from app.peers.peer import Claim, Holding, Peer
from app.peers.record import Member

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
        self.books = Books(me, members, pools, now)
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

    def close(self, now: float) -> None:
        """Decide no more. The pools must have another decider already."""
        for peer in self.books.peers.values():
            self._cancel_claims(peer)
        self.books.close(now)
        for peer in self._linked.values():
            if peer.link is not None:
                peer.link.close()

    # --- links

    def attach(self, member: Member, link: Link, now: float) -> None:
        """Take in a replica that has come, and ask it what it holds."""
        for older in self.books.peers.values():
            if older.member.uid == member.uid and older.member.id != member.id:
                self.dead(older.member.id, now)
        peer = self.books.peers.setdefault(member.id, Peer(member))
        if peer.link is not None:
            self._detach(peer)
        peer.link, peer.names, peer.named = link, Names(link), Named()
        peer.dead_at = None
        peer.said_goodbye = peer.cut_off = False
        self._linked[link] = peer
        self.books.to_strike.discard(member.id)
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
        docket = self.books.dockets.get(claim.pool)
        if docket is not None and claim.waiter is not None:
            docket.withdraw(claim.waiter)

    def dead(self, member_id: str, now: float) -> None:
        """Take note of a proof that the replica's process is no more."""
        peer = self.books.peers.get(member_id)
        if peer is None or peer.dead_at is not None:
            return
        self.books.dead(peer, now)
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
        for docket in self.books.dockets.values():
            docket.line_up(now)
        self.books.account(now)  # only now: what is free goes to those who have waited longest

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
        self.books.take_report(peer, report, now)

    def _acquire(self, peer: Peer, message: messages.Acquire, now: float) -> None:
        name = peer.named.pool(message.pool)
        if message.ask in peer.claims or message.ask in peer.holdings:
            raise ProtocolError(f"request {message.ask} asks twice")
        claim = peer.claims[message.ask] = Claim(peer, name, message.ask)
        docket = self.books.dockets.get(name)
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
            self.books.free(peer, message.ask, now)  # the grant is on its way, and will not be used
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
        docket = self.books.dockets.get(name)
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


def _endpoints(pool: Pool, peer: Peer, numbers: Iterable[int]) -> frozenset[Endpoint]:
    """Return those of the endpoints that are known here."""
    specs = (peer.named.endpoint(number)[1] for number in numbers)
    found = (pool.endpoints.get(spec.identity) for spec in specs)
    return frozenset(endpoint for endpoint in found if endpoint is not None)
