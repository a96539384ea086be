"""What is sent again if the pool wants it: after a timeout, after a refusal; and the bounds."""

import asyncio

import pytest

from app.balancing.lease import Outcome
from tests.integration.proxy.attempts import KEY, answered_by, first, not_sent_again
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import Request, Wire, request, response

# --- no first byte in time


@pytest.mark.parametrize(
    ("method", "lines", "retry", "again"),
    [
        ("GET", [], {"onTimeout": True}, True),
        ("GET", [], {}, False),
        ("POST", [], {"onTimeout": True}, False),
        ("POST", [KEY], {"onTimeout": True}, True),
        ("POST", [KEY], {}, False),
        ("POST", [], {"onTimeout": True, "nonIdempotent": True}, True),
        ("POST", [], {"nonIdempotent": True}, False),
    ],
)
async def test_no_first_byte_in_time(
    stage: Stage, method: str, lines: list[str], retry: dict[str, bool], again: bool
) -> None:
    async with stage(workers=2, retry=retry, timeouts={"firstByte": "300ms"}) as scene:
        client = await scene.client()
        await client.send(request("/", *lines, method=method, body=b"body"))
        worker, sent, other = await first(scene)
        if again:
            await answered_by(other, client, sent)
        else:
            await not_sent_again(scene, client, 504)
        await worker.gone()


# --- the worker said "full"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [b"full", b"x" * 500_000])
async def test_a_refusal_goes_to_another_worker(stage: Stage, method: str, body: bytes) -> None:
    async with stage(workers=2, retry={"refusedStatuses": [503]}) as scene:
        client = await scene.client()
        await client.send(request(method=method, body=b"body"))
        worker, sent, other = await first(scene)
        worker.push(response(body, status="503 Service Unavailable"))
        await answered_by(other, client, sent)
        assert scene.healthy()
        assert scene.proxy.backend.stats.retries == {Outcome.REFUSED: 1}


async def test_without_the_configuration_a_503_is_an_answer(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _, _ = await first(scene)
        await worker.send(response(b"full", "Retry-After: 9", status="503 Service Unavailable"))
        answer = await client.response()
        assert (answer.status, answer.body, answer.get(b"retry-after")) == (503, b"full", b"9")


async def test_a_refused_request_waits_until_a_worker_may_be_asked_again(stage: Stage) -> None:
    async with stage(retry={"refusedStatuses": [503, 429]}) as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"body"))
        worker, _ = await scene.worker.request()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await worker.send(response(b"", "Retry-After: 1", status="429 Too Many Requests"))
        await scene.queued(1)
        assert scene.endpoint().phase.value == "refusing"
        worker, again = await scene.worker.request()  # the old connection is no longer fresh
        assert again.body == b"body"
        assert 0.9 < loop.time() - began < 3
        await worker.send(response(b"now"))
        assert (await client.response()).body == b"now"
        assert scene.endpoint().refusals == 1


async def test_a_refusal_of_what_cannot_be_sent_again_is_passed_on(stage: Stage) -> None:
    async with stage(workers=2, retry={"refusedStatuses": [503]}) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 70000", method="PUT") + bytes(65536))
        chosen = await scene.chosen()
        worker = await chosen.connection()
        await worker.request_head()
        await client.send(bytes(70000 - 65536))
        await worker.exactly(70000)
        await worker.send(response(b"full", status="503 Service Unavailable"))
        answer = await client.response()
        assert (answer.status, answer.body) == (503, b"full")
        assert scene.endpoint(chosen).refusals == 1


async def test_a_retried_request_goes_before_those_who_wait(stage: Stage) -> None:
    async with stage(maxInFlight=1, retry={"refusedStatuses": [503]}, queue={"size": 1}) as scene:
        one, two = await scene.client(), await scene.client()
        await one.send(request("/1"))
        worker, _ = await scene.worker.request()
        await two.send(request("/2"))
        await scene.queued(1)
        await worker.send(response(b"", status="503 Service Unavailable"))
        await scene.queued(2)  # beyond the queue's size, which is for fresh ones
        assert (await worker.request()).target == b"/1"
        await worker.send(response(b"1"))
        assert (await one.response()).body == b"1"
        assert (await worker.request()).target == b"/2"
        await worker.send(response(b"2"))
        assert (await two.response()).body == b"2"


# --- bounds


async def test_every_worker_is_tried_and_then_the_client_is_told(stage: Stage) -> None:
    async with stage(workers=3, queue={"timeout": "200ms"}) as scene:
        for worker in scene.workers:
            await worker.refuse()
        client = await scene.client()
        await client.send(request())
        assert (await client.response()).status == 503
        assert all(endpoint.granted == 1 for endpoint in scene.pool.endpoints.values())


async def test_the_budget_bounds_what_is_sent_again(stage: Stage) -> None:
    async with stage(workers=2, health={"failures": 100}) as scene:
        scene.pool.budget._reserve = 3.0

        async def die(wire: Wire, _: Request) -> None:
            wire.reset()

        for worker in scene.workers:
            worker.serve(die)
        client = await scene.client()
        await client.send(request())
        assert (await client.response()).status == 502
        assert scene.proxy.backend.stats.retries == {Outcome.DIED: 4}
