"""What the workers' Service may be: dual-stack, or one that publishes unready addresses."""

from tests.e2e.interface import CAP, WORKERS, Cluster
from tests.e2e.scenario import everything_in_rotation, nothing_lost, out_of_rotation, replaced


async def test_a_dual_stack_pod_is_one_endpoint(cluster: Cluster) -> None:
    uid = (await cluster.pods("worker"))["worker-1"].uid
    async with nothing_lost(cluster, clients=(WORKERS + 1) * CAP):
        await cluster.change_service(dual_stack=True, publish_not_ready=False)
        try:
            await cluster.delete_worker("worker-1")
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
            await cluster.delete_worker("worker-1")
            await out_of_rotation(cluster, "worker-1")
            await replaced(cluster, "worker-1", uid)
            await everything_in_rotation(cluster, WORKERS)
        finally:
            await cluster.fail_readiness("worker-2", fails=False)
            await cluster.change_service(dual_stack=False, publish_not_ready=False)
        await everything_in_rotation(cluster, WORKERS)
