"""Requests that are refused: which status, with a clean end, and no worker sees them."""

import asyncio

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import request, response
from tests.integration.waiting import eventually

GET = "GET / HTTP/1.1\r\n"
HOST = "Host: a\r\n"
MALFORMED = [
    "GET /\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    GET + HOST + HOST + "\r\n",
    GET + HOST + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    GET + HOST + "Content-Length: +1\r\n\r\nx",
    GET + HOST + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET + HOST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET + HOST + "Transfer-Encoding: chunked, gzip\r\n\r\n",
    "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET + HOST + "X-A : 1\r\n\r\n",
    GET + HOST + "X-A: 1\r\n folded\r\n\r\n",
    GET + HOST + "X-A: 1\rX-B: 2\r\n\r\n",
    GET + HOST + "X-A: \0\r\n\r\n",
    GET + "Host: a/b\r\n\r\n",
    "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "\x16\x03\x01\x02\r\n\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED)
async def test_400_for_what_is_no_request(stage: Stage, raw: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(raw.encode("latin-1"))
        answer = await client.response()
        check(answer, 400, "http_request_error")
        assert answer.get(b"connection") == b"close"
        await client.nothing_more()
        assert scene.worker.accepted == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (GET + HOST + "Expect: tea\r\n\r\n", 417),
        (GET + HOST + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (GET + HOST + "X-A: " + "x" * 40_000 + "\r\n\r\n", 431),
        (GET + HOST + "X-A: " + "x" * 40_000, 431),
        ("GET /" + "x" * 40_000, 414),
    ],
)
async def test_other_statuses_for_other_reasons(stage: Stage, raw: str, status: int) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(raw.encode())
        check(await client.response(), status, "http_request_error")
        await client.nothing_more()
        assert scene.worker.accepted == 0


@pytest.mark.parametrize("body", [b"zz\r\n", b"1\r\nxy\r\n", b"-1\r\n", b"1\nx\r\n", b"f" * 300])
async def test_400_for_a_malformed_chunk(stage: Stage, body: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Transfer-Encoding: chunked", method="POST") + body)
        check(await client.response(), 400, "http_request_error")
        await client.nothing_more()
        assert scene.worker.accepted == 0


async def test_a_body_that_turns_bad_on_the_way_never_ends_well(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        good = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        await client.send(request("/", "Transfer-Encoding: chunked", method="POST") + good)
        worker = await scene.worker.connection()
        await worker.request_head()
        await client.send(b"zz\r\n")
        check(await client.response(), 400, "http_request_error")
        await worker.gone()
        assert scene.healthy()


@pytest.mark.parametrize("begun", [True, False])
async def test_408_if_the_head_does_not_come_in_time(stage: Stage, begun: bool) -> None:
    settings = {"client_header_timeout": 0.2, "client_idle_timeout": 0.3}
    async with stage(settings=settings) as scene:
        client = await scene.client()
        if not begun:  # nothing is owed to one who asked nothing
            await client.nothing_more()
            return
        await client.send(b"GET / HTTP/1.1\r\n")
        downstream = await scene.downstream()
        await eventually(lambda: downstream._buffer)
        await client.send(b"Host: a\r\n")
        check(await client.response(), 408, "http_request_error")
        await client.nothing_more()


async def test_408_if_the_body_stops_coming(stage: Stage) -> None:
    async with stage(settings={"client_body_timeout": 0.2}) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 10", method="POST") + b"x")
        check(await client.response(), 408, "http_request_error")
        await client.nothing_more()
        assert scene.worker.accepted == 0


async def test_408_if_the_body_stops_coming_half_way_to_the_worker(stage: Stage) -> None:
    async with stage(settings={"client_body_timeout": 0.2}) as scene:
        client = await scene.client()
        await client.send(request("/", "Content-Length: 70000", method="POST") + b"x" * 65536)
        worker = await scene.worker.connection()
        check(await client.response(), 408, "http_request_error")
        await worker.gone()
        assert scene.healthy()


@pytest.mark.parametrize("framing", ["Content-Length: 1000001", "Transfer-Encoding: chunked"])
async def test_413_for_a_body_that_is_too_long_can_be_read_while_sending(
    stage: Stage, framing: str
) -> None:
    async with stage(settings={"max_body_bytes": 1_000_000}) as scene:
        client = await scene.client()
        await client.send(request("/", framing, method="POST"))
        if "chunked" in framing:
            await client.send(b"f4241\r\n" + b"x" * 1_000_001)
        check(await client.response(), 413, "http_request_error")
        for _ in range(20):  # the client did not look, and goes on
            await client.send(b"x" * 10_000)
        await client.nothing_more()


async def test_no_100_for_a_body_that_is_too_long(stage: Stage) -> None:
    async with stage(settings={"max_body_bytes": 10}) as scene:
        client = await scene.client()
        lines = ("Content-Length: 11", "Expect: 100-continue")
        await client.send(request("/", *lines, method="POST"))
        answer = await client.response()
        check(answer, 413, "http_request_error")
        assert answer.interim == []


async def test_408_though_a_part_of_the_head_comes_again_and_again(stage: Stage) -> None:
    async with stage(settings={"client_header_timeout": 0.3}) as scene:
        client = await scene.client()
        await client.send(b"GET / HTTP/1.1\r\nX-Slow: ")

        async def drip() -> None:
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.02)

        dripping = scene.background(drip())
        check(await client.response(), 408, "http_request_error")
        dripping.cancel()
        await client.gone()


async def test_a_body_that_comes_slowly_but_comes_is_no_408(stage: Stage) -> None:
    async with stage(settings={"client_body_timeout": 30}) as scene:
        client = await scene.client()
        downstream = await scene.downstream()
        await client.send(request("/", "Content-Length: 5", method="POST"))
        await eventually(lambda: downstream._decoder)
        for _ in range(4):
            since = downstream._since = downstream._since - 29  # as if so much time had passed
            await client.send(b"x")
            await eventually(lambda: downstream._since > since + 1)  # noqa: B023 - called here
        await client.send(b"x")
        worker, got = await scene.worker.request()
        assert got.body == b"x" * 5
        await worker.send(response())
        assert (await client.response()).status == 200
