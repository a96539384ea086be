"""A slow reader holds the other side back: what is kept in memory stays bounded."""

import asyncio
from collections.abc import Callable

import pytest

from app.proxy.downstream import Downstream
from tests.integration.proxy.harness import Scene, Stage
from tests.integration.proxy.wire import Wire, chunked, request, response
from tests.integration.proxy.workers import ScriptedWorker
from tests.integration.waiting import LIMIT, eventually

MIB = 1 << 20
BOUND = 12 * MIB
"""What a sender may get rid of: the kernel's buffers of two connections, 4 MiB each to send and
less to receive with the small windows used here, and our own, below one MiB."""

PART = bytes(64 * 1024)
SMALL = 4096


async def fill(wire: Wire, held_back: Callable[[], bool], bound: int = BOUND) -> int:
    """Send until the balancer reads no more and the kernel takes no more; return the bytes."""
    sent = 0

    def stuck() -> bool:
        nonlocal sent
        pushed = wire.push(PART)
        sent += pushed
        assert sent < bound, "nothing holds the sender back"
        return not pushed and held_back()

    async with asyncio.timeout(LIMIT):
        while not stuck():
            await asyncio.sleep(0)
    return sent


async def upload_paused(scene: Scene) -> Callable[[], bool]:
    downstream = await scene.downstream()
    return lambda: downstream._paused


async def download_paused(scene: Scene) -> Callable[[], bool]:
    downstream = await scene.downstream()
    return lambda: downstream.blocked


async def read_ahead(downstream: Downstream, part: bytes) -> None:
    """Wait until the balancer has read so far, and only read."""
    await eventually(lambda: downstream._buffer.endswith(part))


@pytest.mark.parametrize("framing", ["Content-Length: 99999999999", "Transfer-Encoding: chunked"])
async def test_an_endless_upload_to_a_worker_that_does_not_read(stage: Stage, framing: str) -> None:
    async with stage([ScriptedWorker(receive_buffer=SMALL)]) as scene:
        client = await scene.client()
        head = request("/", framing, method="POST")
        await client.send(head + (b"%x\r\n" % 99999999999 if "chunked" in framing else b""))
        await scene.accepted(1)
        await fill(client, await upload_paused(scene))
        downstream = await scene.downstream()
        assert downstream.exchange is not None
        assert downstream.exchange._upstream is not None
        assert downstream.exchange._upstream.transport.get_write_buffer_size() < MIB
        client.reset()
        await scene.in_flight(0)


async def test_an_upload_that_blocks_with_its_first_bytes(stage: Stage) -> None:
    workers = [ScriptedWorker(receive_buffer=SMALL)]
    async with stage(workers, retry={"replayBytes": 8 * MIB}) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 99999999999", method="POST"))
        await fill(client, await upload_paused(scene), bound=8 * MIB + BOUND)
        downstream = await scene.downstream()
        assert downstream.exchange is not None
        assert downstream.exchange.endpoint is not None  # not held back by the queue
        client.reset()
        await scene.in_flight(0)


async def test_a_slow_worker_gets_the_whole_upload(stage: Stage) -> None:
    async with stage([ScriptedWorker(receive_buffer=SMALL)]) as scene:
        client = await scene.client()
        body = bytes(range(256)) * (40 * 1024)
        sending = scene.background(client.send(request(method="PUT", body=body)))
        worker = await scene.worker.connection()
        downstream = await scene.downstream()
        await eventually(lambda: downstream._paused, "the client is held back")
        got = await worker.request()
        assert got.body == body
        await sending
        await worker.send(response())
        await client.response()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_endless_response_to_a_client_that_does_not_read(
    stage: Stage, framing: str
) -> None:
    async with stage() as scene:
        client = await scene.client(receive_buffer=SMALL)
        await client.send(request())
        worker, _ = await scene.worker.request()
        lines = {"length": "Content-Length: 99999999999", "chunked": "Transfer-Encoding: chunked"}
        await worker.send(response(None, *[lines[framing]] if framing in lines else []))
        if framing == "chunked":
            await worker.send(b"%x\r\n" % 99999999999)
        await fill(worker, await download_paused(scene))
        downstream = await scene.downstream()
        assert downstream.transport.get_write_buffer_size() < MIB
        client.reset()
        await worker.gone()
        await scene.in_flight(0)
        assert scene.healthy()


