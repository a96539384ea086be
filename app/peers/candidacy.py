"""When a replica tries to take the place of the arbiter that the Lease names.

Owned by `replica`, which tells it what it has seen. Nothing here makes a takeover safe, and nothing
has to: it says only when one is worth while.
"""

from app.peers.record import EXPIRY, Member, Record

COURTESY = 0.5
"""Seconds for which a replica that is about to stop lets others take over first."""

YIELDED = 2.0
"""Seconds for which one that was cut off lets others take over first."""


class Candidacy:
    """What speaks for taking over, and what against."""

    def __init__(self, me: Member) -> None:
        self._me = me
        self._ended = ""
        """Who ended the link to this replica, while it was followed."""

        self._unreachable = ""
        """Who, having ended it, could not be reached again."""

        self._takeable_since: float | None = None
        self._stood_back_at = -YIELDED

    def link_ended(self, member: Member) -> None:
        """The arbiter has ended its link."""
        self._ended = member.id

    def not_reached(self, member: Member) -> bool:
        """A member could not be reached; return whether that is news about the arbiter."""
        if member.id != self._ended or member.id == self._unreachable:
            return False
        self._unreachable = member.id
        return True

    def stand_back(self, now: float) -> None:
        """Let others go first: this replica was cut off, and has stepped down."""
        self._stood_back_at = now

    def reset(self) -> None:
        """Forget what was seen: there is an arbiter again."""
        self._ended = self._unreachable = ""
        self._takeable_since = None

    def may_take(self, record: Record, unchanged: float, now: float, *, leaving: bool) -> bool:
        """Tell whether to take the place; the Lease has not changed for `unchanged` seconds."""
        me, holder = self._me, record.member(record.holder)
        free = (
            holder is None
            or holder.id in {me.id, self._unreachable}
            or holder.uid == me.uid
            or holder.id in record.outlived
            or unchanged >= EXPIRY
        )
        if not free:
            self._takeable_since = None
            return False
        if self._takeable_since is None:
            self._takeable_since = now
        others = any(m.uid != me.uid and m is not holder for m in record.members)
        if others and leaving and now - self._takeable_since < COURTESY:
            return False
        return now - self._stood_back_at >= YIELDED
