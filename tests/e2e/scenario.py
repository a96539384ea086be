"""What all scenarios do: keep requests running, wait for the rotation, count what went wrong."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.interface import CAP, Cluster, Load, Request, reached

CLIENTS = 12
"""Fewer than the slots of five workers, so that nobody has to wait while all is well."""


async def served(cluster: Cluster, load: Load, count: int = 2 * CLIENTS) -> None:
    """Wait for so many further answers."""
    before = _answered(await load.requests())

    async def more() -> bool:
        return _answered(await load.requests()) >= before + count

    await reached(cluster, f"{count} more requests are answered", more)


def _answered(requests: Iterable[Request]) -> int:
    return sum(not request.error for request in requests)


@asynccontextmanager
async def nothing_lost(cluster: Cluster, clients: int = CLIENTS) -> AsyncIterator[Load]:
    """Send requests all the time; at the end each has its answer, and no worker had too many."""
    async with cluster.load(clients) as load:
        await served(cluster, load)
        yield load
        await served(cluster, load)
        requests = await load.stop()
    failed = [request for request in requests if request.error]
    assert not failed, f"{len(failed)} of {len(requests)} failed: {failed[:5]}"
    assert {request.kept for request in requests} == {True, False}
    worst = await cluster.worst_count()
    assert worst <= CAP, f"a worker had {worst} tasks at once"
    print(
        f"{len(requests)} requests, 0 failed, slowest {max(r.seconds for r in requests):.2f} s, "
        f"{worst} at once at most, {await cluster.refusals()} refusals by workers so far"
    )


def rotation(view: dict[str, Any]) -> set[str]:
    """The names of the workers that one balancer sends to."""
    return {worker["name"] for worker in view["workers"] if worker["in_rotation"]}


async def rotation_is(cluster: Cluster, names: Iterable[str]) -> None:
    """Wait until every balancer sends to exactly these."""
    wanted = set(names)
    seen: list[set[str]] = []

    async def check() -> bool:
        seen[:] = [rotation(view) for view in await cluster.views()]
        return bool(seen) and all(found == wanted for found in seen)

    try:
        await reached(cluster, f"the rotation is {sorted(wanted)}", check)
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {seen}") from None


async def out_of_rotation(cluster: Cluster, name: str) -> None:
    """Wait until no balancer sends to this worker."""

    async def check() -> bool:
        views = await cluster.views()
        return bool(views) and all(name not in rotation(view) for view in views)

    await reached(cluster, f"{name} is out of rotation", check)


async def gets_nothing_new(cluster: Cluster, address: str) -> None:
    """Wait until the balancers have forgotten the worker there; see what it gets meanwhile.

    To be called when it is out of rotation.
    """
    counts: dict[str, set[int]] = {}

    async def check() -> bool:
        found = False
        for view in await cluster.views():
            for worker in view["workers"]:
                if worker["address"].startswith(f"{address}:") and not worker["in_rotation"]:
                    found = True
                    counts.setdefault(view["balancer"], set()).add(worker["requests"])
        return not found

    await reached(cluster, f"{address} is forgotten", check)
    assert all(len(seen) == 1 for seen in counts.values()), f"requests came while away: {counts}"


async def everything_in_rotation(cluster: Cluster, workers: int) -> None:
    """Wait until so many workers are there, ready, and sent to."""
    await reached(cluster, "all pods are ready", cluster.settled, patience=2)
    names = await cluster.pods("worker")
    assert len(names) == workers
    await rotation_is(cluster, names)


async def replaced(cluster: Cluster, name: str, uid: str) -> None:
    """Wait until the pod of this name is another one, and ready."""

    async def check() -> bool:
        pod = (await cluster.pods("worker")).get(name)
        return pod is not None and pod.uid != uid and pod.ready

    await reached(cluster, f"{name} is replaced", check)


async def restarted(cluster: Cluster, name: str, times: int) -> None:
    """Wait until the pod's container has been restarted so often, and is ready."""

    async def check() -> bool:
        pod = (await cluster.pods("worker"))[name]
        return pod.restarts >= times and pod.ready

    await reached(cluster, f"{name} has restarted", check)
