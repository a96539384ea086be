"""Replicas on real sockets, in the test's loop, with a Lease in memory."""

import asyncio
import copy
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import Refusal
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers.record import Member
from app.peers.runner import Runner
from app.peers.store import ConflictError, StoreError
from tests.integration.waiting import eventually

CAP = 2
LEASE = "lb"
SECRET = b"what all replicas know"


class Api:
    """The API server: the Lease, and the pods. Each replica has a `Way` to it."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.pods: dict[str, str] = {}
        self._version = 0

    def put(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Store it as its next version."""
        self._version += 1
        self.lease = copy.deepcopy(dict(lease))
        self.lease["metadata"] = dict(lease["metadata"]) | {"resourceVersion": str(self._version)}
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        """The id of the replica that the Lease names."""
        return str(self.lease["spec"]["holderIdentity"]) if self.lease is not None else ""

    @property
    def term(self) -> int:
        return int(self.lease["spec"]["leaseTransitions"]) if self.lease is not None else 0


class Way:
    """One replica's `Store`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.calls: list[str] = []
        self.trouble = ""
        """What each call fails with; empty for none."""

        self.fails_once: StoreError | None = None
        """What the next call fails with."""

        self.passing = asyncio.Event()
        """Unset while calls hang."""

        self.passing.set()
        self.closed = False

    async def read(self) -> Mapping[str, Any] | None:
        await self._pass("read")
        return copy.deepcopy(self._api.lease)

    async def create(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        await self._pass("create")
        if self._api.lease is not None:
            raise ConflictError("it is there already")
        return self._api.put(lease)

    async def replace(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        await self._pass("replace")
        present = self._api.lease
        version = lease["metadata"]["resourceVersion"]
        if present is None or present["metadata"]["resourceVersion"] != version:
            raise ConflictError("it was changed")
        return self._api.put(lease)

    async def pod_uid(self, name: str) -> str | None:
        await self._pass("pod_uid")
        return self._api.pods.get(name)

    async def close(self) -> None:
        self.closed = True

    async def _pass(self, call: str) -> None:
        self.calls.append(call)
        await self.passing.wait()
        failure, self.fails_once = self.fails_once, None
        if failure is not None:
            raise failure
        if self.trouble:
            raise StoreError(self.trouble)


class Claim:
    """A request that wants a slot."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.refusal: Refusal | None = None

    def granted(self, lease: Lease) -> None:
        self.lease = lease

    def refused(self, refusal: Refusal) -> None:
        self.refusal = refusal


class Replica:
    """One replica, with a pool of one worker."""

    def __init__(self, api: Api, pod: str, host: str) -> None:
        self.secret = SECRET
        self.unreadable = ""
        """Why its secret cannot be read; empty if it can."""

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family)
        self.port = self._socket.getsockname()[1]
        self.host = host
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.store = Way(api)
        self.me = Member(id=f"{pod}.{len(api.pods)}", pod=pod, uid=f"uid-{pod}", address=address)
        api.pods[pod] = self.me.uid
        self.able = True
        """Whether it knows its workers."""

        self.runner = Runner(
            self.me, self.store, self._read_secret, LEASE, host, able=lambda: self.able
        )
        self.pool = Pool(Policy(max_in_flight=CAP), key="pool")
        self.pool.apply_snapshot([EndpointSpec("worker", "127.0.0.1", 8080)], monotonic())
        self.runner.add_pool(self.pool)
        self._task: asyncio.Task[None] | None = None

    def _read_secret(self) -> bytes:
        if self.unreadable:
            raise OSError(self.unreadable)
        return self.secret

    async def start(self) -> None:
        await self.runner.open(self._socket)
        self._task = asyncio.create_task(self.runner.run())

    async def end(self) -> None:
        """End, as a process does that is killed; but connections end with it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def role(self) -> str:
        return self.runner.replica.role.value

    @property
    def links(self) -> int:
        """How many connections it has, whatever came of them."""
        return len(self.runner._meetings.links)

    async def is_now(self, role: str) -> None:
        await eventually(lambda: self.role == role, f"{self.me.pod} is {role}")

    async def serves(self) -> None:
        """See that a request gets a slot, and gives it back."""
        claim = self.ask()
        await eventually(lambda: claim.lease, f"{self.me.pod} gets a slot")
        assert claim.lease is not None
        claim.lease.release(Outcome.ANSWERED, monotonic())

    def ask(self) -> Claim:
        claim = Claim()
        got = self.pool.acquire(claim, monotonic())
        if isinstance(got, Lease):
            claim.granted(got)
        return claim


@asynccontextmanager
async def running(api: Api, pod: str, host: str = "127.0.0.1") -> AsyncIterator[Replica]:
    """Run a replica. It has to be alive in the end, if it was not ended."""
    replica = Replica(api, pod, host)
    await replica.start()
    try:
        yield replica
        assert replica._task is None or replica.running
    finally:
        await replica.end()


@asynccontextmanager
async def two_of_them(api: Api, host: str = "127.0.0.1") -> AsyncIterator[tuple[Replica, Replica]]:
    """Run one that decides, and another that follows."""
    async with running(api, "one", host) as one:
        await one.is_now("deciding")
        async with running(api, "two", host) as two:
            await two.is_now("following")
            await two.serves()
            yield one, two


def stranger(pod: str = "stranger") -> Member:
    """Return somebody who stands in no Lease."""
    return Member(f"{pod}.0", pod, f"uid-{pod}", "127.0.0.1:1")
