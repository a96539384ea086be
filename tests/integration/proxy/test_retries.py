"""What is sent again to another worker: the table of `app.balancing.retry`, its first two rows."""

import pytest

from app.balancing.lease import Outcome
from tests.integration.proxy.attempts import KEY, Fate, answered_by, first, not_sent_again
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import Request, Wire, request, response
from tests.integration.proxy.workers import silent
from tests.integration.waiting import eventually

IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]
OTHERS = ["POST", "PATCH", "PURGE", "get"]


# --- nothing of the request was written: always


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_refused_connects(stage: Stage, method: str) -> None:
    async with stage(workers=4) as scene:
        alive, *dead = scene.workers
        for worker in dead:
            await worker.refuse()
        for _ in range(4):
            client = await scene.client()
            await client.send(request(method=method, body=b"once"))
            wire, got = await alive.request()
            assert got.body == b"once"
            await wire.send(response(b"", "Connection: close"))
            assert (await client.response()).status == 200
        assert all(scene.endpoint(worker).phase.value == "ejected" for worker in dead)
        assert scene.proxy.backend.stats.retries == {Outcome.CONNECT_REFUSED: 3}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_connects_without_an_answer(stage: Stage, method: str) -> None:
    async with stage(workers=2, timeouts={"connect": "300ms"}) as scene:
        alive, dead = scene.workers
        async with silent(dead):
            for _ in range(2):  # one of them goes to the dead one first
                client = await scene.client()
                await client.send(request(method=method, body=b"once"))
                wire, got = await alive.request()
                assert got.body == b"once"
                await wire.send(response(b"", "Connection: close"))
                assert (await client.response()).status == 200
            assert scene.proxy.backend.stats.retries == {Outcome.CONNECT_SILENT: 1}
            assert scene.endpoint(dead).connect_errors == 1


async def test_a_request_that_found_no_worker_waits_for_one_to_come_back(stage: Stage) -> None:
    async with stage() as scene:
        await scene.worker.refuse()
        client = await scene.client()
        await client.send(request(method="POST", body=b"once"))
        await scene.queued(1)
        assert scene.endpoint().phase.value == "ejected"
        scene.worker.listen()
        worker, got = await scene.worker.request()
        assert got.body == b"once"
        await worker.send(response())
        assert (await client.response()).status == 200


async def test_a_long_upload_whose_connect_was_refused(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        alive, dead = scene.workers
        await dead.refuse()
        body = bytes(range(256)) * 1000
        for _ in range(2):
            client = await scene.client()
            sending = scene.background(client.send(request(method="POST", body=body)))
            worker, got = await alive.request()
            assert got.body == body
            await sending
            await worker.send(response(b"", "Connection: close"))
            assert (await client.response()).status == 200


# --- written, and the connection died before a final status line


@pytest.mark.parametrize("die", [Wire.close, Wire.reset])
@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_idempotent_methods_after_a_death(stage: Stage, method: str, die: Fate) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request("/a", "X-Request-ID: same", method=method, body=b"body"))
        worker, sent, other = await first(scene)
        die(worker)
        await answered_by(other, client, sent)
        assert scene.proxy.backend.stats.retries == {Outcome.DIED: 1}


@pytest.mark.parametrize("die", [Wire.close, Wire.reset])
@pytest.mark.parametrize("method", OTHERS)
async def test_other_methods_after_a_death(stage: Stage, method: str, die: Fate) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request(method=method, body=b"body"))
        worker, _, _ = await first(scene)
        die(worker)
        await not_sent_again(scene, client, 502)


@pytest.mark.parametrize("retry", [{}, {"nonIdempotent": True}])
@pytest.mark.parametrize("method", OTHERS)
async def test_other_methods_with_a_key_or_by_configuration(
    stage: Stage, method: str, retry: dict[str, bool]
) -> None:
    async with stage(workers=2, retry=retry) as scene:
        client = await scene.client()
        await client.send(request("/", *([] if retry else [KEY]), method=method, body=b"body"))
        worker, sent, other = await first(scene)
        worker.close()
        await answered_by(other, client, sent)


