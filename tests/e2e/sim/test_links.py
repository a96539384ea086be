"""The network between replicas: what a cut holds, and that nothing is lost or closed by it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.e2e.interface import until
from tests.e2e.sim.links import Links, behind
from tests.e2e.sim.templates import unused_port

ONE, OTHER, THIRD = (f"127.77.{os.getpid() % 256}.{number}" for number in (1, 2, 3))

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Pod:
    """What listens behind a forwarder, and keeps what was connected to it."""

    links: Links
    port: int
    ends: asyncio.Queue[Ends] = field(default_factory=asyncio.Queue)

    async def dialled_by(self, address: str) -> Ends:
        """Connect from that address."""
        return await asyncio.open_connection(OTHER, self.port, local_addr=(address, 0))

    async def until_held(self, pieces: int) -> None:
        async def held() -> bool:
            return self.links.held == pieces

        await until(f"{pieces} pieces are held", held, pause=0)


@asynccontextmanager
async def listening(pod: Pod) -> AsyncIterator[None]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pod.ends.put((reader, writer))

    server = await asyncio.start_server(accept, behind(OTHER), pod.port)
    try:
        yield
    finally:
        server.close()
        while not pod.ends.empty():
            pod.ends.get_nowait()[1].close()


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    pod = Pod(Links(), unused_port())
    async with asyncio.timeout(20), pod.links.fronting(OTHER, pod.port), listening(pod):
        yield pod


async def test_what_is_sent_arrives_from_the_dialers_address(pod: Pod) -> None:
    reader, writer = await pod.dialled_by(ONE)
    far_reader, far_writer = await pod.ends.get()
    assert far_writer.get_extra_info("peername")[0] == ONE
    big = os.urandom(3_000_000)
    writer.write(big)
    writer.write_eof()
    assert await far_reader.read() == big  # read reads to the end, which came through, too
    far_writer.write(b"answer")
    far_writer.close()
    assert await reader.read() == b"answer"
    writer.close()


async def test_a_cut_holds_both_directions_until_it_is_healed(pod: Pod) -> None:
    reader, writer = await pod.dialled_by(ONE)
    far_reader, far_writer = await pod.ends.get()
    pod.links.cut(ONE, [OTHER])
    writer.write(b"forth")
    far_writer.write(b"back")
    await pod.until_held(2)
    for silent in (reader, far_reader):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await silent.read(1)
    pod.links.heal()
    assert await far_reader.readexactly(5) == b"forth"
    assert await reader.readexactly(4) == b"back"
    assert pod.links.held == 0
    writer.close()
    far_writer.close()


async def test_a_cut_holds_the_end_of_a_connection(pod: Pod) -> None:
    reader, writer = await pod.dialled_by(ONE)
    _, far_writer = await pod.ends.get()
    pod.links.cut(OTHER, [ONE])
    far_writer.close()
    await pod.until_held(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
    pod.links.heal()
    assert await reader.read() == b""
    writer.close()


async def test_a_cut_holds_new_connections(pod: Pod) -> None:
    pod.links.cut(ONE, [OTHER])
    _, writer = await pod.dialled_by(ONE)
    writer.write(b"hello")
    await pod.until_held(1)
    assert pod.ends.empty()
    pod.links.heal()
    far_reader, far_writer = await pod.ends.get()
    assert await far_reader.readexactly(5) == b"hello"
    writer.close()
    far_writer.close()


async def test_others_are_not_cut_off(pod: Pod) -> None:
    pod.links.cut(ONE, [OTHER])
    _, writer = await pod.dialled_by(THIRD)
    far_reader, far_writer = await pod.ends.get()
    writer.write(b"hello")
    assert await far_reader.readexactly(5) == b"hello"
    writer.close()
    far_writer.close()


async def test_a_reset_comes_through(pod: Pod) -> None:
    reader, writer = await pod.dialled_by(ONE)
    _, far_writer = await pod.ends.get()
    writer.write(b"unread")
    await writer.drain()
    far_writer.transport.abort()
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_nobody_behind_is_a_reset() -> None:
    links, port = Links(), unused_port()
    async with asyncio.timeout(20), links.fronting(OTHER, port):
        reader, writer = await asyncio.open_connection(OTHER, port, local_addr=(ONE, 0))
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
