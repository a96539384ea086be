"""Replicas that act as one: the arbiter is cut off from others, which all reach the API server.

Between two that are cut off nothing comes through, and nothing is closed (`tests.e2e.sim.links`).
"""

from time import time

import pytest

from tests.e2e.replicas import Replicas, faulted

pytestmark = [
    pytest.mark.sim_only,
    pytest.mark.parametrize(
        "busy", [pytest.param(True, id="loaded"), pytest.param(False, id="idle")]
    ),
]


async def test_the_arbiter_is_cut_off_from_one(replicas: Replicas, busy: bool) -> None:
    """That one's requests wait: two of three still have their arbiter."""
    arbiter = await replicas.arbiter()
    lonely, other = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy) as clients:
        fault = time()
        async with replicas.sim.partitioned(arbiter, [lonely]):
            await replicas.is_now(lonely, "seeking", fault)
            await clients.begin()
            await replicas.queue_exists(lonely)
            await clients.served(arbiter, other)
        assert await replicas.arbiter() == arbiter


async def test_the_arbiter_is_cut_off_from_all(replicas: Replicas, busy: bool) -> None:
    """It leaves word of what it holds, and another decides."""
    arbiter = await replicas.arbiter()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy) as clients:
        fault = time()
        async with replicas.sim.partitioned(arbiter):
            word = await replicas.decides(others, fault)
            print(f"cut off: {1000 * (word.at - fault):.0f} ms until another decides")
            await clients.begin()
            await clients.served(*others)
            await replicas.queue_exists(arbiter)
