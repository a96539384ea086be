"""Workers that die in the middle, say too much, or speak when nobody asked."""

import asyncio
from time import monotonic

import pytest

from tests.integration.proxy.harness import Scene, Stage
from tests.integration.proxy.wire import Truncated, Wire, chunked, request, response
from tests.integration.proxy.workers import ScriptedWorker
from tests.integration.waiting import eventually

DEATHS = pytest.mark.parametrize("die", [Wire.close, Wire.reset])
SHORT = 64 * 1024
"""Bytes of a body up to which an answer is passed on in one piece."""

LONG = SHORT + 1
LEFTOVER = response(b"evil", "X-Evil: 1")


async def nothing_evil(scene: Scene, count: int = 3) -> None:
    """See that other clients get their own responses."""
    for _ in range(count):
        client = await scene.client()
        await client.send(request("/other"))
        worker, got = await scene.worker.request()
        assert got.target == b"/other"
        await worker.send(response(b"good", "Connection: close"))
        answer = await client.response()
        assert (answer.body, answer.get(b"x-evil")) == (b"good", None)


@DEATHS
@pytest.mark.parametrize(
    ("framing", "part"),
    [(f"Content-Length: {LONG}", b"part"), ("Transfer-Encoding: chunked", chunked(b"part")[:-5])],
)
async def test_a_response_that_breaks_off_is_seen_to_be_broken(
    stage: Stage, die: object, framing: str, part: bytes
) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await (await scene.chosen()).request()
        await worker.send(response(None, framing) + part)
        head = await client.response_head()
        assert await (client.chunk() if head.chunked else client.exactly(4)) == b"part"
        die(worker)  # type: ignore[operator]
        with pytest.raises(Truncated):
            await client.exactly(1)
        await scene.in_flight(0)
        assert scene.proxy.backend.stats.requests == 1
        assert sum(scene.proxy.backend.stats.retries.values()) == 0
        assert scene.proxy.backend.stats.clients_gone == 0
        assert sum(endpoint.failed for endpoint in scene.pool.endpoints.values()) == 1


@pytest.mark.parametrize("keep_up", [True, False])
async def test_an_http_1_0_client_cannot_take_a_broken_response_for_a_whole_one(
    stage: Stage, keep_up: bool
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(version="HTTP/1.0"))
        worker, _ = await scene.worker.request()
        await worker.send(response(None, "Transfer-Encoding: chunked") + chunked(b"part")[:-5])
        if keep_up:
            assert not (await client.response_head()).chunked
            assert await client.exactly(4) == b"part"
        worker.close()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_a_response_until_close_that_is_reset_is_broken(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None) + b"part")
        await client.response_head()
        assert await client.chunk() == b"part"
        worker.reset()
        with pytest.raises(Truncated):
            await client.chunk()


async def test_a_response_that_stalls_is_cut(stage: Stage) -> None:
    async with stage(timeouts={"betweenBytes": "200ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None, f"Content-Length: {LONG}") + b"part")
        await client.response_head()
        with pytest.raises(Truncated):
            await client.exactly(LONG)
        await worker.gone()


@DEATHS
@pytest.mark.parametrize("body", [b"x" * 100, b"x" * SHORT])
async def test_a_short_answer_that_breaks_off_is_another_workers_to_give(
    stage: Stage, die: object, body: bytes
) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request(method="PUT", body=b"question"))
        first = await scene.chosen()
        worker, _ = await first.request()
        await worker.send(response(None, f"Content-Length: {len(body)}") + body[:-1])
        die(worker)  # type: ignore[operator]
        (second,) = (other for other in scene.workers if other is not first)
        worker, got = await second.request()
        assert got.body == b"question"
        await worker.send(response(b"whole"))
        assert (await client.response()).body == b"whole"
        assert sum(scene.proxy.backend.stats.retries.values()) == 1


@DEATHS
async def test_where_it_must_not_be_sent_again_the_client_is_told(
    stage: Stage, die: object
) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"question"))
        worker, _ = await (await scene.chosen()).request()
        await worker.send(response(None, "Content-Length: 100") + b"part")
        die(worker)  # type: ignore[operator]
        answer = await client.response()
        assert answer.status == 502
        assert b"part" not in answer.body
        await scene.in_flight(0)


async def test_a_short_answer_that_stalls_is_a_504(stage: Stage) -> None:
    async with stage(timeouts={"betweenBytes": "200ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None, "Content-Length: 100") + b"part")
        answer = await client.response()
        assert answer.status == 504
        assert b"http_response_timeout" in (answer.get(b"proxy-status") or b"")
        await worker.gone()


@DEATHS
async def test_a_refusal_is_one_though_its_body_never_comes(stage: Stage, die: object) -> None:
    async with stage(workers=2, retry={"refusedStatuses": [503]}) as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"question"))
        first = await scene.chosen()
        worker, _ = await first.request()
        await worker.send(response(None, "Content-Length: 40", status="503 Full") + b"ful")
        (second,) = (other for other in scene.workers if other is not first)
        other, _ = await second.request()
        die(worker)  # type: ignore[operator]
        await other.send(response(b"whole"))
        assert (await client.response()).body == b"whole"
        assert scene.endpoint(first).failed == 0


