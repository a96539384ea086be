"""Limits on what one request may ask for, and on what all of them may have us keep."""

import pytest

from tests.integration.proxy.harness import Scene, Stage
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import Request, Wire, request, response
from tests.integration.proxy.workers import ScriptedWorker


async def test_so_many_fields_are_served_and_one_more_is_431(stage: Stage) -> None:
    async with stage(settings={"max_headers": 4}) as scene:
        client = await scene.client()
        await client.send(request("/", "A: 1", "B: 2", "C: 3"))  # beside Host
        worker, got = await scene.worker.request()
        assert got.get(b"c") == b"3"
        await worker.send(response())
        await client.response()
        await client.send(request("/", "A: 1", "B: 2", "C: 3", "D: 4"))
        check(await client.response(), 431, "http_request_error")
        await client.nothing_more()
        assert scene.proxy.backend.stats.requests == 1


async def test_so_long_a_target_is_served_and_a_longer_one_is_414(stage: Stage) -> None:
    longest = "/" + "x" * 299
    async with stage(settings={"max_target_bytes": 300}) as scene:
        client = await scene.client()
        await client.send(request(longest))
        worker, got = await scene.worker.request()
        assert got.target == longest.encode()
        await worker.send(response())
        await client.response()
        await client.send(request(longest + "x"))
        check(await client.response(), 414, "http_request_error")
        await client.nothing_more()
        assert scene.proxy.backend.stats.requests == 1


async def test_a_target_that_goes_on_beyond_its_limit_is_414_before_it_ends(stage: Stage) -> None:
    async with stage(settings={"max_target_bytes": 300, "max_header_bytes": 1024}) as scene:
        client = await scene.client()
        await client.send(b"GET /" + b"x" * 1100)  # longer than a whole head may be
        check(await client.response(), 414, "http_request_error")
        await client.nothing_more()


# --- memory for sending again

HALF = 40_000
TOTAL = 64_000


async def sent(scene: Scene) -> tuple[Wire, Wire, ScriptedWorker, Request]:
    """Let a client send a body; return both ends, the worker, and what it got."""
    client = await scene.client()
    await client.send(request(method="PUT", body=b"x" * HALF))
    chosen = await scene.chosen()
    worker, got = await chosen.request()
    return client, worker, chosen, got


async def answer(scene: Scene, client: Wire) -> None:
    """Answer the request that comes again."""
    worker, got = await (await scene.chosen()).request()
    assert got.body == b"x" * HALF
    await worker.send(response(b"again", "Connection: close"))  # the next one is a new one, too
    assert (await client.response()).body == b"again"


@pytest.mark.parametrize("way", ["answered", "client gone"])
async def test_bodies_beyond_the_memory_for_all_are_not_sent_again(stage: Stage, way: str) -> None:
    async with stage(workers=4, maxInFlight=1, settings={"replay_memory_bytes": TOTAL}) as scene:
        first, first_worker, _, _ = await sent(scene)
        second, second_worker, _, got = await sent(scene)
        assert got.body == b"x" * HALF  # it is sent, whole, all the same
        second_worker.close()
        check(await second.response(), 502, "connection_terminated")
        # The first one is kept, and when it is over, another one can be.
        first_worker.close()
        if way == "answered":
            await answer(scene, first)
        else:
            await (await scene.chosen()).request()
            first.close()
            await scene.in_flight(0)
        third, third_worker, _, _ = await sent(scene)
        third_worker.close()
        await answer(scene, third)
