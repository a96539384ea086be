"""The balancers themselves are restarted and upgraded while requests run."""

import pytest

from tests.e2e.interface import CAP, POOL, WORKERS, Cluster, Load, reached
from tests.e2e.scenario import everything_in_rotation, nothing_lost, rotation_is, served
from tests.e2e.simulated import SimulatedCluster

MANY = (WORKERS + 1) * CAP
"""More clients than slots, so that some wait."""


async def test_the_balancers_are_restarted(cluster: Cluster) -> None:
    await _restarted(cluster)


@pytest.mark.sim_only
async def test_a_balancer_without_peers_is_restarted(alone: SimulatedCluster) -> None:
    """It and the next one know nothing of each other: they fill the workers, which then refuse."""
    before = await alone.refusals()
    await _restarted(alone)
    assert await alone.refusals() > before


async def _restarted(cluster: Cluster) -> None:
    before = await cluster.pods("lb")
    async with nothing_lost(cluster, clients=MANY):
        await cluster.restart("lb")
        await reached(cluster, "the rollout is over", cluster.settled, patience=2)
        await everything_in_rotation(cluster, WORKERS)
    after = await cluster.pods("lb")
    assert not {pod.uid for pod in before.values()} & {pod.uid for pod in after.values()}


async def test_an_upgrade_changes_the_pool(cluster: Cluster) -> None:
    before = await cluster.pods("lb")
    async with nothing_lost(cluster, clients=MANY):
        await cluster.upgrade(POOL | {"maxInFlight": CAP - 1})
        assert not before.keys() & (await cluster.pods("lb")).keys()
        try:
            await everything_in_rotation(cluster, WORKERS)
            await _views_say(cluster, "max_in_flight", CAP - 1)
        finally:
            await cluster.upgrade(POOL)
        await everything_in_rotation(cluster, WORKERS)


async def test_no_worker_until_the_queue_timeout_is_told_with_retry_after(
    cluster: Cluster,
) -> None:
    await cluster.upgrade(POOL | {"queue": {"size": 999, "timeout": "1500ms"}})
    try:
        await _views_say(cluster, "queue_size", 999)
        await everything_in_rotation(cluster, WORKERS)
        async with cluster.load() as load:
            await served(cluster, load)
            await cluster.scale("worker", 0)
            await rotation_is(cluster, [])
            await _refused(cluster, load, 5)
            await cluster.scale("worker", WORKERS)
            await everything_in_rotation(cluster, WORKERS)
            await served(cluster, load)
            requests = await load.stop()
        failed = [request for request in requests if request.error]
        assert {request.status for request in failed} == {503}, failed[:5]
        assert all(request.retry_after for request in failed)
        assert min(request.seconds for request in failed) >= 1.4  # they waited, and no longer
        assert max(request.seconds for request in failed) < 1.5 + cluster.patience / 15
    finally:
        await cluster.scale("worker", WORKERS)
        await cluster.upgrade(POOL)


async def _refused(cluster: Cluster, load: Load, count: int) -> None:
    async def check() -> bool:
        return sum(r.status == 503 for r in await load.requests()) >= count

    await reached(cluster, "requests are refused", check)


async def _views_say(cluster: Cluster, field: str, value: int) -> None:
    async def check() -> bool:
        views = await cluster.views()
        return bool(views) and all(view[field] == value for view in views)

    await reached(cluster, f"{field} is {value}", check)


@pytest.mark.real_only
async def test_an_upgrade_after_kubectl_scale(cluster: Cluster) -> None:
    """Helm 4 applies server-side: replicas are left out when set to null, so nothing conflicts."""
    async with nothing_lost(cluster):
        await cluster.scale("worker", WORKERS + 1)
        await everything_in_rotation(cluster, WORKERS + 1)
        await cluster.upgrade(POOL)
        await everything_in_rotation(cluster, WORKERS + 1)
        await cluster.scale("worker", WORKERS)
        await everything_in_rotation(cluster, WORKERS)
