"""Replicas that act as one: all are replaced, become more or fewer, or speak two versions.

The clients are those of a Service: none is lost, since a replica that stops first lets others
decide, and then ends what it has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic, time

import pytest

from app.peers import wire
from app.peers.handshake import MAGIC
from tests.e2e.interface import until
from tests.e2e.replicas import CLIENTS, REPLICAS, UNREFUSED, Replicas, check
from tests.e2e.scenario import served
from tests.e2e.sim import version_one

IN_ALL = REPLICAS * CLIENTS

pytestmark = [
    pytest.mark.sim_only,
    pytest.mark.parametrize(
        "busy", [pytest.param(True, id="loaded"), pytest.param(False, id="idle")]
    ),
]


@asynccontextmanager
async def rolled(replicas: Replicas, *, busy: bool) -> AsyncIterator[None]:
    """Send requests to the Service from before what happens on, or (not `busy`) after it."""
    since, began, sim = monotonic(), time(), replicas.sim
    if busy:
        async with sim.load(IN_ALL) as load:
            await served(sim, load, IN_ALL)
            await replicas.queue_exists(*await replicas.names())
            yield
            await served(sim, load, IN_ALL)
            requests = await load.stop()
    else:
        yield
        async with sim.load(IN_ALL) as load:
            await served(sim, load, IN_ALL)
            requests = await load.stop()
    await check(replicas, requests, since)
    gaps = ", ".join(f"{1000 * gap:.0f}" for gap in replicas.gaps(began))
    print(f"graceful: {gaps} ms without an arbiter" if gaps else "the arbiter stayed")


async def rolled_out(replicas: Replicas) -> None:
    await until("the rollout is over", replicas.sim.settled, limit=4 * replicas.sim.patience)


async def test_all_are_restarted_one_by_one(replicas: Replicas, busy: bool) -> None:
    before = set(await replicas.names())
    async with rolled(replicas, busy=busy):
        await replicas.sim.restart("lb")
        await rolled_out(replicas)
    await replicas.whole()
    assert not before & set(await replicas.names())


async def test_from_three_to_one_and_back(replicas: Replicas, busy: bool) -> None:
    async with rolled(replicas, busy=busy):
        for count in (1, REPLICAS):
            await replicas.sim.operate("scale", name="lb", replicas=count)
            await rolled_out(replicas)
            assert len(await replicas.names()) == count
            await replicas.arbiter()
    await replicas.whole()


async def test_an_upgrade_between_two_versions(replicas: Replicas, busy: bool) -> None:
    """To a release that speaks the first version only, and back to this one."""
    sim = replicas.sim
    async with rolled(replicas, busy=busy):
        for program, versions in (
            (version_one.__name__, version_one.VERSIONS),
            ("app", wire.VERSIONS),
        ):
            await sim.operate("upgrade", pool=UNREFUSED, environment={}, program=program)
            await rolled_out(replicas)
            spoken = [await _spoken(replicas, name) for name in await replicas.names()]
            assert spoken == [versions] * REPLICAS
    await replicas.whole()


async def _spoken(replicas: Replicas, name: str) -> tuple[int, int]:
    """Return which versions a replica says it speaks, the first that anybody hears of it."""
    host, _, port = (await replicas.target(name)).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port) + 2)
    try:
        said = await reader.readexactly(len(MAGIC) + 2)
    finally:
        writer.close()
    assert said.startswith(MAGIC)
    return said[-2], said[-1]
