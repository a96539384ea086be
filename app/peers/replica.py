"""Which part this replica plays: it decides, or it asks the one who does, or it looks for it.

Sans-I/O: `runner` tells what happened, with the time, and does what `Effects` ask for, one request
of a kind at a time. The way:

    joining     into the Lease, before the first request
    seeking     the arbiter that the Lease names; who waits here goes on waiting
    following   it: asking for each slot
    deciding    for all, in the term that the Lease gives

What always holds:

- a term has one arbiter: it is written into the Lease by compare-and-swap, higher than the one that
  stood there and any that was promised here;
- nothing is taken from an arbiter of a lower term than was promised;
- no clock makes anything safe. Expiry only says when it is worth while to try; what was granted
  before is found out by asking, or by proof of death (`arbiter`);
- a Kubernetes API that does not answer changes nothing for replicas that have an arbiter.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers import messages
from app.peers.arbiter import Arbiter, HigherTermError
from app.peers.candidacy import Candidacy
from app.peers.follower import Follower, PoolFollower
from app.peers.messages import Message, ProtocolError
from app.peers.names import Link
from app.peers.record import EXPIRY, Held, Member, Record, sum_up
from app.peers.tenure import ALIVE, RENEWAL, UNSURE, Tenure

GREETING = 1.0
"""Seconds in which one that was reached has to say that it is the arbiter."""

PAUSE, PAUSE_MAX = 0.05, 0.5
"""Seconds before the Lease is looked at again: the first time, and at the most."""

RETRY_MAX = 10.0
"""Seconds for which the API is left alone at the most, however long it asks for."""

SELF_HELP = 1.0
"""Seconds without an arbiter after which a pool whose workers refuse decides on its own count."""


class Role(Enum):
    """What a replica is doing; the value is said to people."""

    JOINING = "joining"
    SEEKING = "seeking"
    FOLLOWING = "following"
    DECIDING = "deciding"


class Effects(Protocol):
    """What a replica wants done. Each is answered by a call of the replica, never at once."""

    def read_lease(self) -> None:
        """Read the Lease, as it is now: `lease_read` or `lease_failed`."""

    def write_lease(self, record: Record, version: str) -> None:
        """Write it, if it is still in that version; "" if there is none.

        `lease_written`, `lease_conflict` or `lease_failed`.
        """

    def read_pod(self, member: Member) -> None:
        """Ask whether a member's pod is still there: `pod_read`, or nothing if that failed."""

    def dial(self, member: Member) -> None:
        """Connect to a member: `dialed`, or `dial_failed` also if another process answers."""


