"""Balancers that act as one: which part each plays, clients of each, and what holds after a fault.

On any cluster. The workers of most of these scenarios do not refuse: a cap that was passed shows in
their own counts.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any

from tests.e2e.interface import CAP, POOL, WORKERS, Cluster, Election, Load, Request, reached
from tests.e2e.scenario import everything_in_rotation, served
from tests.e2e.simulated import SimulatedCluster

REPLICAS = 3
TASK_SECONDS = 0.4
"""On the simulated cluster. Longer than a takeover where the arbiter says goodbye, or its death is
seen: what ran before is still running, and a new arbiter that did not know of it would give its
slots again."""

UNREFUSED = POOL | {"retry": {"nonIdempotent": True, "refusedStatuses": []}}
"""The scenario's pool, of whose workers none refuses."""

CLIENTS = 14
"""Of each replica: those of two fill all slots and a queue, and so would find any that is free."""

IN_ALL = REPLICAS * CLIENTS


class Replicas:
    """The balancers of a cluster; `count` of them, when it is whole."""

    def __init__(self, cluster: Cluster, count: int = REPLICAS) -> None:
        self.cluster, self.count = cluster, count

    @property
    def sim(self) -> SimulatedCluster:
        """The simulated cluster, for scenarios marked sim_only."""
        assert isinstance(self.cluster, SimulatedCluster)
        return self.cluster

    # --- who decides

    async def names(self) -> list[str]:
        """Return the balancers that are not about to go."""
        pods = await self.cluster.pods("lb")
        return [pod.name for pod in pods.values() if not pod.terminating]

    async def others(self, name: str) -> list[str]:
        """Return all but this one."""
        return [other for other in await self.names() if other != name]

    async def arbiter(self) -> str:
        """Wait until the Lease names one, it says so too, and all others follow; return it."""

        async def one() -> str:
            arbiter = (await self.cluster.election()).arbiter
            roles = {v["balancer"]: v["replicas"]["role"] for v in await self.views()}
            decides = roles.pop(arbiter, "") == "deciding"
            return arbiter if decides and set(roles.values()) <= {"following"} else ""

        return await reached(self.cluster, "one decides and the others follow", one)

    async def term(self) -> int:
        """Return the term: it grows by one with each arbiter."""
        return (await self.cluster.election()).term

    async def decides(self, others: Collection[str], term: int) -> Election:
        """Wait until one of these decides, in a later term than that."""

        async def later() -> Election | None:
            election = await self.cluster.election()
            return election if election.term > term and election.arbiter in others else None

        began = monotonic()
        found = await reached(self.cluster, f"one of {others} decides", later)
        assert found is not None
        print(f"another decided after {monotonic() - began:.1f} s")
        return found

    # --- what all say of the workers

    async def views(self) -> list[dict[str, Any]]:
        """Return the /workers of each; nothing while one does not answer."""
        views = await self.cluster.views()
        return views if len(views) == len(await self.names()) else []

    async def whole(self) -> None:
        """Wait until all are there and ready, and nothing is left of what was.

        One decides; nothing is counted, reserved or waits; the Lease's members are the live pods,
        each once.
        """
        await everything_in_rotation(self.cluster, WORKERS)
        assert len(await self.names()) == self.count
        await self.arbiter()
        left: list[Any] = []

        async def clean() -> bool:
            views, pods = await self.views(), await self.cluster.pods("lb")
            members = (await self.cluster.election()).members
            left[:] = [_left(view) for view in views] + [members]
            live = tuple(sorted((pod.name, pod.uid) for pod in pods.values()))
            return bool(views) and not any(map(_left, views)) and members == live

        try:
            await reached(self.cluster, "nothing is left of what was", clean)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {left}") from None

    async def queue_exists(self, *names: str) -> None:
        """Wait until requests wait at each of these."""

        async def waiting() -> bool:
            views = await asyncio.gather(*map(self.cluster.view, names))
            return all(view["queued"] for view in views)

        await reached(self.cluster, f"requests wait at {', '.join(names)}", waiting)


def _left(view: dict[str, Any]) -> dict[str, Any]:
    """Return what is not as in a pool without requests."""
    together = view["replicas"]
    counts = {f: view[f] for f in ("in_flight", "queued")}
    counts |= {f"{f} of all": together[f] for f in ("in_flight", "queued", "reserved")}
    counts |= {worker["name"]: worker["in_flight"] for worker in view["workers"]}
    counts |= {f"{each['pod']} holds": each["holds"] for each in together["replicas"]}
    left: dict[str, Any] = {what: count for what, count in counts.items() if count}
    return left if together["accounted"] else left | {"accounted": False}


