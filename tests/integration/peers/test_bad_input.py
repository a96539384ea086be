"""What comes to the peer port that no replica sends: it ends its connection, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from struct import pack

import pytest

from app.peers import link as link_module
from app.peers import messages
from app.peers.handshake import MAGIC, Caller
from app.peers.link import PeerLink
from app.peers.meeting import MOST_UNPROVED
from app.peers.messages import Grant, Message, NamePool
from app.peers.wire import MAX_LENGTH, encode
from tests.integration.peers.rig import SECRET, Api, Replica, running, stranger, two_of_them
from tests.integration.waiting import LIMIT, eventually

FIRST = len(MAGIC) + 2 + 16
"""Bytes that are said to one that has called."""


class Call:
    """A connection to a replica's peer port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def meet(self, secret: bytes = SECRET) -> Caller:
        """Go through the handshake, as one who knows this secret."""
        handshake = Caller(secret, stranger(), b"\7" * 16)
        async with asyncio.timeout(LIMIT):
            self.writer.write(handshake.feed(await self.reader.readexactly(FIRST)))
            while not handshake.done:
                data = await self.reader.read(4096)
                assert data, "it was ended"
                handshake.feed(data)
        return handshake

    async def ended(self) -> None:
        """Wait until the other side ends it."""
        async with asyncio.timeout(LIMIT):
            try:
                while await self.reader.read(64 * 1024):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def calling(replica: Replica) -> AsyncIterator[Call]:
    reader, writer = await asyncio.open_connection(replica.host, replica.port)
    try:
        yield Call(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def unharmed(api: Api) -> AsyncIterator[Replica]:
    """Run two, and see in the end that they went on over the same connection; yield who decides."""
    async with two_of_them(api) as (one, two):
        links, alone = one.links, two.runner.replica.without_arbiter
        yield one
        await eventually(lambda: one.links == links, "what was ended is forgotten")
        await one.serves()
        await two.serves()
        assert (one.role, two.role) == ("deciding", "following")
        assert two.runner.replica.without_arbiter == alone


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: replica\r\n\r\n" * 10,
        b"\0" * 5000,
        b"\xff" * 66,
        b"\1\2" + b"n" * 16 + b"p" * 32 + b"\xff\xff" + b"{" * 5000,
    ],
    ids=["http", "zeros", "ones", "endless"],
)
async def test_garbage(api: Api, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unharmed(api) as one:
        monkeypatch.setattr(link_module, "HANDSHAKE", 0.2)  # it may look like half of one
        async with calling(one) as call:
            call.writer.write(said)
            await call.ended()


async def test_garbage_piece_by_piece(api: Api) -> None:
    async with unharmed(api) as one, calling(one) as call:
        ended = asyncio.create_task(call.ended())
        while not call.writer.is_closing():
            call.writer.write(b"x")
            await asyncio.sleep(0)
        await ended


async def test_another_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    async with unharmed(api) as one, calling(one) as call:
        with pytest.raises((AssertionError, ConnectionError)):
            await call.meet(b"what other replicas know")
    assert caplog.text.count("does not know the secret") == 1


async def test_a_replica_with_another_secret_says_why_it_does_not_join(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(api, "one") as one:
        await one.is_now("deciding")
        two = Replica(api, "two", "127.0.0.1")
        two.secret = b"what other replicas know"
        await two.start()
        try:
            await eventually(lambda: len(two.store.calls) > 8, "it tries again and again")
            (reason,) = two.runner.unready()
            assert reason.startswith("the other replicas have not been joined yet: the link with")
        finally:
            await two.end()
    assert caplog.text.count("does not know the secret") == 1  # not each time


async def test_what_was_overheard_serves_no_second_time(api: Api) -> None:
    async with unharmed(api) as one:
        async with calling(one) as call:
            first = await call.reader.readexactly(FIRST)
            said = Caller(SECRET, stranger(), b"\7" * 16).feed(first)
            call.writer.write(said)
            assert await call.reader.read(1)  # it is let in
        async with calling(one) as call:
            call.writer.write(said)
            await call.ended()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(pack("<IB", MAX_LENGTH + 1, 9), id="oversized"),
        pytest.param(pack("<IB", 0, 200), id="unknown kind"),
        pytest.param(pack("<IB", 3, 9) + b"abc", id="cut off"),
        pytest.param(encode(Grant(1, 1), 2), id="a grant to the arbiter"),
        pytest.param(encode(messages.Acquire(1, 7, False, 0, 1, 1, ()), 2), id="before a promise"),
        pytest.param(
            b"".join(
                encode(m, 2)
                for m in (
                    messages.Promise(1, leaving=False),
                    messages.Reported(),
                    messages.Acquire(1, 7, False, 0, 1, 1, ()),
                )
            ),
            id="a pool without a name",
        ),
        pytest.param(encode(messages.Promise(77, leaving=False), 2), id="another term"),
        pytest.param(encode(NamePool(1, "x"), 2)[:-1] + b"\xff", id="no text"),
    ],
)
async def test_nonsense_after_the_handshake(api: Api, said: bytes) -> None:
    async with unharmed(api) as one, calling(one) as call:
        await call.meet()
        call.writer.write(said)
        await call.ended()


async def test_silence_in_the_handshake(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unharmed(api) as one:
        monkeypatch.setattr(link_module, "HANDSHAKE", 0.2)
        async with calling(one) as silent, calling(one) as halting:
            halting.writer.write(b"\1\2")
            await silent.ended()
            await halting.ended()


async def test_a_flood_of_those_who_prove_nothing(api: Api) -> None:
    """They take few of the files that requests need, and keep no replica out."""
    async with unharmed(api) as one, AsyncExitStack() as flood:
        most = 0
        for _ in range(2 * MOST_UNPROVED):
            await flood.enter_async_context(calling(one))
            most = max(most, one.links)
        await eventually(lambda: one.links >= MOST_UNPROVED)
        assert most <= MOST_UNPROVED + 1  # and the one that follows
        async with running(api, "three") as three:
            await three.is_now("following")
            await three.serves()
        await flood.aclose()


async def test_one_that_does_not_read(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "MOST_WAITING", 64 * 1024)
    async with unharmed(api) as one, calling(one) as call:
        await call.meet()
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        arbiter = one.runner.replica.arbiter
        assert arbiter is not None
        peer = arbiter.books.peers[stranger().id]
        most: Message = messages.View("x" * 1024 * 1024)
        for _ in range(100):
            if peer.link is None:
                break
            peer.link.send(most)
            await asyncio.sleep(0)
        assert peer.link is None
    assert "it does not read" in caplog.text


async def test_what_one_that_is_stopped_never_reads_is_not_kept(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel takes nothing more, and neither side ends the connection."""
    monkeypatch.setattr(link_module, "LAST_WORDS", 0.1)
    async with unharmed(api) as one, calling(one) as call:
        await call.meet()
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        arbiter = one.runner.replica.arbiter
        assert arbiter is not None
        link = arbiter.books.peers[stranger().id].link
        assert isinstance(link, PeerLink)
        link.send(messages.View("x" * 4_000_000))
        await asyncio.sleep(0)
        assert link._transport is not None
        assert link._transport.get_write_buffer_size()
        links = one.links
        arbiter.lost(link, silent=True)
        del link
        await eventually(lambda: one.links == links - 1, "its socket is closed")
