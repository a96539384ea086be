"""Replicas that act as one, on any cluster: all are replaced, become more or fewer, or the arbiter
dies or falls silent.

Each under load with a queue; some on the simulated cluster again while nothing is in flight. The
workers do not refuse, but in the last scenario: their own counts are the proof. What a real
cluster cannot be given is in `test_replicas_faults`, `test_replicas_network` and
`test_replicas_versions`.
"""

import asyncio
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from tests.e2e.interface import CAP, WORKERS, Cluster, reached
from tests.e2e.real import RealCluster
from tests.e2e.replicas import (
    REPLICAS,
    UNREFUSED,
    Replicas,
    failures,
    faulted,
    started_again,
    through_the_service,
)
from tests.e2e.scenario import replaced, served

loaded_and_idle = pytest.mark.parametrize(
    "busy",
    [
        pytest.param(True, id="loaded"),
        pytest.param(False, id="idle", marks=pytest.mark.sim_only),
    ],
)


async def rolled_out(replicas: Replicas) -> None:
    await reached(replicas.cluster, "the rollout is over", replicas.cluster.settled, patience=4)


@loaded_and_idle
async def test_all_are_restarted_one_by_one(replicas: Replicas, busy: bool) -> None:
    before, term = set(await replicas.names()), await replicas.term()
    async with through_the_service(replicas, busy=busy):
        await replicas.cluster.restart("lb")
        await rolled_out(replicas)
    assert not before & {pod for pod, _ in (await replicas.cluster.election()).members}
    assert await replicas.term() > term


async def test_the_arbiter_is_deleted(replicas: Replicas) -> None:
    arbiter, term = await replicas.arbiter(), await replicas.term()
    others = await replicas.others(arbiter)
    async with through_the_service(replicas, busy=True):
        await replicas.cluster.delete_pod(arbiter)
        await replicas.decides(others, term)
        await rolled_out(replicas)
    assert arbiter not in await replicas.names()


async def test_an_upgrade_changes_the_cap_and_back(replicas: Replicas) -> None:
    cluster = replicas.cluster
    secret = await cluster.peer_secret() if isinstance(cluster, RealCluster) else ""
    async with through_the_service(replicas, busy=True):
        for cap in (CAP - 1, CAP):
            before = await cluster.pods("lb")
            await cluster.upgrade(UNREFUSED | {"maxInFlight": cap})
            assert not before.keys() & (await cluster.pods("lb")).keys()
            assert {view["max_in_flight"] for view in await cluster.views()} == {cap}
    if isinstance(cluster, RealCluster):  # `lookup` has found the one that is there
        assert await cluster.peer_secret() == secret


@loaded_and_idle
async def test_from_three_to_one_and_back(replicas: Replicas, busy: bool) -> None:
    async with through_the_service(replicas, busy=busy):
        for count in (1, REPLICAS):
            await replicas.cluster.scale("lb", count)
            await rolled_out(replicas)
            assert len(await replicas.names()) == count
            await replicas.arbiter()


@loaded_and_idle
async def test_the_arbiter_is_killed(replicas: Replicas, busy: bool) -> None:
    arbiter, term = await replicas.arbiter(), await replicas.term()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy, killed=arbiter) as clients:
        await replicas.cluster.signal(arbiter, SIGKILL)
        await clients.begin()
        await replicas.decides(others, term)
        await clients.served(*others)


@loaded_and_idle
async def test_the_arbiter_falls_silent(replicas: Replicas, busy: bool) -> None:
    """It may still believe in itself when it wakes, before its liveness probe has it restarted."""
    arbiter, term = await replicas.arbiter(), await replicas.term()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy) as clients:
        await replicas.cluster.signal(arbiter, SIGSTOP)
        try:
            await replicas.decides(others, term)
            await clients.begin()
            # All slots might be the silent one's: what the others had is over meanwhile.
            await replicas.queue_exists(*others)
        finally:
            await replicas.cluster.signal(arbiter, SIGCONT)


async def test_a_worker_and_the_arbiter_end_together(cluster: Cluster) -> None:
    """With what the chart has by default: two replicas, and workers that refuse."""
    replicas = Replicas(cluster, count=2)
    arbiter, term = await replicas.arbiter(), await replicas.term()
    (other,) = await replicas.others(arbiter)
    uid = (await cluster.pods("worker"))["worker-1"].uid
    restarts = (await cluster.pods("lb"))[arbiter].restarts
    half = (WORKERS + 1) * CAP // 2  # of all clients: together more than the slots
    async with cluster.load(half) as load, cluster.load(half, pod=other) as unharmed:
        await served(cluster, load, 2 * half)
        await asyncio.gather(cluster.delete_pod("worker-1"), cluster.signal(arbiter, SIGKILL))
        await replicas.decides([other], term)
        await replaced(cluster, "worker-1", uid)
        await started_again(cluster, arbiter, restarts)
        await reached(cluster, "all is back", cluster.settled)
        await served(cluster, load, half)
        met_its_end = failures(await load.requests())
        await served(cluster, load, half)
        await served(cluster, unharmed, half)
        failed = failures(await load.stop())
        assert not failures(await unharmed.stop())
    # No balancer has answered with a failure: these were with the one that was killed, or knocked
    # there before the Service knew; and none since it has been back.
    assert {request.status for request in failed} <= {0}, failed[:5]
    assert len(failed) == len(met_its_end), failed[-5:]
    assert await cluster.worst_count() <= CAP
    await replicas.whole()
