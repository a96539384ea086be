"""A replica's sockets, its clock and its way to the Lease: what `replica` wants done is done here.

Made by `app.runtime`: `open` and then `run` in a task of its own, `leave` when the drain begins,
`stop` at its end. The Lease itself is behind `Store`, which says how it failed by `StoreError`.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, Protocol
from weakref import WeakSet

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers import record, view
from app.peers.handshake import Reached
from app.peers.link import PeerLink
from app.peers.messages import Message
from app.peers.record import Member, Record, RecordError
from app.peers.replica import Replica, Role

log = logging.getLogger(__name__)

TICK: Final = 0.05
DIAL: Final = 0.5
"""Seconds in which another replica has to accept a connection."""

MOST_UNPROVED: Final = 128
"""Most connections that have not proved yet to come from a replica; beyond it the oldest is ended.
"""

PARTING: Final = 1.0
"""Seconds that the last write of the Lease may take."""


COMPLAINTS: Final = 60.0
"""Seconds for which the same complaint is not logged again."""

MOST_COMPLAINTS: Final = 100
"""Different complaints in that time; more are not logged."""


class StoreError(Exception):
    """The Kubernetes API did not do what was asked; the message says why, and what helps."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds for which the API wants to be left alone."""


class ConflictError(StoreError):
    """Somebody else has written the Lease."""


