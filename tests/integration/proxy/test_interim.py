"""What comes before and between: 100-continue, interim responses, streams passed on at once."""

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import chunked, request, response

EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


async def test_a_client_that_expects_100_gets_it_before_a_worker_is_occupied(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", "Content-Length: 5", "Expect: 100-continue", method="POST")
        await client.send(head)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert scene.pool.in_flight == 0
        await client.send(b"hello")
        worker, got = await scene.worker.request()
        assert (got.body, got.get(b"expect")) == (b"hello", None)
        await worker.send(response())
        assert (await client.response()).interim == []


async def test_no_100_if_the_body_is_there_already(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Expect: 100-Continue", method="POST", body=b"hello"))
        worker, got = await scene.worker.request()
        assert got.body == b"hello"
        await worker.send(response())
        assert (await client.response()).interim == []


async def test_an_http_1_0_client_gets_no_100(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Content-Length: 5", "Expect: 100-continue")
        await client.send(request("/", *lines, method="POST", version="HTTP/1.0"))
        await client.send(b"hello")
        worker, _ = await scene.worker.request()
        await worker.send(response())
        assert (await client.response()).interim == []


async def test_a_100_of_the_worker_is_not_passed_on(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"hello"))
        worker, _ = await scene.worker.request()
        await worker.send(b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"done"))
        answer = await client.response()
        assert (answer.interim, answer.body) == ([], b"done")


async def test_early_hints_are_passed_on_at_once(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        for _ in range(3):
            await worker.send(EARLY_HINTS)
            hints = await client.until(b"\r\n\r\n")
            assert hints.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n")
        await worker.send(response(b"done"))
        assert (await client.response()).body == b"done"


async def test_early_hints_and_the_response_may_come_together(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        both = EARLY_HINTS + EARLY_HINTS + response(b"done")
        await worker.send(both[:60])
        await worker.send(both[60:])
        answer = await client.response()
        assert [hint.status for hint in answer.interim] == [103, 103]
        assert answer.body == b"done"


async def test_an_http_1_0_client_gets_no_early_hints(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(version="HTTP/1.0"))
        worker, _ = await scene.worker.request()
        await worker.send(EARLY_HINTS + response(b"done"))
        answer = await client.response()
        assert (answer.interim, answer.body) == ([], b"done")


async def test_a_flood_of_interim_responses_is_cut(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(EARLY_HINTS * 1000)
        answer = await client.response()
        assert answer.status == 502
        assert len(answer.interim) < 100
        await worker.gone()


@pytest.mark.parametrize("chunks", [True, False])
async def test_each_event_of_a_stream_is_passed_on_before_the_next(
    stage: Stage, chunks: bool
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        framing = ["Transfer-Encoding: chunked"] if chunks else []
        await worker.send(response(None, "Content-Type: text/event-stream", *framing))
        head = await client.response_head()
        assert head.get(b"content-type") == b"text/event-stream"
        for number in range(20):
            event = b"data: %d\n\n" % number
            await worker.send(chunked(event)[:-5] if chunks else event)
            assert await client.chunk() == event
        await worker.send(chunked()) if chunks else worker.close()
        assert await client.chunk() == b""


async def test_each_part_of_an_upload_is_passed_on_once_the_first_64_kib_are(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        size = 65536 + 20 * 7
        await client.send(request("/", f"Content-Length: {size}", method="POST") + b"x" * 65536)
        worker = await scene.worker.connection()
        await worker.request_head()
        await worker.exactly(65536)
        for number in range(20):
            part = b"part %02d" % number
            await client.send(part)
            assert await worker.exactly(7) == part
        await worker.send(response())
        assert (await client.response()).status == 200
