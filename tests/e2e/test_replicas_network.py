"""Replicas that act as one: the arbiter is cut off from others, which all reach the API server.

Between two that are cut off nothing comes through, and nothing is closed (`tests.e2e.sim.links`).
"""

import pytest

from tests.e2e.interface import until
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
        async with replicas.sim.partitioned(arbiter, [lonely]):

            async def seeks() -> bool:
                view = await replicas.sim.view(lonely)
                return bool(view["replicas"]["role"] == "seeking")

            await until(f"{lonely} has no arbiter", seeks)
            await clients.begin()
            await replicas.queue_exists(lonely)
            await clients.served(arbiter, other)
        assert await replicas.arbiter() == arbiter


async def test_the_arbiter_is_cut_off_from_all(replicas: Replicas, busy: bool) -> None:
    """It leaves word of what it holds, and another decides."""
    arbiter, term = await replicas.arbiter(), await replicas.term()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy) as clients, replicas.sim.partitioned(arbiter):
        await replicas.decides(others, term)
        await clients.begin()
        await clients.served(*others)
        await replicas.queue_exists(arbiter)
