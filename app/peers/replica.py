"""Which part this replica plays: it decides, or it asks the one who does, or it looks for it.

Sans-I/O: `runner` tells what happened, with the time, and does what `Effects` ask for, one request
of a kind at a time. The way:

    joining     into the Lease, before the first request
    seeking     the arbiter that the Lease names; who waits here goes on waiting
    following   it: asking for each slot
    deciding    for all, in the term that the Lease gives

What is done where something happens (joining is as seeking, but that it has to stand in the Lease
before it dials):

| | seeking | following | deciding |
|---|---|---|---|
| Lease read | is it named: decide; may it: take over; else dial | - | term higher: resign |
| written | as read | - | names another: resign |
| conflict | read, later after the second | as seeking | read |
| API fails | read later, dial whom it named last | - | write later |
| link ends | read later | dial the same again, else read | what is held there stays held |
| link silent | read | seek | likewise; most are: leave the books, resign |
| a term | follow, or say what was promised | error | error |
| a higher promise | error | error | resign, and take a higher term |
| leaving | let others take over first | say so | name a successor |
| stopping | - | say goodbye | name nobody |

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
from app.peers.messages import Message, ProtocolError
from app.peers.names import Link
from app.peers.record import EXPIRY, Member, Record
from app.peers.shared import SharedPools
from app.peers.sight import LeaseCalls, LeaseSight
from app.peers.tenure import ALIVE, RENEWAL, THROTTLED, UNSURE, Tenure

GREETING = 1.0
"""Seconds in which one that was reached has to say that it is the arbiter."""

SELF_HELP = 1.0
"""Seconds without an arbiter after which a pool whose workers refuse decides on its own count."""


class Role(Enum):
    """What a replica is doing; the value is said to people."""

    JOINING = "joining"
    SEEKING = "seeking"
    FOLLOWING = "following"
    DECIDING = "deciding"


class Effects(LeaseCalls, Protocol):
    """What a replica wants done. Each is answered by a call of the replica, never at once."""

    def read_pod(self, member: Member) -> None:
        """Ask whether a member's pod is still there: `pod_read` or `pod_failed`."""

    def dial(self, member: Member) -> None:
        """Connect to a member: `dialed`, or `dial_failed` also if another process answers."""


