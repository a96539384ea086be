"""What happens at the edges of the sockets: lost peers, files that run out, closes with data."""

import socket

import pytest

from app.balancing.lease import Outcome
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.test_failures import no_more_files
from tests.integration.proxy.wire import request, response
from tests.integration.waiting import eventually

CLIENTS, WORKERS = 30, 10
"""Seconds of silence after which a peer is asked whether it is still there."""


def keep_alive(sock: socket.socket) -> tuple[int, int, int, int]:
    """Return whether the kernel asks a silent peer, after how long, how often, how many times."""
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )


async def test_peers_that_vanish_are_asked_for(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        downstream = await scene.downstream()
        assert keep_alive(downstream.transport.get_extra_info("socket")) == (1, CLIENTS, 5, 3)
        await client.send(request())
        worker, _ = await scene.worker.request()
        (upstream,) = scene.proxy.backend.connections._open
        sock = upstream.transport.get_extra_info("socket")
        assert keep_alive(sock) == (1, WORKERS, 5, 3)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
        await worker.send(response())
        await client.response()


async def test_an_early_answer_is_heard_though_the_worker_closes_on_what_we_send(
    stage: Stage,
) -> None:
    async with stage() as scene:
        client = await scene.client()
        head = request("/", "Content-Length: 1000000", method="POST")
        await client.send(head + bytes(100_000))
        worker = await scene.worker.connection()
        await worker.request_head()
        exchange = (await scene.downstream()).exchange
        assert exchange is not None
        # In one turn of the loop: an answer, a reset since bytes are unread, and a write of ours
        # that fails by it. A failed write ends the loop's reading; the answer is in the kernel.
        assert worker.sock.send(response(b"too long", status="413 Content Too Large"))
        worker.close()
        exchange.request_data(bytes(1000))
        answer = await client.response()
        assert (answer.status, answer.body) == (413, b"too long")
        client.close()
        await scene.empty()
        assert scene.healthy()


async def test_an_idle_connection_makes_room_for_one_that_is_needed(stage: Stage) -> None:
    async with stage(workers=2, maxInFlight=1) as scene:
        client = await scene.client()
        await client.send(request())
        chosen = await scene.chosen()
        worker, _ = await chosen.request()
        await worker.send(response(b"first"))
        await client.response()
        (other,) = (worker for worker in scene.workers if worker is not chosen)
        with other.not_accepting(), no_more_files():  # its files are ours, in this process
            await client.send(request())  # to the worker that was not chosen yet
            connections = scene.proxy.backend.connections
            await eventually(lambda: scene.pool.in_flight and connections.open == 1)
            assert scene.proxy.backend.connections._idle[scene.endpoint(chosen)] == []
        worker, _ = await other.request()
        await worker.send(response(b"second"))
        assert (await client.response()).body == b"second"
        assert scene.proxy.backend.stats.retries == {}
        assert scene.healthy()


async def test_attempts_are_told(stage: Stage) -> None:
    async with stage(workers=2) as scene:
        client = await scene.client()
        await client.send(request())
        chosen = await scene.chosen()
        worker, _ = await chosen.request()
        worker.close()
        second, _ = await (await scene.chosen()).request()
        await second.send(response())
        answer = await client.response()
        assert answer.get(b"x-leastwise-attempts") == b"2"
        assert scene.proxy.backend.stats.retries == {Outcome.DIED: 1}


@pytest.mark.parametrize("told", [True, False])
async def test_the_way_can_be_kept_back(stage: Stage, told: bool) -> None:
    async with stage(settings={"timing_headers": told}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response())
        answer = await client.response()
        name = scene.worker.address.encode()
        assert answer.get(b"x-leastwise-worker") == (name if told else None)
        assert answer.get(b"x-leastwise-attempts") == (b"1" if told else None)
        timing = answer.get(b"server-timing")
        assert (timing is not None and timing.startswith(b"queue;dur=")) is told


async def test_a_request_that_lies_unread_when_the_drain_begins_is_served(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await scene.accepted(1)
        # In one turn of the loop: the bytes are in the kernel, and the loop has not read them.
        client.sock.send(request("/late"))
        scene.proxy.drain()
        worker, got = await scene.worker.request()
        assert got.target == b"/late"
        await worker.send(response(b"late"))
        answer = await client.response()
        assert answer.body == b"late"
        assert answer.get(b"connection") == b"close"
