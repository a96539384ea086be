"""Clients that go away: what they held is free at once, and no worker is blamed."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.integration.proxy.harness import Scene, Stage
from tests.integration.proxy.wire import Request, Wire, request, response
from tests.integration.proxy.workers import silent
from tests.integration.waiting import eventually

LEAVE = pytest.mark.parametrize("leave", [Wire.close, Wire.finish, Wire.reset])
"""By a close, by a FIN alone, and by a reset: a client's FIN means that it has gone."""

FINISH = pytest.mark.parametrize("policy", ["cancel", "finish"])
Leave = Callable[[Wire], None]


async def occupied(scene: Scene) -> tuple[Wire, Wire]:
    """Let a client take the only slot; return its connection and the worker's."""
    client = await scene.client()
    await client.send(request("/first"))
    worker, _ = await scene.worker.request()
    return client, worker


async def served(client: Wire, worker: Wire) -> None:
    await worker.send(response(b"served"))
    assert (await client.response()).body == b"served"


@LEAVE
async def test_while_it_waits_in_the_queue(stage: Stage, leave: Leave) -> None:
    async with stage(maxInFlight=1, queue={"size": 1}) as scene:
        first, worker = await occupied(scene)
        second = await scene.client()
        await second.send(request("/second"))
        await scene.queued(1)
        leave(second)
        await scene.queued(0)
        third = await scene.client()
        await third.send(request("/third"))
        await scene.queued(1)
        await served(first, worker)
        assert (await worker.request()).target == b"/third"
        await served(third, worker)
        assert scene.proxy.backend.stats.clients_gone == 1
        assert scene.healthy()


@LEAVE
async def test_while_its_upload_is_paused_in_the_queue(stage: Stage, leave: Leave) -> None:
    async with stage(maxInFlight=1, queue={"size": 1}) as scene:
        first, worker = await occupied(scene)
        second = await scene.client()
        head = request("/second", "Content-Length: 9999999", method="POST")
        await second.send(head + b"x" * 65536)
        await scene.queued(1)
        # Not read, and in the kernel's buffer; a FIN behind more than that has room would not come.
        await second.send(b"x" * 20_000)
        (waiting,) = (d for d in scene.proxy.downstreams if d._paused)
        leave(second)
        await scene.queued(0)
        await scene.accepted(1)
        assert waiting.exchange is None
        await served(first, worker)
        assert scene.healthy()


@LEAVE
async def test_while_its_complete_request_waits_and_reading_is_paused(
    stage: Stage, leave: Leave
) -> None:
    async with stage(maxInFlight=1) as scene:
        first, worker = await occupied(scene)
        second = await scene.client()
        await second.send(request("/second", method="POST", body=b"x" * 65536))
        await scene.queued(1)
        leave(second)
        await scene.queued(0)
        await scene.accepted(1)
        await served(first, worker)


@LEAVE
async def test_while_its_request_is_not_complete(stage: Stage, leave: Leave) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 10", method="POST") + b"x")
        await scene.accepted(1)
        downstream = await scene.downstream()
        await eventually(lambda: downstream.exchange)
        leave(client)
        await scene.accepted(0)
        assert scene.worker.accepted == 0


@LEAVE
@FINISH
async def test_while_the_worker_is_being_connected(stage: Stage, leave: Leave, policy: str) -> None:
    async with stage(onClientGone=policy, timeouts={"connect": 60}) as scene, silent(scene.worker):
        client = await scene.client()
        await client.send(request())
        await scene.in_flight(1)
        leave(client)
        await scene.in_flight(0)
        assert scene.healthy()


@LEAVE
async def test_while_the_worker_runs_it(stage: Stage, leave: Leave) -> None:
    async with stage(maxInFlight=1) as scene:
        client, worker = await occupied(scene)
        leave(client)
        await worker.gone()
        await scene.in_flight(0)
        assert scene.healthy()
        assert scene.proxy.backend.stats.clients_gone == 1


@LEAVE
async def test_while_it_is_uploading_to_the_worker(stage: Stage, leave: Leave) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 99999", method="POST") + b"x" * 65536)
        worker = await scene.worker.connection()
        leave(client)
        await worker.gone()
        await scene.in_flight(0)
        assert scene.healthy()


@LEAVE
async def test_while_it_reads_the_response(stage: Stage, leave: Leave) -> None:
    async with stage() as scene:
        client, worker = await occupied(scene)
        await worker.send(response(None, "Content-Length: 99999") + b"part")
        await client.response_head()
        leave(client)
        await worker.gone()
        await scene.in_flight(0)
        assert scene.healthy()


@LEAVE
async def test_while_a_part_of_a_short_answer_is_held(stage: Stage, leave: Leave) -> None:
    async with stage() as scene:
        client, worker = await occupied(scene)
        exchange = (await scene.downstream()).exchange
        assert exchange is not None
        upstream = exchange._upstream
        assert upstream is not None
        await worker.send(response(None, "Content-Length: 100") + b"part")
        await eventually(lambda: upstream._buffer == b"part")
        leave(client)
        await worker.gone()
        await scene.in_flight(0)
        assert scene.healthy()


