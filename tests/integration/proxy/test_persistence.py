"""How long connections live: HTTP/1.0 and 1.1, keep-alive on both sides, pipelining."""

import resource

import pytest

from app.proxy.connections import MAX_IDLE
from app.runtime.limits import most_connections, most_worker_connections
from tests.integration.proxy.harness import Scene, Stage
from tests.integration.proxy.wire import Request, Wire, chunked, request, response
from tests.integration.waiting import eventually

OLD = "HTTP/1.0"


async def test_requests_in_a_row_share_both_connections(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        worker = None
        for number in range(20):
            await client.send(request(f"/{number}", method="POST", body=b"x" * number))
            worker = worker or await scene.worker.connection()
            assert (await worker.request()).target == b"/%d" % number
            await worker.send(response(b"%d" % number))
            assert (await client.response()).body == b"%d" % number
        assert scene.worker.accepted == 1


async def test_the_next_client_gets_the_worker_connection_of_the_one_before(stage: Stage) -> None:
    async with stage() as scene:
        first = await scene.client()
        await first.send(request("/1", "Connection: close"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"1"))
        assert (await first.response()).body == b"1"
        second = await scene.client()
        await second.send(request("/2"))
        assert (await worker.request()).target == b"/2"
        await worker.send(response(b"2"))
        assert (await second.response()).body == b"2"


async def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    async with stage(workers=3) as scene:
        for index, worker in enumerate(scene.workers):

            async def answer(wire: Wire, got: Request, index: int = index) -> None:
                await wire.send(response(got.target + b" " + got.body, f"X-Worker: {index}"))

            worker.serve(answer)
        client = await scene.client()
        await client.send(
            b"".join(request(f"/{n}", method="POST", body=b"body of %d" % n) for n in range(50))
        )
        for n in range(50):
            assert (await client.response()).body == b"/%d body of %d" % (n, n)


async def test_the_second_of_two_pipelined_requests_waits_for_the_first(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request("/1") + request("/2"))
        busy = await scene.chosen()
        worker, got = await busy.request()
        assert got.target == b"/1"
        assert scene.pool.in_flight == 1
        await worker.send(response(b"1"))
        assert (await client.response()).body == b"1"
        (other,) = (w for w in scene.workers if w is not busy)
        worker, got = await other.request()
        await worker.send(response(b"2"))
        assert (await client.response()).body == b"2"


async def test_empty_lines_before_a_request_are_skipped(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"\r\n\r\n\r\n" + request("/1") + b"\r\n" + request("/2") + b"\r\n")
        worker = await scene.worker.connection()
        for n in (1, 2):
            assert (await worker.request()).target == b"/%d" % n
            await worker.send(response())
            await client.response()


async def test_a_client_that_asks_for_close_gets_it(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Connection: close"))
        worker, got = await scene.worker.request()
        assert got.get(b"connection") is None
        await worker.send(response(b"hello"))
        answer = await client.response()
        assert (answer.get(b"connection"), answer.body) == (b"close", b"hello")
        await client.nothing_more()


async def test_a_request_behind_one_that_asked_for_close_is_not_served(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/1", "Connection: close") + request("/2"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"1"))
        assert (await client.response()).body == b"1"
        await client.nothing_more()
        assert scene.proxy.backend.stats.requests == 1


async def test_a_worker_that_closes_costs_the_client_nothing(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        for n in range(3):
            await client.send(request())
            worker, _ = await scene.worker.request()
            await worker.send(response(b"%d" % n, "Connection: close"))
            answer = await client.response()
            assert (answer.body, answer.get(b"connection")) == (b"%d" % n, None)
            await worker.gone()
        assert scene.healthy()


async def test_an_http_1_0_client_gets_an_end_by_close(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(version=OLD, host=None))
        worker, got = await scene.worker.request()
        assert (got.minor, got.get(b"host")) == (1, b"")
        await worker.send(response(None, "Transfer-Encoding: chunked") + chunked(b"one", b"two"))
        answer = await client.response()
        assert not answer.chunked
        assert (answer.body, answer.get(b"connection")) == (b"onetwo", b"close")


@pytest.mark.parametrize("sized", [True, False])
async def test_keep_alive_of_an_http_1_0_client_needs_a_length(stage: Stage, sized: bool) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Connection: keep-alive", version=OLD))
        worker, _ = await scene.worker.request()
        plain, parts = response(b"one"), response(None, "Transfer-Encoding: chunked")
        await worker.send(plain if sized else parts + chunked(b"one"))
        answer = await client.response()
        assert answer.body == b"one"
        assert answer.get(b"connection") == (b"keep-alive" if sized else b"close")
        if not sized:
            return
        await client.send(request(version=OLD))
        await worker.request()
        await worker.send(response(b"two"))
        answer = await client.response()
        assert (answer.body, answer.get(b"connection")) == (b"two", b"close")
        await client.nothing_more()


async def test_an_http_1_0_worker_is_understood(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n"
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(head + b"\r\nok")
        assert (await client.response()).body == b"ok"
        await worker.nothing_more()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(head + b"Connection: keep-alive\r\n\r\nok")
        assert (await client.response()).body == b"ok"
        await client.send(request())
        await worker.request()
        await worker.send(b"HTTP/1.0 200 OK\r\n\r\nuntil close")
        worker.close()
        assert (await client.response()).body == b"until close"


async def test_an_idle_worker_connection_is_closed_by_us(stage: Stage) -> None:
    async with stage(timeouts={"idle": "200ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response())
        await client.response()
        await worker.gone()
        assert scene.healthy()
        assert scene.endpoint().phase.value == "ready"


async def test_a_worker_that_tells_a_short_keep_alive_is_left_in_time(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(b"", "Keep-Alive: timeout=1"))
        assert (await client.response()).get(b"keep-alive") is None
        await worker.gone()


async def test_a_connection_is_kept_for_a_second_less_than_the_worker_tells(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(b"", "Keep-Alive: timeout=30"))
        await client.response()
        ((upstream,),) = scene.proxy.backend.connections._idle.values()
        assert upstream.idle_since < upstream.armed <= upstream.idle_since + 29
        connections = scene.proxy.backend.connections
        assert connections.expire(upstream, upstream.idle_since + 28.9) is not None
        assert connections.expire(upstream, upstream.idle_since + 29.1) is None
        await worker.gone()


async def test_idle_connections_are_closed_when_their_worker_leaves_the_rotation(
    stage: Stage,
) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request())
        chosen = await scene.chosen()
        worker, _ = await chosen.request()
        await worker.send(response())
        await client.response()
        await eventually(lambda: scene.proxy.backend.connections.open == 1)
        scene.balancer.pools.served[0]._discovered(
            [e.spec for e in scene.pool.endpoints.values() if e is not scene.endpoint(chosen)]
        )
        await worker.gone()


async def test_a_flood_of_empty_lines_is_skipped(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"\r\n" * 200_000 + request("/after"))
        worker, got = await scene.worker.request()
        assert got.target == b"/after"
        await worker.send(response())
        await client.response()


async def test_thousands_of_pipelined_requests_that_we_answer_ourselves(stage: Stage) -> None:
    async with stage(maxInFlight=1, queue={"size": 0}) as scene:
        busy, client = await scene.client(), await scene.client()
        await busy.send(request("/busy"))
        worker, _ = await scene.worker.request()
        count = 3000
        ids = [b"%d" % number for number in range(count)]
        batch = b"".join(request("/", f"X-Request-ID: {number}") for number in range(count))
        sending = scene.background(client.send(batch))
        answers = [await client.response() for _ in ids]
        await sending
        assert {answer.status for answer in answers} == {503}
        assert [answer.get(b"x-request-id") for answer in answers] == ids
        await worker.send(response())
        await busy.response()


async def serve(scene: Scene, clients: list[Wire], most: int) -> list[Wire]:
    """Let each client have a request under way at the same time; return the workers' wires.

    Of the connections beyond `most` that become idle, see that they are closed.
    """
    wires = []
    for client in clients:
        await client.send(request())
        wires.append(await (await scene.chosen()).connection())
        await wires[-1].request()
    for client, wire in zip(clients, wires, strict=True):
        await wire.send(response(b"ok"))
        assert (await client.response()).body == b"ok"
        if scene.proxy.backend.connections.open > most:
            await wire.gone()
    return wires


async def test_so_many_idle_connections_are_kept_to_a_worker(stage: Stage) -> None:
    async with stage() as scene:
        clients = [await scene.client() for _ in range(MAX_IDLE + 2)]
        wires = await serve(scene, clients, most=1000)
        await eventually(lambda: scene.proxy.backend.connections.open == MAX_IDLE)
        for wire in wires[MAX_IDLE:]:
            await wire.gone()


async def test_idle_connections_are_kept_only_within_the_open_files_for_workers(
    stage: Stage,
) -> None:
    async with stage() as scene:
        scene.proxy.backend.connections.most_open = 3
        clients = [await scene.client() for _ in range(5)]
        await serve(scene, clients, most=3)
        await eventually(lambda: scene.proxy.backend.connections.open == 3)


async def test_an_idle_connection_makes_room_for_one_to_another_worker(stage: Stage) -> None:
    async with stage(2) as scene:
        scene.proxy.backend.connections.most_open = 1
        clients = [await scene.client() for _ in range(2)]
        for client in clients:  # each goes to the worker that was not chosen last
            await client.send(request())
            worker = await (await scene.chosen()).connection()
            await worker.request()
            await worker.send(response(b"ok"))
            assert (await client.response()).body == b"ok"
            await eventually(lambda: scene.proxy.backend.connections.open == 1)
        assert [one.spoken for one in scene.workers] == [1, 1]


async def test_the_limit_is_what_the_open_files_leave(stage: Stage) -> None:
    async with stage() as scene:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        clients = most_connections(soft, None)
        assert scene.proxy.backend.connections.most_open == most_worker_connections(soft, clients)