async def test_a_slow_client_gets_the_whole_response(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client(receive_buffer=SMALL)
        await client.send(request())
        worker, _ = await scene.worker.request()
        body = bytes(range(256)) * (40 * 1024)
        sending = scene.background(
            worker.send(response(None, "Transfer-Encoding: chunked") + chunked(body, body[:-1]))
        )
        downstream = await scene.downstream()
        await eventually(lambda: downstream.blocked, "the worker is held back")
        assert (await client.response()).body == body + body[:-1]
        await sending


async def test_a_tunnel_holds_back_both_ways(stage: Stage) -> None:
    async with stage([ScriptedWorker(receive_buffer=SMALL)]) as scene:
        client = await scene.client(receive_buffer=SMALL)
        await client.send(request("/", "Connection: Upgrade", "Upgrade: websocket"))
        worker, _ = await scene.worker.request()
        lines = ("Connection: Upgrade", "Upgrade: websocket")
        await worker.send(response(None, *lines, status="101 Switching Protocols"))
        await client.response()
        up = await fill(client, await upload_paused(scene))
        down = await fill(worker, await download_paused(scene))
        assert len(await worker.exactly(up)) == up
        assert len(await client.exactly(down)) == down
        await client.send(b"and on")
        assert await worker.exactly(6) == b"and on"


async def test_requests_read_ahead_are_bounded(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/first"))
        worker, _ = await scene.worker.request()
        pipelined = request("/next", f"X-Filler: {'x' * 1000}") * 10_000
        sent = 0
        downstream = await scene.downstream()

        def stuck() -> bool:
            nonlocal sent
            pushed = client.push(pipelined[sent : sent + 65536])
            sent += pushed
            return not pushed and downstream._paused

        await eventually(stuck, "the client is held back")
        assert len(downstream._buffer) < MIB
        await worker.send(response(b"first"))
        assert (await client.response()).body == b"first"
        for _ in range(5):
            assert (await worker.request()).target == b"/next"
            await worker.send(response(b"next"))
            assert (await client.response()).body == b"next"
        client.reset()


async def test_requests_sent_while_the_response_is_not_read_are_kept(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client(receive_buffer=SMALL)
        await client.send(request("/0"))
        worker, _ = await scene.worker.request()
        downstream = await scene.downstream()
        body, sent = bytes(100_000), 0
        while not downstream.blocked:  # the last response is read from its worker to the end
            await worker.send(response(body))
            await scene.in_flight(0)
            sent += 1
            assert sent < 200, "nothing holds the worker back"
            if not downstream.blocked:
                await client.send(request(f"/{sent}"))
                assert (await worker.request()).target == b"/%d" % sent
        late = request("/late", "X-Filler: " + "x" * 2000)
        for part in (late[:50], late[50:1000], late[1000:]):
            await client.send(part)
            await read_ahead(downstream, part)
        for _ in range(sent):
            assert (await client.response()).body == body
        assert (await worker.request()).target == b"/late"
        await worker.send(response(b"late"))
        assert (await client.response()).body == b"late"


async def test_a_body_may_flow_both_ways_at_once(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        body = bytes(range(256)) * (40 * 1024)

        async def echo() -> None:
            worker = await scene.worker.connection()
            await worker.request_head()
            await worker.send(response(None, f"Content-Length: {len(body)}"))
            for _ in range(0, len(body), 1024 * 1024):
                await worker.send(await worker.exactly(1024 * 1024))

        echoing = scene.background(echo())
        sending = scene.background(client.send(request(method="POST", body=body)))
        answer = await client.response()
        assert (answer.body == body, answer.get(b"connection")) == (True, b"close")
        await sending
        await echoing


async def test_a_worker_that_a_slow_client_holds_back_is_not_stalled(stage: Stage) -> None:
    settings = {"client_idle_timeout": 1}
    async with stage(settings=settings, timeouts={"betweenBytes": "400ms"}) as scene:
        client = await scene.client(receive_buffer=SMALL)
        downstream = await scene.downstream()
        await client.send(request("/", "Connection: close"))
        worker, _ = await scene.worker.request()
        sending = scene.background(worker.send(response(bytes(10 * MIB))))
        await eventually(lambda: downstream.blocked)
        clock = await scene.client()
        await clock.nothing_more()  # more than twice the time within which a worker has to move
        assert (await client.response()).body == bytes(10 * MIB)
        await sending