class Store(Protocol):
    """The Lease, and the pods. Each call has a time limit, and raises `StoreError`."""

    async def read(self) -> Mapping[str, Any] | None:
        """Return the Lease as it is now; None if there is none."""

    async def create(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        """Create it; return what it is then. Raises `ConflictError`."""

    async def replace(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        """Write it, by compare-and-swap; return what it is then. Raises `ConflictError`."""

    async def pod_uid(self, name: str) -> str | None:
        """Return the UID of the pod of that name, as it is now; None if there is none."""

    async def close(self) -> None:
        """Close the connections."""


class _Refusal(asyncio.Protocol):
    """The end of a connection that cannot be met."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


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
        self.error = ""
        """Why the Lease could not be read or written, the last time; empty if it could."""

        self._able = able
        self._trouble = ""
        """Why another replica could not be met, the last time."""

        self._complaints: dict[str, float] = {}
        """What was logged, and when."""

        self._me = me
        self._store = store
        self._secret = secret
        self._lease_name = lease
        self._host = host
        self._base: Mapping[str, Any] | None = None
        self._server: asyncio.Server | None = None
        self._group: asyncio.TaskGroup | None = None
        self._links: WeakSet[PeerLink] = WeakSet()  # an open transport holds its protocol
        self._unproved: dict[PeerLink, None] = {}
        """Those of them that came here, until their handshake is done; the oldest first."""

        self._calls: dict[PeerLink, Member] = {}
        self._asked: set[str] = set()
        """Members whose pods are being asked for."""

        self._answered = asyncio.Event()
        """Set when a read or a write of the Lease has come to its end."""

        self._role: Role | None = None

    # --- its life

    async def open(self, sock: socket.socket) -> None:
        """Listen. The Lease names this replica only after."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=sock)

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
            await self._close()

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
                await self._settled()  # one write of the Lease after the other
                replica.stop()
                while replica.role is Role.DECIDING:
                    await self._settled()
                    if replica.role is Role.DECIDING:  # it failed, or has met another's
                        await asyncio.sleep(TICK)
                        await self._settled()
                        replica.stop()
        except TimeoutError:
            replica.stop()
            if replica.role is Role.DECIDING:
                log.warning("peers: the Lease still names this replica until it expires")

    async def _settled(self) -> None:
        """Wait until the Lease is neither read nor written."""
        while self.replica.lease.busy:
            self._answered.clear()
            await self._answered.wait()

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""
        if not self.replica.joined:
            reason = "the other replicas have not been joined yet"
            why = self.error or self._trouble
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
        self._start(self._read())

    def write_lease(self, record: Record, version: str) -> None:
        """Write it, if it is still in that version."""
        self._start(self._write(record, version))

    def read_pod(self, member: Member) -> None:
        """Ask whether a member's pod is still there, unless that is being asked already."""
        if member.id not in self._asked:
            self._asked.add(member.id)
            self._start(self._read_pod(member))

    def dial(self, member: Member) -> None:
        """Connect to a member."""
        self._start(self._dial(member))

    # --- as owner of links

    def link_ready(self, link: PeerLink, member_id: str) -> None:
        """Give a link to the replica, if it leads to whom it should."""
        now = monotonic()
        self._unproved.pop(link, None)
        if isinstance(link.handshake, Reached):
            self.replica.accepted(link.handshake.member, link, now)
            return
        member = self._calls.pop(link)
        if member_id == member.id:
            self.replica.dialed(member, link, now)
        else:
            link.close()
            self.replica.dial_failed(member, now)

    def link_said(self, link: PeerLink, said: Iterable[Message]) -> None:
        """Pass on what was said."""
        self.replica.received(link, said, monotonic())

    def link_ended(self, link: PeerLink) -> None:
        """Tell of a link's end, or that it never came about."""
        if link.why:
            self._trouble = link.why
            self._complain(link.why)
        self._unproved.pop(link, None)
        member = self._calls.pop(link, None)
        if member is not None:
            self.replica.dial_failed(member, monotonic())
        else:
            self.replica.link_lost(link, monotonic())

    # --- inside

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()  # it is over
        else:
            self._group.create_task(work)

    def _accept(self) -> asyncio.Protocol:
        try:
            link = self._link(calling=False)
        except OSError:
            return _Refusal()  # without a protocol, the loop would leave the connection open
        if len(self._unproved) >= MOST_UNPROVED:  # a replica needs no time; files are for requests
            oldest = next(iter(self._unproved))
            del self._unproved[oldest]
            oldest.close()
        self._unproved[link] = None
        return link

    def _link(self, *, calling: bool) -> PeerLink:
        try:
            secret = self._secret()
        except OSError as error:
            self._trouble = f"the peers' secret cannot be read: {error}"
            self._complain(self._trouble)
            raise
        link = PeerLink(self, self._me, secret, calling=calling)
        self._links.add(link)
        return link

    async def _dial(self, member: Member) -> None:
        host, _, port = member.address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            link = self._link(calling=True)
            self._calls[link] = member
        except OSError:
            self.replica.dial_failed(member, monotonic())
            return
        try:
            async with asyncio.timeout(DIAL):
                await loop.create_connection(
                    lambda: link, host.strip("[]"), int(port), local_addr=(self._host, 0)
                )
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            self._trouble = f"{member.pod} cannot be reached: {str(error) or 'no answer'}"
            self._complain(self._trouble, logging.INFO)
            link.close()
            if self._calls.pop(link, None) is not None:
                self.replica.dial_failed(member, monotonic())

    async def _read(self) -> None:
        try:
            lease = await self._store.read()
            found, version = (None, "") if lease is None else record.read(lease)
        except (StoreError, RecordError) as error:
            self._failed(error)
        else:
            self._base, self.error = lease, ""
            self.replica.lease_read(found, version, monotonic())
        self._answered.set()

    async def _write(self, wanted: Record, version: str) -> None:
        base = self._base if version else None
        lease = record.write(wanted, self._lease_name, datetime.now(UTC), base)
        if version:
            lease["metadata"]["resourceVersion"] = version
        put: Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
        put = self._store.replace if version else self._store.create
        try:
            self._base = await put(lease)
            written, version = record.read(self._base)
        except ConflictError:
            self.replica.lease_conflict(monotonic())
        except (StoreError, RecordError) as error:
            self._failed(error)
        else:
            self.error = ""
            self.replica.lease_written(written, version, monotonic())
        self._answered.set()

    def _failed(self, error: Exception) -> None:
        if str(error) != self.error:
            log.warning("peers: %s", error)
        self.error = str(error)
        retry_after = error.retry_after if isinstance(error, StoreError) else 0.0
        self.replica.lease_failed(monotonic(), retry_after)

    async def _read_pod(self, member: Member) -> None:
        try:
            uid = await self._store.pod_uid(member.pod)
        except StoreError as error:
            self._complain(str(error))
        else:
            self.replica.pod_read(member, uid, monotonic())
        finally:
            self._asked.discard(member.id)

    def _complain(self, text: str, level: int = logging.WARNING) -> None:
        """Log it, each text once a minute at the most: anybody can knock at the port."""
        now = monotonic()
        self._complaints = {t: at for t, at in self._complaints.items() if now - at < COMPLAINTS}
        if text not in self._complaints and len(self._complaints) < MOST_COMPLAINTS:
            self._complaints[text] = now
            log.log(level, "peers: %s", text)

    def _say_role(self) -> None:
        """Log a change of the part that is played."""
        replica = self.replica
        if replica.role is not self._role:
            self._role = replica.role
            log.info("peers: %s, term %d", replica.role.value, replica.promised)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()
        await self._store.close()