class Clients:
    """Clients that stay with the replica that they were given, as none does behind a Service."""

    def __init__(self, replicas: Replicas, stack: AsyncExitStack) -> None:
        self._replicas, self._stack = replicas, stack
        self.loads: dict[str, Load] = {}

    async def begin(self) -> None:
        """Let them send, if they do not yet."""
        if self.loads:
            return
        for name in await self._replicas.names():
            load = self._replicas.cluster.load(CLIENTS, pod=name)
            self.loads[name] = await self._stack.enter_async_context(load)

    async def served(self, *names: str) -> None:
        """Wait for as many answers of these (of all, without a name) as each has clients."""
        before = {name: await self._answers(name) for name in names or self.loads}

        async def more() -> bool:
            return all([await self._answers(name) >= had + CLIENTS for name, had in before.items()])

        await reached(self._replicas.cluster, f"requests to {', '.join(before)} are answered", more)

    async def failures(self, name: str) -> list[Request]:
        """Return those to that one that have failed until now."""
        return failures(await self.loads[name].requests())

    async def _answers(self, name: str) -> int:
        return sum(not request.error for request in await self.loads[name].requests())

    async def stop(self) -> dict[str, list[Request]]:
        """Let the last requests end; return all, by replica."""
        stopped = await asyncio.gather(*(load.stop() for load in self.loads.values()))
        return dict(zip(self.loads, stopped, strict=True))


@asynccontextmanager
async def faulted(replicas: Replicas, *, busy: bool, killed: str = "") -> AsyncIterator[Clients]:
    """Send requests to all replicas, from before the fault on or (not `busy`) when told to.

    At the end each has its answer, but those that were on the way to the replica that was killed,
    no worker had too many, and all is as before: no other replica's process has ended, either.
    """
    cluster = replicas.cluster
    since, before = monotonic(), await cluster.pods("lb")

    async with AsyncExitStack() as stack:
        clients = Clients(replicas, stack)
        if busy:
            await clients.begin()
            await clients.served()
            await replicas.queue_exists(*clients.loads)
        yield clients
        await clients.begin()
        if killed:
            await started_again(cluster, killed, before[killed].restarts)
        await reached(cluster, "all are ready", cluster.settled)
        await clients.served()
        met_its_end = await clients.failures(killed) if killed else []
        await clients.served()
        requests = await clients.stop()
    if killed:
        failed = failures(requests.pop(killed))
        assert failed
        assert {request.status for request in failed} == {0}, failed[:5]  # nothing but connections
        assert len(failed) == len(met_its_end), failed[-5:]  # none since it has been back
        print(f"{len(failed)} requests to {killed} met its end, or nobody")
    await check(replicas, [r for answered in requests.values() for r in answered], since)
    await replicas.whole()
    after = await cluster.pods("lb")
    ended = {name for name, pod in before.items() if after[name].restarts > pod.restarts}
    assert ended == ({killed} if killed else set())


@asynccontextmanager
async def through_the_service(replicas: Replicas, *, busy: bool) -> AsyncIterator[None]:
    """Send requests to the Service from before what happens on, or (not `busy`) after it.

    At the end each has its answer, no worker had too many, and all is as before.
    """
    since, cluster = monotonic(), replicas.cluster
    if busy:
        async with cluster.load(IN_ALL) as load:
            await served(cluster, load, IN_ALL)
            await replicas.queue_exists(*await replicas.names())
            yield
            await served(cluster, load, IN_ALL)
            requests = await load.stop()
    else:
        yield
        async with cluster.load(IN_ALL) as load:
            await served(cluster, load, IN_ALL)
            requests = await load.stop()
    await check(replicas, requests, since)
    await replicas.whole()


async def started_again(cluster: Cluster, name: str, restarts: int) -> None:
    """Wait until that balancer's process has been started again more than so often."""

    async def check() -> bool:
        return (await cluster.pods("lb"))[name].restarts > restarts

    await reached(cluster, f"{name} is started again", check)


def failures(requests: Collection[Request]) -> list[Request]:
    """Return those that have failed."""
    return [request for request in requests if request.error]


async def check(replicas: Replicas, requests: list[Request], since: float) -> None:
    """See that all were answered, and that no worker has had too many since then."""
    failed = failures(requests)
    assert not failed, f"{len(failed)} of {len(requests)} failed: {failed[:5]}"
    worst = await replicas.cluster.worst_count(since)
    assert worst <= CAP, f"a worker had {worst} tasks at once"
    slowest = max(request.seconds for request in requests)
    print(f"{len(requests)} requests, 0 failed, slowest {slowest:.2f} s, {worst} at once at most")
