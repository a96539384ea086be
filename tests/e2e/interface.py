"""What a scenario may do to a cluster, simulated or real, and what it learns from it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
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


def parse_load(text: str) -> tuple[list[Request], dict[tuple[str, int], dict[str, Any]]]:
    """Read the load generator's lines: the requests, and the last word of each worker process."""
    requests, workers = [], {}
    for line in text.splitlines():
        if not line.endswith("}"):
            continue  # it is being written
        record = json.loads(line)
        if "worker" in record:
            told = record["worker"]
            workers[told["name"], told["pid"]] = told
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

    async def pods(self, role: str) -> dict[str, PodView]:
        """Return the pods of "worker" or "lb" by name."""
        ...

    async def views(self) -> list[dict[str, Any]]:
        """Return what each ready balancer says of its workers (`/workers`), and its name."""
        ...

    async def settled(self) -> bool:
        """Whether every workload has all its pods, of its present revision and ready."""
        ...

    async def delete_worker(self, name: str, *, force: bool = False) -> None: ...

    async def kill_container(self, name: str) -> None:
        """Send SIGKILL to the worker's process, inside its container."""
        ...

    async def fail_readiness(self, name: str, *, fails: bool) -> None:
        """Let the readiness probe fail while the process lives, or pass again."""
        ...

    async def scale_workers(self, replicas: int) -> None: ...

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

    def load(self, clients: int = 12) -> AbstractAsyncContextManager[Load]:
        """Let so many clients send, each its next request after the last one's answer."""
        ...

    async def worst_count(self) -> int:
        """Return the most tasks any worker ever had at once, by its own count."""
        ...

    async def refusals(self) -> int:
        """Return how many requests the workers that live now have refused."""
        ...
