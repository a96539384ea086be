"""The Lease and the pods, as the API has them, and what the replica is told of them.

The API itself is behind `Store`, which says how it failed by `StoreError`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from app.peers import record
from app.peers.complaints import Complaints
from app.peers.record import Member, Record, RecordError
from app.peers.replica import Replica

log = logging.getLogger(__name__)


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


class StoreCalls:
    """Makes a replica's calls, and tells it what came of them."""

    def __init__(self, replica: Replica, store: Store, name: str, complaints: Complaints) -> None:
        self.error = ""
        """Why the Lease could not be read or written, the last time; empty if it could."""

        self.asked: set[str] = set()
        """Members whose pods are being asked for."""

        self._replica = replica
        self._store = store
        self._name = name
        self._complaints = complaints
        self._base: Mapping[str, Any] | None = None
        """The Lease as it was read or written last."""

        self._answered = asyncio.Event()
        """Set when a read or a write of the Lease has come to its end."""

    async def settled(self) -> None:
        """Wait until the Lease is neither read nor written."""
        while self._replica.lease.busy:
            self._answered.clear()
            await self._answered.wait()

    async def read(self) -> None:
        """Read the Lease."""
        try:
            lease = await self._store.read()
            found, version = (None, "") if lease is None else record.read(lease)
        except (StoreError, RecordError) as error:
            self._failed(error)
        else:
            self._base, self.error = lease, ""
            self._replica.lease_read(found, version, monotonic())
        self._answered.set()

    async def write(self, wanted: Record, version: str) -> None:
        """Write it, if it is still in that version; create it if that is empty."""
        base = self._base if version else None
        lease = record.write(wanted, self._name, datetime.now(UTC), base)
        if version:
            lease["metadata"]["resourceVersion"] = version
        put: Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
        put = self._store.replace if version else self._store.create
        try:
            self._base = await put(lease)
            written, version = record.read(self._base)
        except ConflictError:
            self._replica.lease_conflict(monotonic())
        except (StoreError, RecordError) as error:
            self._failed(error)
        else:
            self.error = ""
            self._replica.lease_written(written, version, monotonic())
        self._answered.set()

    async def read_pod(self, member: Member) -> None:
        """Ask whether a member's pod is still there, unless that is being asked already."""
        if member.id in self.asked:
            return
        self.asked.add(member.id)
        try:
            uid = await self._store.pod_uid(member.pod)
        except StoreError as error:
            self._complaints.say(str(error))
            self._replica.pod_failed(monotonic(), error.retry_after)
        else:
            self._replica.pod_read(member, uid, monotonic())
        finally:
            self.asked.discard(member.id)

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()

    def _failed(self, error: Exception) -> None:
        if str(error) != self.error:
            log.warning("peers: %s", error)
        self.error = str(error)
        retry_after = error.retry_after if isinstance(error, StoreError) else 0.0
        self._replica.lease_failed(monotonic(), retry_after)
