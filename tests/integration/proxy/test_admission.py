"""When a request takes its slot and when it gives it back."""

import pytest

from tests.integration.proxy.harness import Scene, Stage, narrow
from tests.integration.proxy.wire import chunked, request, response
from tests.integration.waiting import eventually

KIB = 1024
REPLAY = 64 * KIB


async def received(scene: Scene, size: int) -> None:
    """Wait until the only client's request holds so much of its body."""
    downstream = await scene.downstream()
    await eventually(lambda: downstream.exchange and downstream.exchange.body.held == size)


async def test_a_slow_upload_occupies_no_worker_until_it_is_complete(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 1000", method="POST") + b"x" * 999)
        await received(scene, 999)
        assert (scene.pool.in_flight, scene.worker.accepted) == (0, 0)
        await client.send(b"y")
        worker, got = await scene.worker.request()
        assert got.body == b"x" * 999 + b"y"
        await worker.send(response())
        await client.response()


async def test_a_long_upload_gets_its_slot_once_the_replay_buffer_is_full(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", f"Content-Length: {REPLAY + 1}", method="POST")
        await client.send(head + b"x" * (REPLAY - 1))
        await received(scene, REPLAY - 1)
        assert scene.pool.in_flight == 0
        await client.send(b"x")
        worker = await scene.worker.connection()
        assert scene.pool.in_flight == 1
        await client.send(b"y")
        assert (await worker.request()).body == b"x" * REPLAY + b"y"
        await worker.send(response())
        await client.response()


async def test_a_chunked_upload_is_admitted_by_its_size_too(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(15):
            await client.send(chunked(b"x" * 4 * KIB)[:-5])
        await received(scene, 60 * KIB)
        assert scene.pool.in_flight == 0
        await client.send(chunked(b"x" * 4 * KIB)[:-5])
        await scene.in_flight(1)
        await client.send(chunked(b"y"))
        worker, got = await scene.worker.request()
        assert got.body == b"x" * REPLAY + b"y"
        await worker.send(response())
        await client.response()


async def test_an_upload_that_waits_for_its_slot_is_read_no_further(stage: Stage) -> None:
    async with stage(maxInFlight=1) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request("/first"))
        worker, _ = await scene.worker.request()
        body = bytes(range(256)) * (4 * KIB * 5)
        sending = scene.background(second.send(request(method="PUT", body=body)))
        await scene.queued(1)
        (waiting,) = (d for d in scene.proxy.downstreams if d._paused)
        assert waiting.exchange is not None
        assert waiting.exchange.body.held < REPLAY + 256 * KIB
        await worker.send(response())
        await first.response()
        assert (await worker.request()).body == body
        await sending
        await worker.send(response(b"got it"))
        assert (await second.response()).body == b"got it"


async def test_the_slot_is_free_once_the_response_is_read_from_the_worker(stage: Stage) -> None:
    async with stage(maxInFlight=1) as scene:
        slow = await scene.client(receive_buffer=4 * KIB)
        downstream = await scene.downstream()
        narrow(downstream)
        await slow.send(request("/slow"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"x" * 200 * KIB))  # and the client reads nothing of it
        await scene.in_flight(0)
        assert downstream.transport.get_write_buffer_size() > 100 * KIB
        other = await scene.client()
        await other.send(request("/other"))
        assert (await worker.request()).target == b"/other"
        await worker.send(response(b"other"))
        assert (await other.response()).body == b"other"
        assert (await slow.response()).body == b"x" * 200 * KIB


async def test_the_slot_is_held_while_more_than_that_is_left(stage: Stage) -> None:
    async with stage(maxInFlight=1) as scene:
        slow = await scene.client(receive_buffer=4 * KIB)
        downstream = await scene.downstream()
        narrow(downstream)
        await slow.send(request("/slow"))
        worker, _ = await scene.worker.request()
        body = bytes(2 * KIB * KIB)
        sending = scene.background(worker.send(response(body)))
        await eventually(lambda: downstream.blocked)
        other = await scene.client()
        await other.send(request("/other"))
        await scene.queued(1)
        assert scene.pool.in_flight == 1
        assert (await slow.response()).body == body
        await sending
        assert (await worker.request()).target == b"/other"
        await worker.send(response())
        await other.response()


async def test_a_slot_that_comes_free_goes_to_the_first_in_the_queue(stage: Stage) -> None:
    async with stage(maxInFlight=1) as scene:
        clients = [await scene.client() for _ in range(6)]
        for number, client in enumerate(clients):
            await client.send(request(f"/{number}"))
            await (scene.queued(number) if number else scene.in_flight(1))
        worker = await scene.worker.connection()
        for number, client in enumerate(clients):
            assert (await worker.request()).target == b"/%d" % number
            assert scene.pool.in_flight == 1
            await worker.send(response(b"%d" % number))
            assert (await client.response()).body == b"%d" % number
        assert scene.worker.spoken == 1


@pytest.mark.parametrize("closes", [True, False])
async def test_a_response_may_come_before_the_request_is_complete(
    stage: Stage, closes: bool
) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", f"Content-Length: {10 * REPLAY}", method="POST")
        await client.send(head + b"x" * REPLAY)
        worker = await scene.worker.connection()
        await worker.request_head()
        await worker.exactly(REPLAY)
        close = ["Connection: close"] if closes else []
        await worker.send(response(b"no", *close, status="403 Forbidden"))
        if closes:
            worker.close()
        answer = await client.response()
        assert (answer.status, answer.body) == (403, b"no")
        assert answer.get(b"connection") == b"close"
        await scene.in_flight(0)
        await client.send(b"x" * REPLAY)  # not a reset: the client may go on for a while
        await client.nothing_more()
        if not closes:
            await worker.gone()
        assert scene.healthy()


async def test_a_response_may_begin_before_the_request_is_complete(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", f"Content-Length: {REPLAY + 10}", method="POST")
        await client.send(head + b"x" * REPLAY)
        worker = await scene.worker.connection()
        await worker.request_head()
        await worker.exactly(REPLAY)
        await worker.send(response(None, "Content-Length: 10") + b"first")
        assert (await client.response_head()).status == 200
        assert await client.exactly(5) == b"first"
        await client.send(b"y" * 10)
        assert await worker.exactly(10) == b"y" * 10
        await worker.send(b"later")
        assert await client.exactly(5) == b"later"
        await client.nothing_more()


async def test_what_is_unread_when_we_close_does_not_cost_the_client_its_answer(
    stage: Stage,
) -> None:
    async with stage(maxInFlight=1) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request("/first"))
        worker, _ = await scene.worker.request()
        await second.send(request("/", "Connection: close", method="PUT", body=bytes(REPLAY)))
        await scene.queued(1)
        await second.send(b"x" * 20_000)  # reading is paused: nobody knows that it is there
        await worker.send(response())
        await first.response()
        await worker.request()
        await worker.send(response(b"whole"))
        assert (await second.response()).body == b"whole"
        await second.nothing_more()


async def test_an_early_response_is_passed_on_though_the_worker_resets_the_rest(
    stage: Stage,
) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", f"Content-Length: {10 * REPLAY}", method="POST")
        await client.send(head + b"x" * 2 * REPLAY)
        worker = await scene.worker.connection()
        await worker.request_head()
        await worker.send(response(b"too long", status="413 Content Too Large"))
        worker.close()  # with bytes unread: a reset
        answer = await client.response()
        assert (answer.status, answer.body) == (413, b"too long")
        await scene.in_flight(0)
