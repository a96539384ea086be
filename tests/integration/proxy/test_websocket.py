"""WebSockets end to end, with a library of its own at both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from tests.integration.proxy.harness import Scene, Stage, hold_back
from tests.integration.proxy.wire import request, response
from tests.integration.proxy.workers import ScriptedWorker
from tests.integration.waiting import eventually

HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
ACCEPT = response(None, "Connection: upgrade", "Upgrade: WebSocket", status="101 Switching")


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "close":
            await connection.close(4000, "as you like")
        else:
            await connection.send(message)


@asynccontextmanager
async def sockets(stage: Stage) -> AsyncIterator[tuple[Scene, ClientConnection]]:
    """Join a client and an echo server by the balancer."""
    worker = ScriptedWorker()
    await worker.refuse()  # the server takes its port
    async with (
        serve(echo, "127.0.0.1", worker.port, max_size=None),
        stage([worker]) as scene,
        connect(f"ws://127.0.0.1:{scene.address[1]}/chat?a=b", max_size=None, proxy=None) as client,
    ):
        yield scene, client


async def test_messages_pass_both_ways(stage: Stage) -> None:
    async with sockets(stage) as (_, client):
        for message in ("hello", b"\0\xff", "", "x" * 100_000):
            await client.send(message)
            assert await client.recv() == message
        assert await (await client.ping()) >= 0


async def test_large_messages_pass_both_ways_at_once(stage: Stage) -> None:
    async with sockets(stage) as (_, client):
        messages = [bytes([n]) * (4 << 20) for n in range(3)]

        async def send() -> None:
            for message in messages:
                await client.send(message)

        sending = asyncio.create_task(send())
        assert [await client.recv() for _ in messages] == messages
        await sending


async def test_the_slot_is_held_until_the_client_closes(stage: Stage) -> None:
    async with sockets(stage) as (scene, client):
        assert (scene.pool.in_flight, scene.endpoint().in_flight) == (1, 1)
        await client.close(4001, "enough")
        assert client.close_code == 4001
        await scene.in_flight(0)
        assert scene.healthy()


async def test_the_slot_is_held_until_the_worker_closes(stage: Stage) -> None:
    async with sockets(stage) as (scene, client):
        await client.send("close")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4000, "as you like")
        await scene.in_flight(0)
        assert scene.healthy()


async def test_bytes_that_come_with_the_handshake_are_not_lost(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE) + b"early from the client")
        worker, got = await scene.worker.request()
        assert (got.get(b"connection"), got.get(b"upgrade")) == (b"Upgrade", b"websocket")
        await worker.send(ACCEPT + b"early from the worker")
        answer = await client.response()
        assert answer.status == 101
        assert (answer.get(b"connection"), answer.get(b"upgrade")) == (b"Upgrade", b"websocket")
        assert await client.exactly(21) == b"early from the worker"
        assert await worker.exactly(21) == b"early from the client"


async def test_many_bytes_may_come_with_the_handshake(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        early = b"x" * (1 << 20)
        sending = scene.background(client.send(request("/", *HANDSHAKE) + early))
        worker, _ = await scene.worker.request()
        await eventually(lambda: next(iter(scene.proxy.downstreams))._paused, "read-ahead is full")
        await worker.send(ACCEPT)
        assert await worker.exactly(len(early)) == early
        await sending
        assert (await client.response()).status == 101


async def test_a_worker_that_dies_ends_the_client(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        worker.reset()
        await client.gone()
        await scene.in_flight(0)


async def test_a_client_that_is_reset_ends_the_worker_though_nothing_is_read(stage: Stage) -> None:
    async with stage([ScriptedWorker(receive_buffer=4096)]) as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        downstream = await scene.downstream()
        await hold_back(client, downstream)
        client.reset()
        await scene.in_flight(0)
        await worker.gone()
        assert scene.healthy()


async def test_a_worker_that_closes_its_side_and_reads_nothing_frees_its_slot(stage: Stage) -> None:
    async with stage([ScriptedWorker(receive_buffer=4096)]) as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        downstream = await scene.downstream()
        await hold_back(client, downstream)
        worker.finish()
        await client.gone()
        await scene.in_flight(0)


async def test_a_silent_websocket_outlives_every_timeout(stage: Stage) -> None:
    names = ["client_idle_timeout", "client_header_timeout", "client_body_timeout"]
    timeouts = {"request": "500ms", "betweenBytes": "500ms", "firstByte": "500ms"}
    async with stage(settings=dict.fromkeys(names, 0.4), timeouts=timeouts) as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        for _ in range(2):
            clock = await scene.client()
            await clock.nothing_more()
        await client.send(b"still")
        assert await worker.exactly(5) == b"still"
        await worker.send(b"here")
        assert await client.exactly(4) == b"here"


async def test_a_handshake_whose_worker_dies_is_sent_to_another(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        chosen = await scene.chosen()
        worker, _ = await chosen.request()
        worker.reset()
        (other,) = (worker for worker in scene.workers if worker is not chosen)
        worker, got = await other.request()
        assert got.get(b"upgrade") == b"websocket"
        await worker.send(ACCEPT)
        assert (await client.response()).status == 101


async def test_a_drain_gives_a_websocket_its_time(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        idle = await scene.client()
        await scene.accepted(2)
        scene.balancer.stop()
        await idle.nothing_more()
        await worker.send(b"goodbye")
        assert await client.exactly(7) == b"goodbye"
        client.close()
        await worker.nothing_more()


async def test_a_worker_that_reads_nothing_is_not_waited_for_after_its_client(stage: Stage) -> None:
    workers = [ScriptedWorker(receive_buffer=4096)]
    async with stage(workers, timeouts={"idle": "200ms"}) as scene:
        client = await scene.client()
        await client.send(request("/", *HANDSHAKE))
        worker, _ = await scene.worker.request()
        await worker.send(ACCEPT)
        await client.response()
        downstream = await scene.downstream()
        await hold_back(client, downstream)
        client.reset()
        await scene.in_flight(0)
        await eventually(lambda: scene.proxy.backend.connections.open == 0, "it is cut off")