async def test_a_chunked_body_with_trailers_is_sent_again_whole(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        head = request("/", "Transfer-Encoding: chunked", method="PUT")
        await client.send(head + b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n")
        worker, sent, other = await first(scene)
        assert (sent.body, sent.trailers) == (b"onetwo", [(b"x-sum", b"6")])
        worker.close()
        await answered_by(other, client, sent)


async def test_interim_responses_are_no_answer(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request())
        worker, sent, other = await first(scene)
        await worker.send(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 O")
        worker.close()
        await answered_by(other, client, sent)


@pytest.mark.parametrize("size", [0, 40_000])
async def test_a_body_that_fits_is_sent_again_though_it_came_in_pieces(
    stage: Stage, size: int
) -> None:
    async with stage(workers=2, retry={"replayBytes": 100_000}) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 100000", method="PUT") + bytes(60_000))
        downstream = await scene.downstream()
        exchange = downstream.exchange
        assert exchange is not None
        await eventually(lambda: exchange.body.held == 60_000)
        assert scene.pool.in_flight == 0
        await client.send(bytes(40_000))
        worker, sent, other = await first(scene)
        worker.close()
        await answered_by(other, client, sent)


async def test_a_body_beyond_the_replay_buffer_is_not_sent_again(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 70000", method="PUT") + bytes(65536))
        chosen = await scene.chosen()
        worker = await chosen.connection()
        await worker.request_head()
        await client.send(bytes(70000 - 65536))
        await worker.exactly(70000)
        worker.close()
        await not_sent_again(scene, client, 502)


async def test_a_body_of_which_the_worker_died_at_the_buffers_brim_is_sent_again(
    stage: Stage,
) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        body = bytes(range(256)) * 300
        await client.send(request(method="PUT", body=body)[: -len(body) + 65536])
        chosen = await scene.chosen()
        (other,) = (worker for worker in scene.workers if worker is not chosen)
        worker = await chosen.connection()
        await worker.request_head()
        await worker.exactly(65536)
        worker.reset()
        again = await other.connection()
        await client.send(body[65536:])
        assert (await again.request()).body == body
        await again.send(response())
        assert (await client.response()).status == 200


# --- the race with a worker that closes an idle connection


@pytest.mark.parametrize(
    ("method", "lines", "reused"),
    [("GET", [], True), ("POST", [], False), ("POST", [KEY], True)],
)
async def test_what_cannot_be_sent_again_takes_no_connection_that_was_idle_for_long(
    stage: Stage, method: str, lines: list[str], reused: bool
) -> None:
    async with stage(timeouts={"idle": "60s"}) as scene:
        client = await scene.client()
        await client.send(request())
        old, _ = await scene.worker.request()
        await old.send(response())
        await client.response()
        (idle,) = scene.proxy.backend.connections._idle[scene.endpoint()]
        idle.idle_since -= 1.5  # as if so much time had passed
        await client.send(request("/2", *lines, method=method, body=b"x"))
        worker = old if reused else await scene.worker.connection()
        assert (await worker.request()).target == b"/2"
        await worker.send(response())
        await client.response()
        assert scene.worker.spoken == (1 if reused else 2)
        await client.send(request("/3", *lines, method=method, body=b"x"))
        assert (await worker.request()).target == b"/3"  # the last used, which is fresh
        await worker.send(response())
        await client.response()


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
async def test_a_worker_that_closes_after_each_response_costs_no_request_in_the_queue(
    stage: Stage, leave: Fate
) -> None:
    """As uvicorn does when it stops, without saying so in the response."""
    async with stage(maxInFlight=1) as scene:
        clients = [await scene.client() for _ in range(10)]
        for number, client in enumerate(clients):
            await client.send(request(f"/{number}", method="POST", body=b"once"))
            await (scene.queued(number) if number else scene.in_flight(1))

        async def answer_and_leave(wire: Wire, _: Request) -> None:
            wire.push(response(b"done"))
            leave(wire)

        scene.worker.serve(answer_and_leave)
        for client in clients:
            assert (await client.response()).body == b"done"
        assert scene.healthy()
