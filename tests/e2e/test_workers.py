"""Workers come and go, in every way that Kubernetes has, while requests run."""

from signal import SIGKILL

from tests.e2e.interface import WORKERS, Cluster
from tests.e2e.scenario import (
    everything_in_rotation,
    gets_nothing_new,
    nothing_lost,
    out_of_rotation,
    replaced,
    restarted,
    rotation_is,
    served,
)


async def test_a_worker_is_deleted(cluster: Cluster) -> None:
    before = (await cluster.pods("worker"))["worker-1"]
    async with nothing_lost(cluster):
        await cluster.delete_pod("worker-1")
        await out_of_rotation(cluster, "worker-1")
        await gets_nothing_new(cluster, before.address)
        await replaced(cluster, "worker-1", before.uid)
        await everything_in_rotation(cluster, WORKERS)


async def test_a_worker_is_deleted_with_force(cluster: Cluster) -> None:
    uid = (await cluster.pods("worker"))["worker-2"].uid
    async with nothing_lost(cluster):
        await cluster.delete_pod("worker-2", force=True)
        await replaced(cluster, "worker-2", uid)
        await everything_in_rotation(cluster, WORKERS)


async def test_a_container_is_killed_again_and_again(cluster: Cluster) -> None:
    before = (await cluster.pods("worker"))["worker-3"]
    async with nothing_lost(cluster):
        for times in (1, 2):
            await cluster.signal("worker-3", SIGKILL)
            if cluster.simulated:  # elsewhere it may be back before it can be asked for
                await out_of_rotation(cluster, "worker-3")
            await restarted(cluster, "worker-3", before.restarts + times)
            await everything_in_rotation(cluster, WORKERS)
    after = (await cluster.pods("worker"))["worker-3"]
    assert (after.uid, after.address) == (before.uid, before.address)
    assert after.restarts == before.restarts + 2


async def test_a_worker_is_unready_for_a_while(cluster: Cluster) -> None:
    before = (await cluster.pods("worker"))["worker-0"]
    async with nothing_lost(cluster) as load:
        await cluster.fail_readiness("worker-0", fails=True)
        try:
            await rotation_is(cluster, [f"worker-{n}" for n in range(1, WORKERS)])
            if cluster.simulated:  # where readiness fails by a hang, the answers wait for its end
                await served(cluster, load)
        finally:
            await cluster.fail_readiness("worker-0", fails=False)
        await everything_in_rotation(cluster, WORKERS)
    after = (await cluster.pods("worker"))["worker-0"]
    assert (after.uid, after.restarts) == (before.uid, before.restarts)


async def test_the_workers_are_restarted_one_by_one(cluster: Cluster) -> None:
    before = await cluster.pods("worker")
    async with nothing_lost(cluster):
        await cluster.restart("worker")
        await everything_in_rotation(cluster, WORKERS)
    after = await cluster.pods("worker")
    assert all(after[name].uid != pod.uid for name, pod in before.items())


async def test_the_workers_are_scaled(cluster: Cluster) -> None:
    async with nothing_lost(cluster) as load:
        for replicas in (2, 8, WORKERS):
            await cluster.scale("worker", replicas)
            await everything_in_rotation(cluster, replicas)
            await served(cluster, load)


async def test_requests_wait_while_all_workers_are_away(cluster: Cluster) -> None:
    async with nothing_lost(cluster):
        await cluster.scale("worker", 0)
        await rotation_is(cluster, [])
        await cluster.scale("worker", WORKERS)
        await everything_in_rotation(cluster, WORKERS)