async def test_a_short_answer_may_come_in_pieces(stage: Stage) -> None:
    async with stage(timeouts={"firstByte": "100s", "betweenBytes": "900s"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        exchange = (await scene.downstream()).exchange
        assert exchange is not None
        upstream = exchange._upstream
        assert upstream is not None

        async def held(piece: bytes, buffer: bytes) -> None:
            await worker.send(piece)
            await eventually(lambda: upstream._buffer == buffer)

        head, body = response(None, "Content-Length: 12"), b"three pieces"
        await held(head[:10], head[:10])
        await held(head[10:], b"")
        await held(body[:3], body[:3])
        await held(body[3:9], body[:9])
        assert upstream._due - monotonic() > 200  # the first byte is there
        assert exchange._framing is None  # the client has nothing yet
        await worker.send(body[9:])
        assert (await client.response()).body == body
        await client.send(request())  # nothing is left behind on either connection
        assert (await worker.request()).target == b"/"
        await worker.send(response(b"next"))
        assert (await client.response()).body == b"next"


async def test_a_response_that_takes_longer_than_the_request_may_is_cut(stage: Stage) -> None:
    async with stage(timeouts={"request": "500ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None, "Content-Length: 99999999"))
        await client.response_head()
        dripping = scene.background(drip(worker))
        with pytest.raises(Truncated):
            await client.exactly(99999999)
        dripping.cancel()
        await worker.gone()


async def drip(worker: Wire) -> None:
    while True:
        await worker.send(b"x" * 10)
        await asyncio.sleep(0.01)  # a slow one


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("method", "good"),
    [
        ("GET", response(b"good")),
        ("GET", response(None, "Transfer-Encoding: chunked") + chunked(b"good")),
        ("GET", response(None, status="204 No Content")),
        ("GET", response(None, "Content-Length: 4", status="304 Not Modified")),
        ("HEAD", response(None, "Content-Length: 44")),
    ],
)
async def test_what_comes_after_a_response_reaches_nobody(
    stage: Stage, method: str, good: bytes, together: bool
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method=method))
        worker, _ = await scene.worker.request()
        await worker.send(good + LEFTOVER if together else good)
        answer = await client.response(method.encode())
        assert answer.get(b"x-evil") is None
        if not together:
            await worker.send(LEFTOVER)
        await worker.gone()
        await eventually(lambda: scene.proxy.backend.connections.open == 0)
        await client.send(request("/next"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"next", "Connection: close"))
        assert (await client.response()).body == b"next"
        await nothing_evil(scene)


async def test_the_body_of_a_response_to_head_reaches_nobody(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method="HEAD"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n"))
        assert (await client.response(b"HEAD")).get(b"content-length") is not None
        await worker.gone()
        await nothing_evil(scene)


async def test_a_worker_that_speaks_before_it_is_asked_reaches_nobody(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response())
        await client.response()
        await worker.send(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        await worker.gone()
        await nothing_evil(scene)
        assert scene.healthy()


async def test_a_response_cannot_be_split_by_its_reason_or_a_field(stage: Stage) -> None:
    async with stage() as scene:
        for raw in (
            b"HTTP/1.1 200 OK\rX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: a\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: a\0\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
        ):
            client = await scene.client()
            await client.send(request())
            worker, _ = await scene.worker.request()
            await worker.send(raw)
            answer = await client.response()
            assert (answer.status, answer.get(b"x-evil")) == (502, None)


async def test_a_worker_that_dies_idle_is_left_out_before_a_request_meets_it(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"1"))
        chosen = await scene.chosen()
        worker, _ = await chosen.request()
        await worker.send(response())
        await client.response()
        await chosen.refuse()
        worker.close()
        await eventually(lambda: scene.endpoint(chosen).phase.value == "ejected")
        (other,) = (w for w in scene.workers if w is not chosen)
        for _ in range(3):
            client = await scene.client()
            await client.send(request(method="POST", body=b"2"))
            worker, _ = await other.request()
            await worker.send(response(b"", "Connection: close"))
            assert (await client.response()).status == 200


async def test_a_healthy_worker_that_closes_idle_connections_stays(stage: Stage) -> None:
    async with stage() as scene:
        clients = [await scene.client() for _ in range(5)]
        for client in clients:
            await client.send(request())
        wires = [await scene.worker.connection() for _ in clients]
        for wire in wires:
            await wire.request()
            await wire.send(response())
        for client in clients:
            await client.response()
        before = scene.worker.accepted
        for wire in wires:
            wire.close()
        await eventually(lambda: scene.worker.accepted > before, "one check")
        await eventually(lambda: scene.endpoint().phase.value == "ready")
        await nothing_evil(scene, 1)
        assert scene.healthy()


async def test_a_worker_that_closes_its_side_and_reads_nothing_has_died(stage: Stage) -> None:
    async with stage([ScriptedWorker(receive_buffer=4096)]) as scene:
        client = await scene.client()
        sending = scene.background(client.send(request(method="PUT", body=bytes(9_000_000))))
        worker = await scene.worker.connection()
        downstream = await scene.downstream()
        await eventually(lambda: downstream._paused, "the worker takes no more")
        worker.finish()
        assert (await client.response()).status == 502
        await scene.in_flight(0)
        client.reset()
        sending.cancel()