class Replica:
    """This replica among the others."""

    def __init__(self, me: Member, effects: Effects, now: float) -> None:
        self.me = me
        self.role = Role.JOINING
        self.promised = 0
        """The highest term that was promised, or decided in."""

        self.record: Record | None = None
        """The Lease as it was last seen."""

        self.arbiter: Arbiter | None = None
        """Set while deciding."""

        self.told = ""
        """What the arbiter last said of all replicas, while following: JSON."""

        self.joined = False
        """Whether it had an arbiter once, or was it."""

        self.leaving = False
        self.without_arbiter = 0.0
        """Seconds without an arbiter, all spells that are over together."""

        self.alone_since: float | None = now
        """Since when there is none; None while there is."""

        self._effects = effects
        self._follower = Follower()
        self._pools: dict[Pool, PoolFollower] = {}
        self._version = ""
        self._sign = ("", "")
        """The last sign of life in the Lease: who decides, and when that one says it wrote it."""

        self._sign_at = now
        self._conflicts = 0
        """Writes in a row that met another's."""

        self._link: Link | None = None
        self._linked_at = 0.0
        self._followed: Member | None = None
        """Whose link it is, or last was."""

        self._candidacy = Candidacy(me)
        self._tenure: Tenure | None = None
        self._stopped = False
        self._dialing = False
        self._busy = False
        self._now = self._asked_at = now
        """When the time was last told, and when the Lease was last read or written: not later."""

        self._not_before = now
        self._pause = PAUSE
        self._next_alive = now
        self._word: tuple[int, Record] | None = None
        """The Lease as it was before the takeover that was tried last, and its term."""

    # --- pools

    def add_pool(self, pool: Pool, now: float) -> None:
        """Let the pool's slots be decided by the replicas together."""
        pool.own_leases = set()
        self._pools[pool] = follower = PoolFollower(self._follower, pool)
        pool.observers.append(follower)
        if self.arbiter is not None:
            self.arbiter.add_pool(pool, now)
        else:
            pool.decide_by(follower, now)

    def remove_pool(self, pool: Pool, now: float) -> None:
        """Forget a pool that has no requests any more."""
        if self.arbiter is not None:
            self.arbiter.remove_pool(pool, now)
        pool.observers.remove(self._pools.pop(pool))

    def before(self, pool: Pool, policy: Policy, now: float) -> None:
        """Prepare for another policy of the pool: to be called before it is applied."""
        if self.arbiter is not None:
            self.arbiter.before(pool, policy, now)
        elif pool.decider is None and not policy.retry.refused_statuses:
            pool.decide_by(self._pools[pool], now)  # its workers will not refuse: no more self-help

    # --- what is known of this replica

    @property
    def term(self) -> int:
        """The term of the arbiter that is obeyed, or that this one is."""
        return self.promised

    @property
    def pools(self) -> Iterable[Pool]:
        """The pools that are decided about together."""
        return self._pools.keys()

    @property
    def arbiter_id(self) -> str:
        """Who decides; empty if nobody is known to."""
        if self.role is Role.DECIDING:
            return self.me.id
        followed = self._followed if self.role is Role.FOLLOWING else None
        return followed.id if followed is not None else ""

    @property
    def busy(self) -> bool:
        """Whether the Lease is just being read or written."""
        return self._busy

    def cut_off(self, now: float) -> bool:
        """Tell whether the others have an arbiter that cannot be reached from here."""
        long = self.alone_since is not None and now - self.alone_since > 2 * EXPIRY
        return long and self._is_renewed(now)

    def _is_renewed(self, now: float) -> bool:
        return now - self._sign_at < EXPIRY

    # --- the Lease

    def lease_read(self, record: Record | None, version: str, now: float) -> None:
        """Take in the Lease as it is; None if there is none."""
        self._busy = False
        self._see(record, version, now)
        if self.role is Role.DECIDING:
            self._compare(record, now)
        elif self._link is None and not self._dialing:
            self._choose(record, now)

    def lease_written(self, record: Record, version: str, now: float) -> None:
        """Take note that the Lease is what was wanted."""
        self._busy = False
        self._conflicts, self._pause = 0, PAUSE
        self._see(record, version, now)
        if self.role is not Role.DECIDING:
            if self._link is None and not self._dialing:
                self._choose(record, now)
        elif record.holder != self.me.id:
            self._stepped_down(record, now)
        else:
            self._compare(record, now)
            if self._tenure is not None:
                self._tenure.next_renewal = now + RENEWAL
                self._tenure.say_alive(record.renewed, self._pools, now)

    def lease_conflict(self, now: float) -> None:
        """Somebody was faster: look what there is now, but not again and again without a pause."""
        self._busy = False
        self._conflicts += 1
        if self._conflicts > 1:
            self._later(now)
        else:
            self._not_before = now
        if self._conflicts == 1 or self.role is Role.DECIDING:
            self._read()

    def lease_failed(self, now: float, retry_after: float = 0.0) -> None:
        """Nothing is known of the Lease: try again.

        Who has lost its arbiter looks for it where the Lease last said. `retry_after`: seconds for
        which the API wants to be left alone.
        """
        self._busy = False
        self._later(now, retry_after)
        if self._tenure is not None:
            self._tenure.next_renewal = max(self._tenure.next_renewal, self._not_before)
        elif self._link is None and not self._dialing and not self._stopped:
            record = self.record
            holder = None if record is None else record.member(record.holder)
            joined = record is not None and record.member(self.me.id) is not None
            if joined and holder is not None and holder.id != self.me.id:
                self._dial(holder)

    def pod_read(self, member: Member, uid: str | None, now: float) -> None:
        """Take in which pod has the member's pod's name now; None if there is none."""
        if uid != member.uid and self.arbiter is not None:
            self.arbiter.dead(member.id, now)

    # --- links

    def dialed(self, member: Member, link: Link, now: float) -> None:
        """A member that was dialed is there."""
        self._dialing = False
        if self.role is Role.DECIDING or self._link is not None or self._stopped:
            link.close()
            return
        self._link, self._linked_at, self._followed = link, now, member

    def dial_failed(self, member: Member, now: float) -> None:
        """A member that was dialed is not there."""
        self._dialing = False
        if self._candidacy.not_reached(member):
            self._read()
        else:
            self._later(now)

    def accepted(self, member: Member, link: Link, now: float) -> None:
        """Another replica has come."""
        if self.arbiter is not None:
            self.arbiter.attach(member, link, now)
        else:
            link.close()

    def received(self, link: Link, said: Iterable[Message], now: float) -> None:
        """Take in what came on a link. Raises `ProtocolError`; the link is to be closed then."""
        if self.arbiter is not None:
            self._decide_on(self.arbiter, link, said, now)
            return
        for message in said:
            if link is self._link:  # else it was closed meanwhile
                self._heed(link, message, now)

    def link_lost(self, link: Link, now: float) -> None:
        """The other side has ended a link, or what it said made no sense."""
        if self.arbiter is not None:
            self.arbiter.lost(link, silent=False)
        elif link is self._link:
            followed = self._followed if self.role is Role.FOLLOWING else None
            self._let_go(now)
            if followed is None:
                self._later(now)
            else:
                self._candidacy.link_ended(followed)
                self._dial(followed)

    # --- time, and the end

    def tick(self, now: float) -> None:
        """Do what is due. To be called every 50 ms or so."""
        self._now = now
        if self._stopped and self.arbiter is None:
            return  # it has said goodbye, and looks for nobody
        if self._tenure is not None:
            self._tick_deciding(self._tenure, now)
        elif self._link is not None:
            self._tick_linked(self._link, now)
        else:
            if self.alone_since is not None and now - self.alone_since >= SELF_HELP:
                self._help_itself(now)
            if now >= self._not_before and not self._dialing:
                self._read()

    def leave(self) -> None:
        """Let others decide from now on: this replica is about to stop."""
        self.leaving = True
        if self._tenure is not None:
            self._hand_over(self._tenure, self._now)
        elif self._link is not None:
            self._link.send(messages.Leaving())

    def stop(self) -> None:
        """Say goodbye. What is told afterwards changes nothing.

        If requests are left, it stays accounted for: they may run on for a moment at the workers.
        """
        self._stopped = True
        if self._link is not None:
            self._link.send(messages.Goodbye())
            self._link.close()
            self._link = None
        elif self._tenure is not None and self.record is not None and not self._busy:
            record = self._tenure.renewed(self.record).held_by("", self.promised)
            gone = frozenset() if self._has_requests() else frozenset({self.me.id})
            self._write(record.without(gone))

    def _has_requests(self) -> bool:
        return any(
            pool.own_leases or any(not waiter.elsewhere for waiter in pool.waiting())
            for pool in self._pools
        )

    # --- inside: seeking

    def _see(self, record: Record | None, version: str, now: float) -> None:
        self.record, self._version = record, version
        if record is None:
            self._live("", "", now)
        else:
            self._live(record.holder, record.renewed, now)

    def _live(self, holder: str, renewed: str, now: float) -> None:
        """Take in a sign of the arbiter's life. Others' writes of the Lease are none."""
        if self._sign != (holder, renewed):
            self._sign, self._sign_at = (holder, renewed), now

    def _read(self) -> None:
        if not self._busy:
            self._busy, self._asked_at = True, self._now
            self._effects.read_lease()

    def _write(self, record: Record) -> None:
        self._busy, self._asked_at = True, self._now
        self._effects.write_lease(record, self._version)

    def _later(self, now: float, retry_after: float = 0.0) -> None:
        self._not_before = now + max(self._pause, min(retry_after, RETRY_MAX))
        self._pause = min(2 * self._pause, PAUSE_MAX)

    def _dial(self, member: Member) -> None:
        self._dialing = True
        self._effects.dial(member)

    def _choose(self, record: Record | None, now: float) -> None:
        """Decide, join, or go to the one who decides."""
        if self._stopped:
            return
        if record is None:
            self._write(Record(self.promised + 1, self.me.id, (self.me,)))
            return
        known = record.member(self.me.id) is not None
        if record.holder == self.me.id and record.term > self.promised:
            self._decide(record, now)  # it was named, or has not heard that its write came through
            return
        wanted = record if known else record.joined_by(self.me)
        unchanged = now - self._sign_at
        if self._candidacy.may_take(record, unchanged, now, leaving=self.leaving):
            term = max(record.term, self.promised) + 1
            self._word = (term, record)
            self._write(wanted.held_by(self.me.id, term))
        elif not known:
            self._write(wanted)
        else:
            holder = record.member(record.holder)
            if holder is not None and holder.id != self.me.id and now >= self._not_before:
                self._dial(holder)
            elif now >= self._not_before:
                self._later(now)

    def _decide(self, record: Record, now: float) -> None:
        """Be the arbiter, in the term of the record."""
        self._let_go(now)
        self._follower.forget()
        self.promised = record.term
        self.arbiter = Arbiter(self.me, record.term, record.members, self._pools, now)
        self._tenure = Tenure(self.arbiter, now)
        self._has_arbiter(Role.DECIDING, now)
        self._believe(self.arbiter, now)
        self._compare(record, now)
        for pool in self._pools:
            pool.decide_by(None, now)

    def _believe(self, arbiter: Arbiter, now: float) -> None:
        """Take over the books of the arbiter before, if it left them and this one follows directly.

        Its term came before this one's without another between, and it gave nothing more after it
        had written them. So nobody has given more to those that stand in them.
        """
        if self._word is None:
            return
        term, before = self._word
        if term == arbiter.term == before.term + 1:
            for member_id, held in (before.yielded_with or {}).items():
                arbiter.believe(member_id, held, now)

    def _has_arbiter(self, role: Role, now: float) -> None:
        self.role, self.joined = role, True
        self._candidacy.over()
        self._pause = PAUSE
        if self.alone_since is not None:
            self.without_arbiter += now - self.alone_since
            self.alone_since = None

    def _let_go(self, now: float) -> None:
        """End the link to the arbiter."""
        link, self._link = self._link, None
        self._follower.unlink()
        if link is not None:
            link.close()
        if self.role is Role.FOLLOWING:
            self.role = Role.SEEKING
            self.alone_since = now
        self._not_before = now

    def _help_itself(self, now: float) -> None:
        """Decide on its own count where workers refuse what is too much."""
        for pool in self._pools:
            if pool.decider is not None and pool.policy.retry.refused_statuses:
                pool.decide_by(None, now)

    # --- inside: following

    def _heed(self, link: Link, message: Message, now: float) -> None:
        if self.role is Role.FOLLOWING:
            if isinstance(message, messages.Alive):
                if message.renewed and self._followed is not None:
                    self._live(self._followed.id, message.renewed, now)
            elif isinstance(message, messages.View):
                self.told = message.text
            elif isinstance(message, messages.Handover):
                self._let_go(now)
                self._read()
            else:
                self._follower.take(message, now)
        elif not isinstance(message, messages.Term):
            raise ProtocolError(f"{type(message).__name__} before a term")
        elif message.term < self.promised:
            link.send(messages.Higher(self.promised))
            self._let_go(now)
            self._later(now)
        else:
            self.promised = message.term
            for pool, follower in self._pools.items():
                pool.decide_by(follower, now)
            self._has_arbiter(Role.FOLLOWING, now)
            self.told = ""
            self._follower.report(link, self._pools, message.term, now, leaving=self.leaving)
            self._next_alive = now + ALIVE

    def _tick_linked(self, link: Link, now: float) -> None:
        silent = now - link.heard_at
        following = self.role is Role.FOLLOWING
        if silent >= EXPIRY or (not following and now - self._linked_at >= GREETING):
            self._let_go(now)
            self._read()
            return
        if following and silent >= UNSURE and now >= self._not_before:
            self._not_before = now + PAUSE_MAX
            self._read()  # only to know since when the Lease has not changed
        if following and now >= self._next_alive:
            self._next_alive = now + ALIVE
            link.send(messages.Alive(""))

    # --- inside: deciding

    def _decide_on(self, arbiter: Arbiter, link: Link, said: Iterable[Message], now: float) -> None:
        try:
            arbiter.take(link, said, now)
        except HigherTermError as error:  # the Lease was made anew, and has forgotten its terms
            self.promised = max(self.promised, error.term)
            self._resign(now)
            self._read()

    def _compare(self, record: Record | None, now: float) -> None:
        """See whether the Lease still names this arbiter, as it did when it was last asked for."""
        arbiter = self.arbiter
        if arbiter is None:
            raise AssertionError
        if record is not None and record.term > arbiter.term:
            self._resign(now)
            self._read()
            return
        if record is not None:
            if record.term == arbiter.term:
                arbiter.confirmed = self._asked_at
            arbiter.know(record.members)
            for member_id in record.outlived:
                arbiter.dead(member_id, now)

    def _tick_deciding(self, tenure: Tenure, now: float) -> None:
        renewed = "" if self.record is None else self.record.renewed
        for member in tenure.tick(renewed, self._pools, now):
            self._effects.read_pod(member)
        if self._busy or (self.leaving and self._hand_over(tenure, now)):
            return
        if tenure.is_isolated(now) and self._is_renewed(now):  # else nobody could take its place
            record = tenure.renewed(self.record)
            self._resign(now)  # first: what is written is all that is held
            self._candidacy.yielded(now)
            self._write(record.yielded({self.me.id: self._held(now)} | tenure.books(now)))
        elif now >= tenure.next_renewal:
            tenure.next_renewal = now + RENEWAL
            self._write(tenure.renewed(self.record))

    def _hand_over(self, tenure: Tenure, now: float) -> bool:
        """Name another to decide; return whether there is somebody."""
        record = tenure.renewed(self.record)
        successor = tenure.successor(record)
        if successor is None or self._busy or now < self._not_before:
            return False
        self._write(record.held_by(successor.id, record.term + 1))
        return True

    def _held(self, now: float) -> Held:
        """Say what this replica's own requests hold."""
        leases = ((pool, lease) for pool in self._pools for lease in pool.own_leases or ())
        return sum_up(
            ((pool.key, lease.endpoint.spec.identity, lease.expires) for pool, lease in leases), now
        )

    def _stepped_down(self, record: Record, now: float) -> None:
        """The Lease names another, as this arbiter wrote it, or nobody."""
        if self._tenure is not None and record.holder:
            self._tenure.say_handover()
        self._resign(now)
        successor = record.member(record.holder)
        if successor is not None:
            self._dial(successor)

    def _resign(self, now: float) -> None:
        """Decide no more."""
        arbiter, self.arbiter, self._tenure = self.arbiter, None, None
        self.role, self.alone_since = Role.SEEKING, now
        self._not_before = now
        for pool, follower in self._pools.items():
            pool.decide_by(follower, now)
        if arbiter is not None:
            arbiter.close(now)
