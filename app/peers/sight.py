"""The Lease as this replica last saw it, and the way to it: one call at a time, with pauses.

Owned by `replica`. What is seen here makes nothing safe: the Lease is written by compare-and-swap.
"""

from typing import Protocol

from app.peers.record import EXPIRY, Record

PAUSE, PAUSE_MAX = 0.05, 0.5
"""Seconds before the Lease is looked at again: the first time, and at the most."""

RETRY_MAX = 10.0
"""Seconds for which the API is left alone at the most, however long it asks for."""


class LeaseCalls(Protocol):
    """What is asked of the API. Each is answered by a call, never at once."""

    def read_lease(self) -> None:
        """Read the Lease, as it is now: `lease_read` or `lease_failed`."""

    def write_lease(self, record: Record, version: str) -> None:
        """Write it, if it is still in that version; "" if there is none.

        `lease_written`, `lease_conflict` or `lease_failed`.
        """


class LeaseSight:
    """What is known of the Lease."""

    def __init__(self, calls: LeaseCalls, now: float) -> None:
        self.record: Record | None = None
        """The Lease as it was last seen; None if there was none."""

        self.busy = False
        """Whether it is just being read or written."""

        self.now = self.asked_at = now
        """When the time was last told, and when the Lease was last read or written: not later."""

        self.asked_until = now
        """Until when the API wants to be left alone. Nothing is read before, whatever hurries."""

        self._calls = calls
        self._version = ""
        self._sign = ("", "")
        """The last sign of life in it: who decides, and when that one says it wrote it."""

        self._sign_at = now
        self._conflicts = 0
        """Writes in a row that met another's."""

        self._not_before = now
        self._pause = PAUSE

    # --- the way to it

    def read(self) -> None:
        """Read it, unless it is being read or written, or the API wants to be left alone.

        Where that matters it is read when it `is_due`.
        """
        if not self.busy and self.now >= self.asked_until:
            self.busy, self.asked_at = True, self.now
            self._calls.read_lease()

    def write(self, record: Record) -> None:
        """Write it in the place of what was seen. Not while it is read or written."""
        self.busy, self.asked_at = True, self.now
        self._calls.write_lease(record, self._version)

    def is_due(self, now: float) -> bool:
        """Tell whether the pause is over."""
        return now >= self.due_at

    @property
    def due_at(self) -> float:
        """When the pause is over."""
        return max(self._not_before, self.asked_until)

    def leave_alone(self, now: float, seconds: float) -> None:
        """Leave the API alone for as long as it asks, if it does."""
        if seconds > 0:
            self.asked_until = max(self.asked_until, now + min(seconds, RETRY_MAX))

    def pause(self, now: float) -> None:
        """Leave it alone for a while, each time for longer."""
        self._not_before = max(self._not_before, now + self._pause)
        self._pause = min(2 * self._pause, PAUSE_MAX)

    def rest(self, now: float) -> None:
        """Leave it alone for the longest pause."""
        self._not_before = now + PAUSE_MAX

    def hurry(self, now: float) -> None:
        """Pause no more, unless the API asks for it."""
        self._not_before = now

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._pause = PAUSE

    # --- what came of it

    def found(self, record: Record | None, version: str, now: float) -> None:
        """Take in the Lease as it is."""
        self.busy = False
        self.record, self._version = record, version
        if record is None:
            self.lives("", "", now)
        else:
            self.lives(record.holder, record.renewed, now)

    def written(self, record: Record, version: str, now: float) -> None:
        """Take in the Lease as it was written."""
        self._conflicts = 0
        self.reset()
        self.found(record, version, now)

    def conflict(self, now: float) -> bool:
        """Take note that somebody else was faster; return whether that is news."""
        self.busy = False
        self._conflicts += 1
        if self._conflicts > 1:
            self.pause(now)
        else:
            self.hurry(now)
        return self._conflicts == 1

    def failed(self, now: float, retry_after: float) -> None:
        """Take note that nothing is known."""
        self.busy = False
        self.pause(now)
        self.leave_alone(now, retry_after)

    # --- the arbiter's life

    def lives(self, holder: str, renewed: str, now: float) -> None:
        """Take in a sign of the arbiter's life. Others' writes of the Lease are none."""
        if self._sign != (holder, renewed):
            self._sign, self._sign_at = (holder, renewed), now

    def unchanged(self, now: float) -> float:
        """Return the seconds without a sign of life in it."""
        return now - self._sign_at

    def is_fresh(self, now: float) -> bool:
        """Tell whether there has been one lately."""
        return self.unchanged(now) < EXPIRY
