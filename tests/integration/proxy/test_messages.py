"""Methods and bodies: what goes in at one end comes out at the other."""

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import chunked, request, response

MIB = 1 << 20


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "get", "!#"]
)
async def test_any_method_reaches_the_worker(stage: Stage, method: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/a?b=c", method=method))
        worker, got = await scene.worker.request()
        assert (got.method, got.target, got.minor) == (method.encode(), b"/a?b=c", 1)
        await worker.send(response(b"hello"))
        answer = await client.response()
        assert (answer.status, answer.reason, answer.body) == (200, b"OK", b"hello")


@pytest.mark.parametrize("size", [0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 3 * MIB])
async def test_a_request_body_by_length(stage: Stage, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    async with stage() as scene:
        client = await scene.client()
        sending = scene.background(client.send(request(method="POST", body=body)))
        worker, got = await scene.worker.request()
        assert got.get(b"content-length") == b"%d" % size
        assert got.body == body
        await sending
        await worker.send(response(b"done"))
        assert (await client.response()).body == b"done"


async def test_a_chunked_request_body_with_trailers(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST")
        await client.send(head + chunked(b"one", b"two" * 1000, trailers=b"X-Sum: 7\r\n"))
        worker, got = await scene.worker.request()
        assert got.body == b"one" + b"two" * 1000
        assert got.trailers == [(b"x-sum", b"7")]
        await worker.send(response())
        assert (await client.response()).status == 200


async def test_chunk_extensions_and_forbidden_trailers_are_not_passed_on(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(
            request("/", "Transfer-Encoding: chunked", method="POST")
            + b'003;a="b"\r\none\r\n0;last\r\nContent-Length: 9\r\nX-Sum: 7\r\n\r\n'
        )
        worker, got = await scene.worker.request()
        assert (got.body, got.trailers) == (b"one", [(b"x-sum", b"7")])
        await worker.send(response())
        await client.response()


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3 * MIB])
async def test_a_response_body_by_length(stage: Stage, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        sending = scene.background(worker.send(response(body)))
        answer = await client.response()
        await sending
        assert answer.get(b"content-length") == b"%d" % size
        assert answer.body == body


async def test_a_chunked_response_body_with_trailers(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        head = response(None, "Transfer-Encoding: chunked", "Trailer: X-Sum")
        await worker.send(head + chunked(b"one", b"two", trailers=b"X-Sum: 6\r\n"))
        answer = await client.response()
        assert answer.chunked
        assert (answer.body, answer.trailers) == (b"onetwo", [(b"x-sum", b"6")])


async def test_a_response_body_until_close_is_chunked_for_a_1_1_client(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None) + b"until the ")
        await worker.send(b"end")
        worker.close()
        answer = await client.response()
        assert answer.chunked
        assert answer.body == b"until the end"
        await client.send(request())  # and the client's connection lives on
        worker, _ = await scene.worker.request()
        await worker.send(response(b"again"))
        assert (await client.response()).body == b"again"


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_the_response_to_head_has_no_body(stage: Stage, framing: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method="HEAD"))
        worker, got = await scene.worker.request()
        assert got.method == b"HEAD"
        await worker.send(response(None, framing))
        answer = await client.response(b"HEAD")
        length = answer.get(b"content-length")
        assert length == (b"5" if framing.startswith("Content") else None)
        await client.send(request())  # both connections are in step
        assert (await worker.request()).method == b"GET"
        await worker.send(response(b"hello"))
        assert (await client.response()).body == b"hello"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_status_without_a_body(stage: Stage, status: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None, "ETag: x", status=status))
        answer = await client.response()
        assert (answer.status, answer.reason) == (int(status[:3]), status[4:].encode())
        assert answer.get(b"etag") == b"x"
        assert not answer.chunked
        await client.send(request())
        await worker.request()
        await worker.send(response(b"hello"))
        assert (await client.response()).body == b"hello"


async def test_the_length_that_a_304_tells_is_kept_and_that_of_a_204_is_not(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(None, "Content-Length: 5", status="304 Not Modified"))
        assert (await client.response()).get(b"content-length") == b"5"
        await client.send(request())
        await worker.request()
        await worker.send(response(None, "Content-Length: 0", status="204 No Content"))
        assert (await client.response()).get(b"content-length") is None


async def test_a_reason_phrase_may_be_empty_or_odd(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        for reason in ("", "Very \xe4 odd: (really)"):
            await client.send(request())
            worker, _ = await scene.worker.request()
            await worker.send(response(b"", "Connection: close", status=f"299 {reason}"))
            answer = await client.response()
            assert (answer.status, answer.reason) == (299, reason.encode("latin-1"))


async def test_a_get_may_have_a_body(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(body=b"query"))
        worker, got = await scene.worker.request()
        assert (got.method, got.body) == (b"GET", b"query")
        await worker.send(response())
        await client.response()
