"""Where a request goes that some workers have let down or refused, and for how long."""

from time import monotonic

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import Request, Wire, request, response


async def test_a_worker_that_was_tried_is_left_alone_while_another_is_there(stage: Stage) -> None:
    async with stage(workers=2, maxInFlight=1) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request("/long"))
        busy = await scene.chosen()
        running, _ = await busy.request()
        await second.send(request("/short"))
        died, _ = await (await scene.chosen()).request()
        died.close()  # the connection alone: its process is well
        await scene.queued(1)
        await running.send(response(b"long"))
        assert (await first.response()).body == b"long"
        assert (await running.request()).target == b"/short"
        await running.send(response(b"short"))
        assert (await second.response()).body == b"short"


async def test_a_worker_that_was_not_tried_comes_first(stage: Stage) -> None:
    async with stage(workers=2, maxInFlight=2) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request("/long"))
        busy = await scene.chosen()
        running, _ = await busy.request()
        await second.send(request("/short"))
        died, _ = await (await scene.chosen()).request()
        died.close()
        again, got = await busy.request()  # though it has more to do
        assert got.target == b"/short"
        await again.send(response())
        await second.response()
        await running.send(response())
        await first.response()


async def test_a_worker_that_always_refuses_is_asked_for_as_long_as_a_request_may_wait(
    stage: Stage,
) -> None:
    retry = {"refusedStatuses": [503]}
    async with stage(retry=retry, queue={"timeout": "500ms"}) as scene:
        client = await scene.client()

        async def refuse(wire: Wire, got: Request) -> None:
            await wire.send(response(b"full", "X-Worker: it", status="503 Service Unavailable"))

        scene.worker.serve(refuse)
        began = monotonic()
        await client.send(request())
        check(await client.response(), 503, "http_request_denied")
        assert scene.proxy.backend.stats.requests == 1
        assert monotonic() - began >= 0.4  # it was asked again for as long as a request may wait
        assert scene.healthy()


async def test_the_wait_does_not_begin_anew_with_each_try(stage: Stage) -> None:
    async with stage(workers=1, maxInFlight=1, queue={"timeout": "600ms"}) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request("/first"))
        running, _ = await scene.worker.request()
        await second.send(request("/second"))
        await scene.queued(1)
        (waiter,) = scene.pool._waiters
        allowed = waiter.deadline - waiter.since
        assert 0.5 < allowed < 0.601
        await scene.worker.refuse()
        running.close()  # nobody listens any more: both wait, the first for the first time
        await scene.queued(2)
        for waiter in scene.pool._waiters:
            assert waiter.deadline - waiter.since <= allowed + 0.001
        check(await second.response(), 503, "destination_unavailable")
        check(await first.response(), 503, "destination_unavailable")
        scene.worker.listen()
