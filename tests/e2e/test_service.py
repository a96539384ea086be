"""What the workers' Service may be: dual-stack, publishing unready addresses, changing slices."""

from collections import Counter

import pytest

from tests.e2e.interface import CAP, WORKERS, Cluster
from tests.e2e.scenario import (
    everything_in_rotation,
    nothing_lost,
    out_of_rotation,
    replaced,
    served,
)
from tests.e2e.simulated import SimulatedCluster


async def test_a_dual_stack_pod_is_one_endpoint(cluster: Cluster) -> None:
    uid = (await cluster.pods("worker"))["worker-1"].uid
    async with nothing_lost(cluster, clients=(WORKERS + 1) * CAP):
        await cluster.change_service(dual_stack=True, publish_not_ready=False)
        try:
            await cluster.delete_pod("worker-1")
            await out_of_rotation(cluster, "worker-1")
            await replaced(cluster, "worker-1", uid)
            await everything_in_rotation(cluster, WORKERS)
            for view in await cluster.views():
                assert len(view["workers"]) == WORKERS
                assert view["in_flight"] <= WORKERS * CAP
        finally:
            await cluster.change_service(dual_stack=False, publish_not_ready=False)
        await everything_in_rotation(cluster, WORKERS)


async def test_unready_addresses_are_published_and_not_used(cluster: Cluster) -> None:
    uid = (await cluster.pods("worker"))["worker-1"].uid
    async with nothing_lost(cluster):
        await cluster.change_service(dual_stack=False, publish_not_ready=True)
        try:
            await cluster.fail_readiness("worker-2", fails=True)
            await out_of_rotation(cluster, "worker-2")
            await cluster.fail_readiness("worker-2", fails=False)
            await everything_in_rotation(cluster, WORKERS)
            await cluster.delete_pod("worker-1")
            await out_of_rotation(cluster, "worker-1")
            await replaced(cluster, "worker-1", uid)
            await everything_in_rotation(cluster, WORKERS)
        finally:
            await cluster.fail_readiness("worker-2", fails=False)
            await cluster.change_service(dual_stack=False, publish_not_ready=False)
        await everything_in_rotation(cluster, WORKERS)


@pytest.mark.sim_only
async def test_pods_in_two_slices_while_they_move(sim: SimulatedCluster) -> None:
    """The controller writes the new slices, then takes the old ones away; both are there then."""
    uid = (await sim.pods("worker"))["worker-1"].uid
    async with nothing_lost(sim, clients=(WORKERS + 1) * CAP) as load:
        assert (await sim.state())["entries"] == WORKERS
        before = await _requests(sim)
        await sim.operate("move")
        assert (await sim.state())["entries"] == 2 * WORKERS
        await served(sim, load)
        for view in await sim.views():
            assert len(view["workers"]) == WORKERS
            assert view["in_flight"] <= WORKERS * CAP
        await sim.fail_readiness("worker-0", fails=True)  # is told by the one slice, then the other
        await out_of_rotation(sim, "worker-0")
        await sim.fail_readiness("worker-0", fails=False)
        await sim.delete_pod("worker-1")
        await out_of_rotation(sim, "worker-1")
        await replaced(sim, "worker-1", uid)
        await everything_in_rotation(sim, WORKERS)
        await sim.operate("move", end=True)
        assert (await sim.state())["entries"] == WORKERS
        await served(sim, load)
        await everything_in_rotation(sim, WORKERS)
        after = await _requests(sim)
        # The same endpoints all the time: one that had left and joined would count from 0 again.
        assert all(after[name] >= count for name, count in before.items() if name != "worker-1")


async def _requests(sim: SimulatedCluster) -> Counter[str]:
    """Return how many requests each worker has had, of all balancers together."""
    counts: Counter[str] = Counter()
    for view in await sim.views():
        counts.update({worker["name"]: worker["requests"] for worker in view["workers"]})
    return counts
