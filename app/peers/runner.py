"""A replica in its process: what `replica` wants done is done here, and it is told the time.

Made by `app.runtime`: `open` and then `run` in a task of its own, `leave` when the drain begins,
`stop` at its end. Its links are in `meeting`, its way to the Lease in `store`.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers import view
from app.peers.complaints import Complaints
from app.peers.meeting import Meetings
from app.peers.record import Member, Record
from app.peers.replica import Replica, Role
from app.peers.store import Store, StoreCalls

log = logging.getLogger(__name__)

TICK: Final = 0.05
PARTING: Final = 1.0
"""Seconds that the last write of the Lease may take."""


class Runner:
    """This replica, running.

    `secret` reads what all replicas of the release know; it may raise `OSError`. `able` says
    whether this replica knows the workers: it does not join before, since it could be made the
    arbiter.
    """

    def __init__(
        self,
        me: Member,
        store: Store,
        secret: Callable[[], bytes],
        lease: str,
        host: str,
        *,
        able: Callable[[], bool] = lambda: True,
    ) -> None:
        self.replica = Replica(me, self, monotonic())
        complaints = Complaints()
        self._calls = StoreCalls(self.replica, store, lease, complaints)
        self._meetings = Meetings(self.replica, secret, host, complaints)
        self._able = able
        self._group: asyncio.TaskGroup | None = None
        self._role: Role | None = None

    # --- its life

    async def open(self, sock: socket.socket) -> None:
        """Listen. The Lease names this replica only after."""
        await self._meetings.open(sock)

    async def run(self) -> None:
        """Take part until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    while True:
                        if self.replica.joined or self._able():
                            self.replica.tick(monotonic())
                        self._say_role()
                        await asyncio.sleep(TICK)
                finally:
                    self._group = None  # what is told from now on starts nothing
        finally:
            self._meetings.close()
            await self._calls.close()

    def leave(self) -> None:
        """Let others decide: this replica is about to stop."""
        self.replica.leave()

    async def stop(self) -> None:
        """Say goodbye, or leave the Lease for others."""
        if self._group is None:
            return
        replica = self.replica
        try:
            async with asyncio.timeout(PARTING):
                await self._calls.settled()  # one write of the Lease after the other
                replica.stop()
                while replica.role is Role.DECIDING:
                    await self._calls.settled()
                    if replica.role is Role.DECIDING:  # it failed, or has met another's
                        await asyncio.sleep(TICK)
                        await self._calls.settled()
                        replica.stop()
        except TimeoutError:
            replica.stop()
            if replica.role is Role.DECIDING:
                log.warning("peers: the Lease still names this replica until it expires")

    @property
    def error(self) -> str:
        """Why the Lease could not be read or written, the last time; empty if it could."""
        return self._calls.error

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""
        if not self.replica.joined:
            reason = "the other replicas have not been joined yet"
            why = self.error or self._meetings.trouble
            return [f"{reason}: {why}" if why else reason]
        if self.replica.cut_off(monotonic()):
            return ["cut off from the replica that decides"]
        return []

    def standing(self) -> view.Standing:
        """Say where this replica stands among the others."""
        replica = self.replica
        seen = None
        if replica.arbiter is not None:
            seen = view.of_arbiter(replica.arbiter, replica.pools)
        elif replica.role is Role.FOLLOWING:
            seen = view.read(replica.told)
        alone = 0.0 if replica.alone_since is None else monotonic() - replica.alone_since
        without = replica.without_arbiter + alone
        return view.Standing(replica.me.id, replica.role.value, replica.promised, without, seen)

    def add_pool(self, pool: Pool) -> None:
        """Let the replicas decide together about this pool."""
        self.replica.add_pool(pool, monotonic())

    def remove_pool(self, pool: Pool) -> None:
        """Forget a pool that has no requests any more."""
        self.replica.remove_pool(pool, monotonic())

    def prepare_policy(self, pool: Pool, policy: Policy) -> None:
        """Prepare for another policy of the pool, which is applied next."""
        self.replica.prepare_policy(pool, policy, monotonic())

    # --- effects

    def read_lease(self) -> None:
        """Read the Lease."""
        self._start(self._calls.read())

    def write_lease(self, record: Record, version: str) -> None:
        """Write it, if it is still in that version."""
        self._start(self._calls.write(record, version))

    def read_pod(self, member: Member) -> None:
        """Ask whether a member's pod is still there, unless that is being asked already."""
        self._start(self._calls.read_pod(member))

    def dial(self, member: Member) -> None:
        """Connect to a member."""
        self._start(self._meetings.dial(member))

    # --- inside

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()  # it is over
        else:
            self._group.create_task(work)

    def _say_role(self) -> None:
        """Log a change of the part that is played."""
        replica = self.replica
        if replica.role is not self._role:
            self._role = replica.role
            log.info("peers: %s, term %d", replica.role.value, replica.promised)