class Replica:
    """This replica among the others."""

    def __init__(self, me: Member, effects: Effects, now: float) -> None:
        self.me = me
        self.role = Role.JOINING
        self.promised = 0
        """The highest term that was promised, or decided in: while it follows or decides, that of
        the arbiter."""

        self.lease = LeaseSight(effects, now)
        self.told = ""
        """What the arbiter last said of all replicas, while following: JSON."""

        self.leaving = False
        self.without_arbiter = 0.0
        """Seconds without an arbiter, all spells that are over together."""

        self.alone_since: float | None = now
        """Since when there is none: None while following or deciding."""

        self._effects = effects
        self._shared = SharedPools()
        self._link: Link | None = None
        self._linked_at = 0.0
        self._followed: Member | None = None
        """Whose link it is, or last was."""

        self._candidacy = Candidacy(me)
        self._tenure: Tenure | None = None
        """Set while deciding."""

        self._stopped = False
        self._dialing = False
        self._next_alive = now
        self._tried: tuple[int, Record] | None = None
        """The takeover that was tried last: its term, and the Lease as it was before."""

    # --- pools

    def add_pool(self, pool: Pool, now: float) -> None:
        """Let the pool's slots be decided by the replicas together."""
        self._shared.add(pool, now)
        if self.arbiter is not None:
            self.arbiter.books.add_pool(pool, now)

    def remove_pool(self, pool: Pool, now: float) -> None:
        """Forget a pool that has no requests any more."""
        if self.arbiter is not None:
            self.arbiter.books.remove_pool(pool, now)
        self._shared.remove(pool)

    def prepare_policy(self, pool: Pool, policy: Policy, now: float) -> None:
        """Prepare for another policy of the pool: to be called before it is applied."""
        self._shared.prepare_policy(pool, policy, now)
        if self.arbiter is not None:
            self.arbiter.books.prepare_policy(pool, policy, now)

    # --- what is known of this replica

    @property
    def arbiter(self) -> Arbiter | None:
        """What decides, while this replica does."""
        return None if self._tenure is None else self._tenure.arbiter

    @property
    def joined(self) -> bool:
        """Whether it had an arbiter once, or was it."""
        return self.role is not Role.JOINING

    @property
    def pools(self) -> Iterable[Pool]:
        """The pools that are decided about together."""
        return self._shared

    def cut_off(self, now: float) -> bool:
        """Tell whether the others have an arbiter that cannot be reached from here."""
        long = self.alone_since is not None and now - self.alone_since > 2 * EXPIRY
        return long and self.lease.is_fresh(now)

    # --- the Lease

    def lease_read(self, record: Record | None, version: str, now: float) -> None:
        """Take in the Lease as it is; None if there is none."""
        self.lease.found(record, version, now)
        if self.role is Role.DECIDING:
            self._compare(record, now)
        elif self._is_free:
            self._choose(record, now)

    def lease_written(self, record: Record, version: str, now: float) -> None:
        """Take note that the Lease is what was wanted."""
        self.lease.written(record, version, now)
        tenure = self._tenure
        if tenure is None:
            if self._is_free:
                self._choose(record, now)
        elif record.holder != self.me.id:
            self._stepped_down(tenure, record, now)
        else:
            self._compare(record, now)
            tenure.next_renewal = now + RENEWAL
            tenure.say_alive(record.renewed, self._shared, now)

    def lease_conflict(self, now: float) -> None:
        """Somebody was faster: look what there is now, but not again and again without a pause."""
        if self.lease.conflict(now) or self.role is Role.DECIDING:
            self.lease.read()

    def lease_failed(self, now: float, retry_after: float = 0.0) -> None:
        """Nothing is known of the Lease: try again.

        Who has lost its arbiter looks for it where the Lease last said. `retry_after`: seconds for
        which the API wants to be left alone.
        """
        self.lease.failed(now, retry_after)
        if self._tenure is not None:
            later = min(self.lease.due_at, now + THROTTLED)
            self._tenure.next_renewal = max(self._tenure.next_renewal, later)
        elif self._is_free and not self._stopped and self.lease.record is not None:
            holder = self._known_arbiter(self.lease.record)
            if holder is not None:
                self._dial(holder)

    def pod_read(self, member: Member, uid: str | None, now: float) -> None:
        """Take in which pod has the member's pod's name now; None if there is none."""
        if uid != member.uid and self.arbiter is not None:
            self.arbiter.dead(member.id, now)

    def pod_failed(self, now: float, retry_after: float) -> None:
        """Nothing is known of a pod. `retry_after`: as for `lease_failed`."""
        self.lease.leave_alone(now, retry_after)

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
            self.lease.read()
        else:
            self.lease.pause(now)

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
                self.lease.pause(now)
            else:
                self._candidacy.link_ended(followed)
                self._dial(followed)

    # --- time, and the end

    def tick(self, now: float) -> None:
        """Do what is due. To be called every 50 ms or so."""
        self.lease.now = now
        if self._tenure is not None:
            self._tick_deciding(self._tenure, now)
        elif self._stopped:
            return  # it has said goodbye, and looks for nobody
        elif self._link is not None:
            self._tick_linked(self._link, now)
        else:
            if self.alone_since is not None and now - self.alone_since >= SELF_HELP:
                self._shared.help_themselves(now)
            if self.lease.is_due(now) and not self._dialing:
                self.lease.read()

    def leave(self) -> None:
        """Let others decide from now on: this replica is about to stop."""
        self.leaving = True
        if self._tenure is not None:
            self._hand_over(self._tenure, self.lease.now)
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
        elif self._tenure is not None and self.lease.record is not None and not self.lease.busy:
            record = self._tenure.renewed(self.lease.record).held_by("", self.promised)
            gone = frozenset() if self._shared.have_requests else frozenset({self.me.id})
            self.lease.write(record.without(gone))

    # --- inside

    def _play(self, role: Role, now: float) -> None:
        """Play another part."""
        self.role = role
        alone = role in {Role.JOINING, Role.SEEKING}
        if alone and self.alone_since is None:
            self.alone_since = now
        elif not alone and self.alone_since is not None:
            self.without_arbiter += now - self.alone_since
            self.alone_since = None
        if not alone:
            self._candidacy.reset()
            self.lease.reset()

    # --- inside: seeking

    @property
    def _is_free(self) -> bool:
        """Whether it has nobody to ask, and is not about to."""
        return self._link is None and not self._dialing

    def _known_arbiter(self, record: Record) -> Member | None:
        """Return another that decides by this Lease, if this replica may go there."""
        joined = record.member(self.me.id) is not None and record.holder != self.me.id
        return record.member(record.holder) if joined else None

    def _dial(self, member: Member) -> None:
        self._dialing = True
        self._effects.dial(member)

    def _choose(self, record: Record | None, now: float) -> None:
        """Decide, join, or go to the one who decides."""
        if self._stopped:
            return
        if record is None:
            self.lease.write(Record(self.promised + 1, self.me.id, (self.me,)))
            return
        known = record.member(self.me.id) is not None
        if record.holder == self.me.id and record.term > self.promised:
            self._decide(record, now)  # it was named, or has not heard that its write came through
            return
        wanted = record if known else record.joined_by(self.me)
        unchanged = self.lease.unchanged(now)
        if self._candidacy.may_take(record, unchanged, now, leaving=self.leaving):
            term = max(record.term, self.promised) + 1
            self._tried = (term, record)
            self.lease.write(wanted.held_by(self.me.id, term))
        elif not known:
            self.lease.write(wanted)
        elif self.lease.is_due(now):
            holder = self._known_arbiter(record)
            if holder is not None:
                self._dial(holder)
            else:
                self.lease.pause(now)

    def _decide(self, record: Record, now: float) -> None:
        """Be the arbiter, in the term of the record."""
        self._let_go(now)
        self.lease.hurry(now)
        self._shared.follower.forget()
        self.promised = record.term
        arbiter = Arbiter(self.me, record.term, record.members, self._shared, now)
        self._tenure = Tenure(arbiter, now)
        self._play(Role.DECIDING, now)
        self._believe(arbiter, now)
        self._compare(record, now)
        self._shared.decide(now)

    def _believe(self, arbiter: Arbiter, now: float) -> None:
        """Take over the books of the arbiter before, if it left them and this one follows directly.

        Why that is safe: each term is written in the place of the one before, so that none can have
        come between two that follow each other. The one before had resigned when it wrote its
        books, and gave nothing more; each replica in them had promised its term, and took nothing
        from an older one. So nobody has given more to any of them than stands there.
        """
        if self._tried is None:
            return
        term, before = self._tried
        if term == arbiter.term == before.term + 1:
            for member_id, held in (before.yielded_with or {}).items():
                arbiter.books.believe(member_id, held, now)

    def _let_go(self, now: float) -> None:
        """End the link to the arbiter."""
        link, self._link = self._link, None
        self._shared.follower.unlink()
        if link is not None:
            link.close()
        if self.role is Role.FOLLOWING:
            self._play(Role.SEEKING, now)
            self.lease.hurry(now)

    # --- inside: following

    def _heed(self, link: Link, message: Message, now: float) -> None:
        if self.role is Role.FOLLOWING:
            if isinstance(message, messages.Alive):
                if message.renewed and self._followed is not None:
                    self.lease.lives(self._followed.id, message.renewed, now)
            elif isinstance(message, messages.View):
                self.told = message.text
            elif isinstance(message, messages.Handover):
                self._let_go(now)
                self.lease.read()
            else:
                self._shared.follower.take(message, now)
        elif not isinstance(message, messages.Term):
            raise ProtocolError(f"{type(message).__name__} before a term")
        elif message.term < self.promised:
            link.send(messages.Higher(self.promised))
            self._let_go(now)
            self.lease.pause(now)
        else:
            self.promised = message.term
            self._shared.follow(now)
            self._play(Role.FOLLOWING, now)
            self.told = ""
            self._shared.follower.report(
                link, self._shared, message.term, now, leaving=self.leaving
            )
            self._next_alive = now + ALIVE

    def _tick_linked(self, link: Link, now: float) -> None:
        silent = now - link.heard_at
        following = self.role is Role.FOLLOWING
        if silent >= EXPIRY or (not following and now - self._linked_at >= GREETING):
            self._let_go(now)
            self.lease.read()
            return
        if following and silent >= UNSURE and self.lease.is_due(now):
            self.lease.rest(now)
            self.lease.read()  # only to know since when the Lease has not changed
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
            self.lease.read()

    def _compare(self, record: Record | None, now: float) -> None:
        """See whether the Lease still names this arbiter, as it did when it was last asked for."""
        arbiter = self.arbiter
        if arbiter is None:
            raise AssertionError
        if record is not None and record.term > arbiter.term:
            self._resign(now)
            self.lease.read()
            return
        if record is not None:
            if record.term == arbiter.term:
                arbiter.books.confirmed = self.lease.asked_at
            arbiter.books.know(record.members)
            for member_id in record.outlived:
                arbiter.dead(member_id, now)

    def _tick_deciding(self, tenure: Tenure, now: float) -> None:
        record = self.lease.record
        lost = tenure.tick(record.renewed if record else "", self._shared, now)
        for member in lost if now >= self.lease.asked_until else ():
            self._effects.read_pod(member)
        if self.lease.busy or (self.leaving and self._hand_over(tenure, now)):
            return
        if tenure.is_isolated(now) and self.lease.is_fresh(now):  # else nobody could take its place
            self._resign(now)  # first: what is written is all that is held
            self._candidacy.stand_back(now)
            books = {self.me.id: self._shared.held(now)} | tenure.arbiter.books.held(now)
            self.lease.write(tenure.renewed(record).yielded(books))
        elif now >= tenure.next_renewal:
            tenure.next_renewal = now + RENEWAL
            self.lease.write(tenure.renewed(record))

    def _hand_over(self, tenure: Tenure, now: float) -> bool:
        """Name another to decide; return whether there is somebody."""
        record = tenure.renewed(self.lease.record)
        successor = tenure.successor(record)
        if successor is None or self.lease.busy or not self.lease.is_due(now):
            return False
        self.lease.write(record.held_by(successor.id, record.term + 1))
        return True

    def _stepped_down(self, tenure: Tenure, record: Record, now: float) -> None:
        """The Lease names another, as this arbiter wrote it, or nobody."""
        if record.holder:
            tenure.say_handover()
        self._resign(now)
        successor = record.member(record.holder)
        if successor is not None:
            self._dial(successor)

    def _resign(self, now: float) -> None:
        """Decide no more."""
        arbiter, self._tenure = self.arbiter, None
        self._play(Role.SEEKING, now)
        self.lease.hurry(now)
        self._shared.follow(now)
        if arbiter is not None:
            arbiter.close(now)
