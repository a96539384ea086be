"""Replicas that act as one and speak two versions: an upgrade to another release, and back."""

import asyncio

import pytest

from app.peers import wire
from app.peers.handshake import MAGIC
from tests.e2e.interface import until
from tests.e2e.replicas import REPLICAS, UNREFUSED, Replicas, through_the_service
from tests.e2e.sim import version_one

pytestmark = [
    pytest.mark.sim_only,
    pytest.mark.parametrize(
        "busy", [pytest.param(True, id="loaded"), pytest.param(False, id="idle")]
    ),
]


async def test_an_upgrade_between_two_versions(replicas: Replicas, busy: bool) -> None:
    """To a release that speaks the first version only, and back to this one."""
    sim = replicas.sim
    async with through_the_service(replicas, busy=busy):
        for program, versions in (
            (version_one.__name__, version_one.VERSIONS),
            ("app", wire.VERSIONS),
        ):
            await sim.operate("upgrade", pool=UNREFUSED, environment={}, program=program)
            await until("the rollout is over", sim.settled, limit=4 * sim.patience)
            spoken = [await _spoken(replicas, name) for name in await replicas.names()]
            assert spoken == [versions] * REPLICAS


async def _spoken(replicas: Replicas, name: str) -> tuple[int, int]:
    """Return which versions a replica says it speaks, the first that anybody hears of it."""
    host = (await replicas.sim.pods("lb"))[name].address
    port = int(replicas.sim.targets()[0].rpartition(":")[2])  # the same for all
    reader, writer = await asyncio.open_connection(host, port + 2)
    try:
        said = await reader.readexactly(len(MAGIC) + 2)
    finally:
        writer.close()
    assert said.startswith(MAGIC)
    return said[-2], said[-1]
