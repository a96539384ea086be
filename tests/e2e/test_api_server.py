"""The API server fails in each of its ways while workers come and go, and requests run.

With one balancer, which has no peers: what it does about the API server, it does by itself. Several
whose Lease is out of reach, too, are in `test_replicas_faults`.
"""

from signal import SIGKILL
from typing import Any

import pytest

from tests.e2e.interface import WORKERS, until
from tests.e2e.scenario import (
    everything_in_rotation,
    nothing_lost,
    replaced,
    restarted,
    rotation_is,
    served,
)
from tests.e2e.simulated import WATCH_TIMEOUT, SimulatedCluster

OUTAGE = 4 * WATCH_TIMEOUT
"""In seconds: 5 minutes, in the measure in which the watch's 75 s are shortened."""

pytestmark = pytest.mark.sim_only


@pytest.fixture(scope="module")
def installed(one_balancer: SimulatedCluster) -> SimulatedCluster:
    return one_balancer


async def test_pods_die_while_the_api_server_is_unreachable(sim: SimulatedCluster) -> None:
    before = await sim.pods("worker")
    others = [f"worker-{n}" for n in (2, 3, 4)]
    async with nothing_lost(sim) as load:
        async with sim.faults(unreachable=True):
            await sim.signal("worker-0", SIGKILL)
            await sim.delete_pod("worker-1", force=True)
            await replaced(sim, "worker-1", before["worker-1"].uid)  # unseen by the balancer
            await restarted(sim, "worker-0", before["worker-0"].restarts + 1)
            await rotation_is(sim, ["worker-0", *others])  # the dead one is known by its silence
            await served(sim, load)
            await sim.cut_off(OUTAGE)
            await rotation_is(sim, ["worker-0", *others])
        await everything_in_rotation(sim, WORKERS)


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        pytest.param({"gone": "event"}, "lists", id="410-in-the-stream"),
        pytest.param({"gone": "http"}, "lists", id="410-by-status"),
        pytest.param({"silent": True}, "lists", id="silent-watch"),
        pytest.param({"watch_seconds": 1.0}, "watches", id="watch-ends-every-second"),
        pytest.param({"list_delay": 1.0, "gone": "event"}, "lists", id="slow-list"),
    ],
)
async def test_a_worker_is_replaced_while_the_api_fails(
    sim: SimulatedCluster, fault: dict[str, Any], asked: str
) -> None:
    """`asked` is what the balancer does over and over to know what happens all the same."""
    uid = (await sim.pods("worker"))["worker-1"].uid
    async with nothing_lost(sim):
        async with sim.faults(**fault):
            before = await sim.operate("seen")
            await sim.delete_pod("worker-1")
            await replaced(sim, "worker-1", uid)
            await _known(sim, "worker-1")
            assert (await sim.operate("seen"))[asked] > before[asked]
        await everything_in_rotation(sim, WORKERS)
        await _known(sim, "worker-1")


@pytest.mark.parametrize("status", [401, 500])
async def test_a_worker_is_replaced_while_the_api_refuses(
    sim: SimulatedCluster, status: int
) -> None:
    uid = (await sim.pods("worker"))["worker-1"].uid
    async with nothing_lost(sim):
        async with sim.faults(error_status=status):
            await sim.delete_pod("worker-1")
            await replaced(sim, "worker-1", uid)
            await rotation_is(sim, [f"worker-{n}" for n in (0, 2, 3, 4)])
        await _known(sim, "worker-1")


async def _known(sim: SimulatedCluster, name: str) -> None:
    """Wait until every balancer sends to the present pod of that name."""
    address = (await sim.pods("worker"))[name].address

    async def check() -> bool:
        return all(
            any(
                worker["address"].startswith(f"{address}:") and worker["in_rotation"]
                for worker in view["workers"]
            )
            for view in await sim.views()
        )

    await until(f"{name} is known at {address}", check, limit=sim.patience)


async def test_a_missed_deleted_event_is_made_up_for(sim: SimulatedCluster) -> None:
    """Each pod has a slice to itself, so that a pod's end is a slice's DELETED."""
    await sim.operate("service", slice_size=1)
    try:
        async with nothing_lost(sim):
            assert (await sim.state())["slices"] == WORKERS
            await everything_in_rotation(sim, WORKERS)
            async with sim.faults(drop_deleted=True):
                await sim.scale("worker", WORKERS - 1)
                await until("worker-4 is gone", sim.settled)
                # Its slice is still known, and says terminating or no longer serving.
                await rotation_is(sim, [f"worker-{n}" for n in range(WORKERS - 1)])
            # A gap in which the past is lost: nothing but a list tells of what vanished.
            async with sim.faults(unreachable=True):
                await sim.operate("compact")
            await _forgotten(sim, "worker-4")
            await sim.scale("worker", WORKERS)
            await everything_in_rotation(sim, WORKERS)
    finally:
        await sim.operate("service", slice_size=100)


async def _forgotten(sim: SimulatedCluster, name: str) -> None:
    async def check() -> bool:
        views = await sim.views()
        return all(name not in {w["name"] for w in view["workers"]} for view in views)

    await until(f"{name} is forgotten", check)


async def test_a_thousand_endpoints_with_churn(sim: SimulatedCluster) -> None:
    async with nothing_lost(sim) as load:
        await sim.operate("crowd", join=1000)
        try:
            assert (await sim.state())["slices"] >= 10
            await rotation_is(sim, await sim.operate("expected"))
            await served(sim, load)  # so that some requests have gone to the crowd
            for _ in range(10):
                await sim.operate("crowd", terminate=50)
                await sim.operate("crowd", leave=50, join=50)
            await rotation_is(sim, await sim.operate("expected"))
        finally:
            await sim.operate("crowd", leave=2000)
        await everything_in_rotation(sim, WORKERS)
    crowd = (await sim.state())["crowd"]
    assert crowd["served"] > 0
    assert crowd["peak"] <= 4
