"""What an arbiter does besides deciding: it keeps the Lease, and looks after the others.

Owned by `replica`, which makes one for each term in which it decides, and writes what is to stand
in the Lease.
"""

from collections.abc import Iterable

from app.balancing.pool import Pool
from app.peers import messages, view
from app.peers.arbiter import Arbiter
from app.peers.record import EXPIRY, Member, Record

RENEWAL = 1.0
"""Seconds between two writes of the Lease by the arbiter."""

THROTTLED = EXPIRY - 1.5 * RENEWAL
"""Seconds for which the arbiter does not write at the most, though the API wants to be left alone
for longer. It comes after a pause of `RENEWAL`, and a call may take its time: in all that the Lease
must not expire."""

ALIVE = 0.5
"""Seconds between two signs of life."""

UNSURE = 1.0
"""Seconds of silence after which something is looked into."""


class Tenure:
    """One term of this replica as the arbiter."""

    def __init__(self, arbiter: Arbiter, now: float) -> None:
        self.next_renewal = now + RENEWAL
        self.arbiter = arbiter
        self._next_alive = self._next_proof = now
        self._isolated_since: float | None = None

    def tick(self, renewed: str, pools: Iterable[Pool], now: float) -> list[Member]:
        """Do what is due; return the members whose pods are to be asked for."""
        self.arbiter.books.tick(now)
        for peer in list(self.arbiter.books.peers.values()):
            if peer.link is not None and now - peer.link.heard_at >= EXPIRY:
                self.arbiter.lost(peer.link, silent=True)
        if now >= self._next_alive:
            self.say_alive(renewed, pools, now)
        if now < self._next_proof:
            return []
        self._next_proof = now + RENEWAL
        peers = self.arbiter.books.peers.values()
        return [peer.member for peer in peers if peer.link is None and peer.dead_at is None]

    def say_alive(self, renewed: str, pools: Iterable[Pool], now: float) -> None:
        """Tell the others that this one is there, when it last wrote the Lease, and more."""
        self._next_alive = now + ALIVE
        told = messages.View(view.write(view.of_arbiter(self.arbiter, pools)))
        for peer in self.arbiter.books.peers.values():
            if peer.link is not None:
                peer.link.send(messages.Alive(renewed))
                peer.link.send(told)

    def say_handover(self) -> None:
        """Tell the others that the Lease names another now."""
        handover = messages.Handover()
        for peer in self.arbiter.books.peers.values():
            if peer.link is not None:
                peer.link.send(handover)

    def renewed(self, record: Record | None) -> Record:
        """Return what the Lease is to be; `record` is what it was."""
        arbiter = self.arbiter
        me = arbiter.me
        record = record or Record(arbiter.term, me.id, (me,))
        for member in [me, *(peer.member for peer in arbiter.books.peers.values())]:
            if record.member(member.id) is None:
                record = record.joined_by(member)
        return record.without(frozenset(arbiter.books.to_strike)).held_by(me.id, arbiter.term)

    def successor(self, record: Record) -> Member | None:
        """Return who could decide next: of those who listen the one that joined last."""
        peers = self.arbiter.books.peers.values()
        able = [peer.member for peer in peers if peer.link and peer.answered and not peer.leaving]
        order = {member.id: number for number, member in enumerate(record.members)}
        return max(able, key=lambda member: order.get(member.id, -1), default=None)

    def is_isolated(self, now: float) -> bool:
        """Tell whether most of the others have fallen silent for some time: it is cut off."""
        alive = [peer for peer in self.arbiter.books.peers.values() if peer.dead_at is None]
        reached = sum(peer.link is not None for peer in alive) + 1
        cut_off = any(peer.cut_off for peer in alive) and 2 * reached < len(alive) + 1
        if not cut_off:
            self._isolated_since = None
        elif self._isolated_since is None:
            self._isolated_since = now
        return self._isolated_since is not None and now - self._isolated_since >= UNSURE
