"""Replicas that act as one: one of them is killed, or the API server is away, or both.

Each fault comes under load with a queue, and again while nothing is in flight. The workers do not
refuse; their own counts are the proof. Where slots are not accounted for, requests wait.
"""

from signal import SIGKILL

import pytest

from tests.e2e.replicas import Replicas, faulted, started_again

AWAY = 3.5
"""Seconds without the API: longer than a Lease that nobody renews is obeyed."""

pytestmark = [
    pytest.mark.sim_only,
    pytest.mark.parametrize(
        "busy", [pytest.param(True, id="loaded"), pytest.param(False, id="idle")]
    ),
]


async def test_another_is_killed(replicas: Replicas, busy: bool) -> None:
    arbiter = await replicas.arbiter()
    other, third = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy, killed=other) as clients:
        await replicas.sim.signal(other, SIGKILL)
        await clients.begin()
        await clients.served(arbiter, third)
    assert await replicas.arbiter() == arbiter


async def test_the_api_server_is_away(replicas: Replicas, busy: bool) -> None:
    arbiter = await replicas.arbiter()
    away = replicas.sim.faults(unreachable=True)
    async with faulted(replicas, busy=busy) as clients, away:
        await replicas.sim.cut_off(AWAY)
        await clients.begin()
        await clients.served()
    assert await replicas.arbiter() == arbiter


async def test_another_is_killed_while_the_api_server_is_away(
    replicas: Replicas, busy: bool
) -> None:
    arbiter = await replicas.arbiter()
    other, third = await replicas.others(arbiter)
    restarts = (await replicas.sim.pods("lb"))[other].restarts
    away = replicas.sim.faults(unreachable=True)
    async with faulted(replicas, busy=busy, killed=other) as clients, away:
        await replicas.sim.signal(other, SIGKILL)
        await clients.begin()
        await started_again(replicas.sim, other, restarts)
        await clients.served(arbiter, third)
    assert await replicas.arbiter() == arbiter
