"""What a scenario may do to a cluster, simulated or real, and what it learns from it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from signal import Signals
from time import monotonic
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

CAP = 4
WORKERS = 5

POOL: dict[str, Any] = {
    "service": {"name": "worker", "port": "http"},
    "maxInFlight": CAP,
    "queue": {"size": 1000, "timeout": "60s"},
    "retry": {"nonIdempotent": True, "refusedStatuses": [503]},
}
"""The scenario's pool, as the chart has it."""


async def until(
    what: str,
    check: Callable[[], Awaitable[T]],
    *,
    limit: float = 30.0,
    pause: float = 0.05,
) -> T:
    """Ask again and again until the answer is true; return it."""
    deadline = monotonic() + limit
    while True:
        answer = await check()
        if answer:
            return answer
        assert monotonic() < deadline, f"not within {limit:g} s: {what}"
        await asyncio.sleep(pause)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as kubectl shows it."""

    name: str
    uid: str
    ready: bool
    terminating: bool
    restarts: int
    address: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the load, as its client saw it. `began` is in seconds of the epoch."""

    client: int
    kept: bool
    began: float
    seconds: float
    status: int
    error: str
    retry_after: str | None = None

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True, slots=True)
class Election:
    """What the balancers' Lease says."""

    arbiter: str
    """The pod that decides; empty while none does."""

    term: int
    members: tuple[tuple[str, str], ...]
    """Name and UID of the pod of each process that has joined."""


def read_lease(lease: Mapping[str, Any]) -> Election:
    """Read the Lease as docs/kubernetes.md has it ("Several replicas")."""
    spec = lease["spec"]
    members = json.loads(lease["metadata"]["annotations"]["leastwise.io/members"])
    pods = {member["id"]: member["pod"] for member in members}
    return Election(
        arbiter=pods.get(spec.get("holderIdentity"), ""),
        term=spec["leaseTransitions"],
        members=tuple(sorted((member["pod"], member["uid"]) for member in members)),
    )


Workers = dict[tuple[str, int], dict[str, Any]]
"""What workers said of themselves last, by name and process id, with the highest peak."""


def take_in(workers: Workers, told: dict[str, Any]) -> None:
    """Take in what a worker said of itself.

    In pods that are made anew the process id is often the same: another's peak is not forgotten.
    """
    key = told["name"], told["pid"]
    before = workers.get(key, told)
    workers[key] = told | {"peak": max(before["peak"], told["peak"])}


def parse_load(text: str) -> tuple[list[Request], Workers]:
    """Read the load generator's lines: the requests, and what the workers said."""
    requests: list[Request] = []
    workers: Workers = {}
    for line in text.splitlines():
        if not line.endswith("}"):
            continue  # it is being written
        record = json.loads(line)
        if "worker" in record:
            take_in(workers, record["worker"])
        else:
            requests.append(Request(**record))
    return requests, workers


class Load(Protocol):
    """Requests that go on until `stop`."""

    async def requests(self) -> list[Request]:
        """Return those that have been answered, or failed, until now."""
        ...

    async def stop(self) -> list[Request]:
        """Let the last requests end; return all."""
        ...


class Cluster(Protocol):
    """A namespace with the chart in it."""

    simulated: bool
    patience: float
    """Seconds that anything may take: a guard, far above what it takes."""

    pause: float
    """Seconds between two looks at it: on a real one each starts programs, there as well."""

    # --- what is there

    async def pods(self, role: str) -> dict[str, PodView]:
        """Return the pods of "worker" or "lb" by name."""
        ...

    async def views(self) -> list[dict[str, Any]]:
        """Return what each ready balancer says of its workers (`/workers`), and its pod's name."""
        ...

    async def view(self, pod: str) -> dict[str, Any]:
        """Return what that balancer says, be it ready or not."""
        ...

    async def election(self) -> Election:
        """Return what the balancers' Lease says; for balancers that act as one."""
        ...

    async def settled(self) -> bool:
        """Whether every workload has all its pods, of its present revision and ready."""
        ...

    # --- what is done to it

    async def delete_pod(self, name: str, *, force: bool = False) -> None: ...

    async def signal(self, name: str, number: Signals) -> None:
        """Signal the pod's process, inside its container: of a worker or a balancer."""
        ...

    async def fail_readiness(self, name: str, *, fails: bool) -> None:
        """Let a worker's readiness probe fail while the process lives, or pass again."""
        ...

    async def scale(self, role: str, replicas: int) -> None:
        """Let there be so many of "worker" or "lb"."""
        ...

    async def restart(self, role: str) -> None:
        """Begin a rolling restart of "worker" or "lb"."""
        ...

    async def upgrade(self, pool: Mapping[str, Any]) -> None:
        """`helm upgrade` with this pool; return when the balancers have been replaced."""
        ...

    async def change_service(self, *, dual_stack: bool, publish_not_ready: bool) -> None:
        """Change the workers' Service."""
        ...

    async def reset(self) -> None:
        """Set back what a scenario changed that did not come to its end; the pool apart."""
        ...

    # --- requests

    def load(self, clients: int = 12, *, pod: str = "") -> AbstractAsyncContextManager[Load]:
        """Let so many clients send, each its next request after the last one's answer.

        To the balancers' Service, or to the balancer of that pod.
        """
        ...

    async def worst_count(self, since: float = 0.0) -> int:
        """Return the most tasks any worker had at once, by its own count.

        `since`: a time of the monotonic clock, where the workers tell times: on a real cluster they
        do not, and say the most since they were started.
        """
        ...

    async def refusals(self) -> int:
        """Return how many requests the workers that live now have refused."""
        ...


async def reached(
    cluster: Cluster, what: str, check: Callable[[], Awaitable[T]], *, patience: float = 1.0
) -> T:
    """Ask until the answer is true, as often and as long as befits the cluster; return it.

    `patience`: how many times what anything may take.
    """
    limit = patience * cluster.patience
    return await until(what, check, limit=limit, pause=cluster.pause)
