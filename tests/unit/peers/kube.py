"""A simulated Kubernetes API: one Lease, written by compare-and-swap, and the pods.

Each call has two ways, there and back, and may be held up on either: a write may be done long after
its caller has given it up, and an answer may be lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from app.peers import record
from app.peers.record import YIELDED_WITH, Member, Record
from tests.unit.peers.network import API, Channel

if TYPE_CHECKING:
    from tests.unit.peers.process import Process

TIMEOUT = 2.0
"""Seconds after which a call is given up."""

STAMP = datetime(2026, 1, 1, tzinfo=UTC)


class Kube:
    """What the API server has."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.pods: dict[str, str] = {}
        self._version = 0

    def put(self, lease: dict[str, Any], version: str) -> dict[str, Any] | None:
        """Write the Lease, if it is in this version; return it, or None."""
        found = "" if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if found != version:
            return None
        self._version += 1
        metadata = lease["metadata"] | {"resourceVersion": str(self._version)}
        self.lease = lease | {"metadata": metadata}
        return self.lease

    @property
    def members(self) -> set[str]:
        """The ids that stand in the Lease."""
        if self.lease is None:
            return set()
        return {member.id for member in record.read(self.lease)[0].members}


class Call:
    """One call of one process; `done` takes the answer."""

    def __init__(
        self,
        process: "Process",
        ask: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[], None],
    ) -> None:
        self.started = process.world.now
        self.over = False
        self._process = process
        self._ask = ask
        self._done = done
        self._failed = failed
        self._way(None).put(self._serve)

    def _way(self, to: "Process | None") -> Channel:
        return Channel(self._process.world, to, self._process.pod, API)

    def _serve(self) -> None:
        answer = self._ask()
        self._way(self._process).put(partial(self._answered, answer))

    def _answered(self, answer: Any) -> None:
        if not self.over and self._process.alive:
            self.over = True
            self._done(answer)

    def fail(self) -> None:
        """Give it up; whether it is done is unknown."""
        if not self.over:
            self.over = True
            self._failed()


class Store:
    """One process's way to the Lease and the pods, as `runner` has it.

    An older build does not know the books in the Lease: it writes none, and leaves those it finds.
    """

    def __init__(self, process: "Process") -> None:
        self.calls: list[Call] = []
        self._process = process
        self._kube = process.world.kube
        self._base: Mapping[str, Any] | None = None

    def give_up(self, older_than: float) -> None:
        """Give up the calls that nobody has answered in time."""
        self.calls = [call for call in self.calls if not call.over]
        for call in self.calls:
            if call.started <= older_than:
                call.fail()

    def read_lease(self) -> None:
        self._call(lambda: self._kube.lease, self._read)

    def write_lease(self, wanted: Record, version: str) -> None:
        base = self._base if version else None
        stamp = STAMP + timedelta(seconds=self._process.world.now)
        lease = record.write(wanted, "lw", stamp, base)
        if self._process.older:
            kept = base["metadata"]["annotations"] if base is not None else {}
            lease["metadata"]["annotations"].pop(YIELDED_WITH, None)
            lease["metadata"]["annotations"] |= {k: kept[k] for k in {YIELDED_WITH} & {*kept}}
        self._call(lambda: self._kube.put(lease, version), self._written)

    def read_pod(self, member: Member) -> None:
        done = partial(self._pod_read, member)
        ask = partial(self._kube.pods.get, member.pod)
        failed = lambda: self._process.replica.pod_failed(self._process.world.now, 0.0)  # noqa: E731
        self.calls.append(Call(self._process, ask, done, failed))

    def _call(self, ask: Callable[[], Any], done: Callable[[Any], None]) -> None:
        replica, world = self._process.replica, self._process.world
        failed = lambda: replica.lease_failed(world.now)  # noqa: E731
        self.calls.append(Call(self._process, ask, done, failed))

    def _read(self, lease: Mapping[str, Any] | None) -> None:
        self._base = lease
        found, version = (None, "") if lease is None else self._understood(lease)
        self._process.replica.lease_read(found, version, self._process.world.now)

    def _written(self, lease: Mapping[str, Any] | None) -> None:
        if lease is None:
            self._process.replica.lease_conflict(self._process.world.now)
            return
        self._base = lease
        written, version = self._understood(lease)
        self._process.replica.lease_written(written, version, self._process.world.now)

    def _understood(self, lease: Mapping[str, Any]) -> tuple[Record, str]:
        found, version = record.read(lease)
        return replace(found, yielded_with=None) if self._process.older else found, version

    def _pod_read(self, member: Member, uid: str | None) -> None:
        self._process.replica.pod_read(member, uid, self._process.world.now)