@LEAVE
@pytest.mark.parametrize("begun", [True, False])
async def test_finish_reads_the_response_to_its_end_with_the_slot_held(
    stage: Stage, leave: Leave, begun: bool
) -> None:
    async with stage(maxInFlight=1, onClientGone="finish") as scene:
        client, worker = await occupied(scene)
        body = bytes(1_000_000)
        head = response(None, f"Content-Length: {len(body)}")
        if begun:
            await worker.send(head)
            await client.response_head()
        leave(client)
        await scene.accepted(0)
        second = await scene.client()
        await second.send(request("/second"))
        await scene.queued(1)
        assert scene.pool.in_flight == 1
        await worker.send(body if begun else head + body)
        assert (await worker.request()).target == b"/second"  # on the same connection
        await served(second, worker)
        assert scene.healthy()


async def test_finish_reads_on_when_the_client_had_held_the_worker_back(stage: Stage) -> None:
    async with stage(onClientGone="finish") as scene:
        client = await scene.client(receive_buffer=4096)
        await client.send(request())
        worker, _ = await scene.worker.request()
        sending = scene.background(worker.send(response(bytes(20_000_000))))
        downstream = await scene.downstream()
        await eventually(lambda: downstream.blocked)
        client.reset()
        await sending
        await scene.in_flight(0)
        assert scene.healthy()


async def test_finish_still_ends_with_a_worker_that_dies(stage: Stage) -> None:
    async with stage(onClientGone="finish") as scene:
        client, worker = await occupied(scene)
        client.reset()
        await scene.accepted(0)
        worker.reset()
        await scene.in_flight(0)


async def test_finish_does_not_run_what_was_still_uploading(stage: Stage) -> None:
    async with stage(onClientGone="finish") as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 99999", method="POST") + b"x" * 65536)
        worker = await scene.worker.connection()
        client.close()
        await worker.gone()
        await scene.in_flight(0)


async def test_an_idle_client_may_leave(stage: Stage) -> None:
    async with stage() as scene:
        for leave in (Wire.close, Wire.finish, Wire.reset):
            client = await scene.client()
            await scene.accepted(1)
            leave(client)
            await scene.accepted(0)
        assert scene.proxy.backend.stats.clients_gone == 0


@FINISH
async def test_a_thousand_clients_that_leave_at_random(stage: Stage, policy: str) -> None:
    """Also while uploading, queued, connecting, running or reading."""
    chance = random.Random(7)

    async def answer(wire: Wire, got: Request) -> None:
        await wire.send(response(b"%d " % len(got.body) + b"x" * 100_000))

    async with stage(3, maxInFlight=4, queue={"size": 40}, onClientGone=policy) as scene:
        for worker in scene.workers:
            worker.serve(answer)
        at_once = asyncio.Semaphore(60)

        async def come_and_go() -> None:
            async with at_once:
                client = await scene.client()
                raw = request("/", method="POST", body=bytes(chance.choice([0, 99, 99_000])))
                client.push(raw[: chance.choice([20, 90, 150, 66_000, 200_000])])
                for _ in range(chance.randrange(40)):
                    await asyncio.sleep(0)
                chance.choice([Wire.close, Wire.finish, Wire.reset])(client)
                if client.sock.fileno() >= 0:
                    await client.gone()

        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(come_and_go())
        await scene.empty()
        assert scene.proxy.backend.stats.clients_gone > 100
        assert scene.healthy()
        last = await scene.client()
        await last.send(request())
        assert len((await last.response()).body) > 100_000


@LEAVE
async def test_with_more_requests_in_the_pipeline(stage: Stage, leave: Leave) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/1") + request("/2") + request("/3"))
        worker, got = await scene.worker.request()
        assert got.target == b"/1"
        leave(client)
        await worker.gone()
        await scene.in_flight(0)
        assert scene.proxy.backend.stats.requests == 1


async def test_with_requests_in_the_pipeline_and_a_response_not_taken(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client(receive_buffer=4096)
        await client.send(request("/1"))
        worker, _ = await scene.worker.request()
        downstream = await scene.downstream()
        sent = 0
        while not downstream.blocked:
            await worker.send(response(bytes(100_000)))
            await scene.in_flight(0)
            sent += 1
            assert sent < 200, "nothing holds the worker back"
            if not downstream.blocked:
                await client.send(request("/more"))
                await worker.request()
        await client.send(request("/late"))
        await eventually(lambda: downstream._buffer)
        client.finish()
        for _ in range(sent):
            assert (await client.response()).body == bytes(100_000)
        await client.nothing_more()
        assert scene.proxy.backend.stats.requests == sent
