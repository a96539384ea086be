"""Replicas that act as one: one of them is killed, or falls silent, or the API server is away.

Each fault comes under load with a queue, and again while nothing is in flight. The workers do not
refuse; their own counts are the proof. Where slots are not accounted for, requests wait.
"""

from signal import SIGCONT, SIGKILL, SIGSTOP
from time import time

import pytest

from tests.e2e.interface import until
from tests.e2e.replicas import Replicas, faulted

AWAY = 3.5
"""Seconds without the API: longer than a Lease that nobody renews is obeyed."""

pytestmark = [
    pytest.mark.sim_only,
    pytest.mark.parametrize(
        "busy", [pytest.param(True, id="loaded"), pytest.param(False, id="idle")]
    ),
]


async def test_the_arbiter_is_killed(replicas: Replicas, busy: bool) -> None:
    arbiter = await replicas.arbiter()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy, killed=arbiter) as clients:
        fault = time()
        await replicas.sim.signal(arbiter, SIGKILL)
        await clients.begin()
        word = await replicas.decides(others, fault)
        print(f"killed: {1000 * (word.at - fault):.0f} ms without an arbiter")
        await clients.served(*others)


async def test_the_arbiter_falls_silent(replicas: Replicas, busy: bool) -> None:
    """It may still believe in itself when it wakes."""
    arbiter = await replicas.arbiter()
    others = await replicas.others(arbiter)
    async with faulted(replicas, busy=busy) as clients:
        fault = time()
        await replicas.sim.signal(arbiter, SIGSTOP)
        try:
            word = await replicas.decides(others, fault)
            print(f"silent: {1000 * (word.at - fault):.0f} ms without an arbiter")
            await clients.begin()
            # All slots might be the silent one's: what the others had is over meanwhile.
            await replicas.queue_exists(*others)
        finally:
            await replicas.sim.signal(arbiter, SIGCONT)


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
    before = (await replicas.sim.pods("lb"))[other].restarts

    async def restarted() -> bool:
        return (await replicas.sim.pods("lb"))[other].restarts > before

    away = replicas.sim.faults(unreachable=True)
    async with faulted(replicas, busy=busy, killed=other) as clients, away:
        await replicas.sim.signal(other, SIGKILL)
        await clients.begin()
        await until(f"{other} is started again", restarted)
        await clients.served(arbiter, third)
    assert await replicas.arbiter() == arbiter
