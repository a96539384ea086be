"""The answers in a worker's place: 502, 503, 504, and that the client can go on after them."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import Wire, request, response
from tests.integration.proxy.workers import ScriptedWorker
from tests.integration.waiting import eventually


async def healthy_after(client: Wire, worker: Wire | None, scene_worker: ScriptedWorker) -> None:
    """See that the client's connection is good for another request."""
    await client.send(request("/after"))
    worker = worker or await scene_worker.connection()
    assert (await worker.request()).target == b"/after"
    await worker.send(response(b"after"))
    assert (await client.response()).body == b"after"


async def test_502_if_the_worker_dies(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method="POST", body=b"once"))
        worker, _ = await scene.worker.request()
        worker.close()
        check(await client.response(), 502, "connection_terminated")
        await healthy_after(client, None, scene.worker)


GARBLED = [
    b"garbage\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 70_000,
]


@pytest.mark.parametrize("raw", GARBLED)
async def test_502_if_the_worker_speaks_no_http(stage: Stage, raw: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(raw)
        answer = await client.response()
        check(answer, 502, "http_protocol_error")
        assert answer.get(b"set-cookie") is None
        await worker.gone()
        await healthy_after(client, None, scene.worker)


async def test_503_if_the_queue_is_full(stage: Stage) -> None:
    async with stage(maxInFlight=1, queue={"size": 1}) as scene:
        first, second, third = [await scene.client() for _ in range(3)]
        await first.send(request("/1"))
        worker, _ = await scene.worker.request()
        await second.send(request("/2"))
        await scene.queued(1)
        await third.send(request("/3", method="POST", body=b"x" * 100))
        check(await third.response(), 503, "http_request_denied")
        await worker.send(response())
        await first.response()
        assert (await worker.request()).target == b"/2"
        await worker.send(response())
        await second.response()
        await healthy_after(third, worker, scene.worker)


async def test_503_for_a_long_upload_can_be_read_while_sending(stage: Stage) -> None:
    async with stage(maxInFlight=1, queue={"size": 0}) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request())
        worker, _ = await scene.worker.request()
        await second.send(request("/", "Content-Length: 999999", method="POST") + b"x" * 65536)
        check(await second.response(), 503, "http_request_denied")
        await second.send(b"x" * 500_000)
        await second.nothing_more()
        await worker.send(response())
        await first.response()


async def test_503_after_the_longest_wait(stage: Stage) -> None:
    async with stage(maxInFlight=1, queue={"timeout": "100ms"}) as scene:
        first, second = await scene.client(), await scene.client()
        await first.send(request())
        worker, _ = await scene.worker.request()
        await second.send(request())
        check(await second.response(), 503, "http_request_denied")
        await worker.send(response())
        await first.response()
        await healthy_after(second, worker, scene.worker)


async def test_503_if_there_is_no_worker(stage: Stage) -> None:
    async with stage(queue={"timeout": "100ms"}) as scene:
        await scene.worker.refuse()
        client = await scene.client()
        await client.send(request())
        check(await client.response(), 503, "destination_unavailable")


async def test_504_if_the_first_byte_does_not_come(stage: Stage) -> None:
    async with stage(timeouts={"firstByte": "300ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        check(await client.response(), 504, "http_response_timeout")
        await worker.gone()
        await healthy_after(client, None, scene.worker)


@pytest.mark.parametrize("state", ["running", "queued", "uploading"])
async def test_504_if_the_request_takes_too_long(stage: Stage, state: str) -> None:
    async with stage(maxInFlight=1, timeouts={"request": "500ms"}) as scene:
        client = await scene.client()
        if state == "uploading":
            head = request("/", "Content-Length: 999999", method="POST")
            await client.send(head + b"x" * 65536)
            worker = await scene.worker.connection()
        else:
            await client.send(request())
            worker, _ = await scene.worker.request()
        clients = [client]
        if state == "queued":
            clients.append(await scene.client())
            await clients[1].send(request())
            await scene.queued(1)
        for late in clients:
            check(await late.response(), 504, "http_response_timeout")
        await worker.gone()


async def test_504_if_the_worker_does_not_read(stage: Stage) -> None:
    workers = [ScriptedWorker(receive_buffer=4096)]
    async with stage(workers, timeouts={"betweenBytes": "200ms"}) as scene:
        client = await scene.client()
        sending = scene.background(client.send(request(method="POST", body=bytes(9_000_000))))
        check(await client.response(), 504, "connection_write_timeout")
        await scene.in_flight(0)
        client.reset()
        sending.cancel()


async def test_head_gets_our_answer_without_its_body(stage: Stage) -> None:
    async with stage(timeouts={"firstByte": "300ms"}) as scene:
        client = await scene.client()
        await client.send(request(method="HEAD"))
        await scene.worker.request()
        answer = await client.response(b"HEAD")
        assert (answer.status, answer.body) == (504, b"")
        assert int(answer.get(b"content-length") or b"") > 0
        await healthy_after(client, None, scene.worker)


async def test_an_http_1_0_client_that_keeps_alive_is_told_the_end_of_our_answer(
    stage: Stage,
) -> None:
    async with stage(maxInFlight=1, queue={"size": 0}) as scene:
        first, old = await scene.client(), await scene.client()
        await first.send(request())
        worker, _ = await scene.worker.request()
        await old.send(request("/", "Connection: keep-alive", version="HTTP/1.0"))
        answer = await old.response()
        check(answer, 503, "http_request_denied")
        if answer.get(b"connection") == b"keep-alive":
            await old.send(request("/", "Connection: keep-alive", version="HTTP/1.0"))
            check(await old.response(), 503, "http_request_denied")
        else:  # HTTP/1.0 needs to be told, or waits
            await old.nothing_more()
        await worker.send(response())
        await first.response()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let the process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as lowest:
        free = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_503_if_the_balancer_has_no_socket_for_the_worker(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await scene.accepted(1)
        with no_more_files():
            await client.send(request())
            check(await client.response(), 503, "proxy_internal_error")
        assert scene.healthy()
        assert scene.endpoint().phase.value == "ready"
        await healthy_after(client, None, scene.worker)


async def test_without_a_socket_for_a_client_accepting_pauses(stage: Stage) -> None:
    async with stage() as scene:
        first = await scene.client()
        await scene.accepted(1)
        with socket.socket() as sock:
            with no_more_files():
                late = Wire(sock)
                await asyncio.get_running_loop().sock_connect(sock, scene.address)
                await late.send(request("/late"))
                await first.send(b"GET ")  # read after the accept was tried
                downstream = await scene.downstream()
                await eventually(lambda: downstream._buffer)
                assert len(scene.proxy.downstreams) == 1
            worker, got = await scene.worker.request()
            assert got.target == b"/late"
            await worker.send(response(b"late"))
            assert (await late.response()).body == b"late"
