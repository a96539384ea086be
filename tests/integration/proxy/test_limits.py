"""Limits on clients: how many, how idle, how slow; and the end of listening."""

import asyncio

import pytest

from app.proxy.downstream import Downstream
from tests.integration.proxy.harness import Scene, Stage, hold_back, narrow
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import Wire, chunked, request, response
from tests.integration.waiting import eventually


async def ask(scene: Scene, client: Wire, worker: Wire | None = None) -> Wire:
    """Make one round trip; return the worker's connection."""
    await client.send(request())
    worker = worker or await scene.worker.connection()
    await worker.request()
    await worker.send(response(b"ok"))
    assert (await client.response()).body == b"ok"
    return worker


async def read_slowly(client: Wire, downstream: Downstream, pause: float) -> bytes:
    """Read a little again and again, with a pause of so many seconds between, as it seems."""
    got = b""
    for _ in range(4):
        while downstream.transport.get_write_buffer_size() >= downstream._unsent:
            got += await client.exactly(1000)
        assert downstream.expire(downstream._since + pause) is not None
        assert not downstream.transport.is_closing()
    return got


async def test_at_the_limit_of_connections_others_wait_and_get_their_turn(stage: Stage) -> None:
    async with stage(settings={"max_connections": 2}) as scene:
        clients = [await scene.client() for _ in range(6)]
        await scene.accepted(2)
        worker = await ask(scene, clients[0])
        await ask(scene, clients[1], worker)
        for client in clients[2:]:
            await client.send(request())
        assert len(scene.proxy.downstreams) == 2
        assert scene.proxy.backend.stats.requests == 2
        for gone, client in zip(clients, clients[2:], strict=False):
            gone.close()
            await worker.request()
            await worker.send(response(b"late"))
            assert (await client.response()).body == b"late"
            assert len(scene.proxy.downstreams) == 2


async def test_the_second_of_two_allowed_clients_need_not_wait_for_the_first(stage: Stage) -> None:
    async with stage(settings={"max_connections": 2}) as scene:
        worker = None
        for _ in range(20):
            first, second = await asyncio.gather(scene.client(), scene.client())
            worker = await ask(scene, second, worker)
            await ask(scene, first, worker)
            first.close()
            second.close()


async def test_a_client_that_is_gone_before_it_is_accepted_takes_no_room(stage: Stage) -> None:
    settings = {"max_connections": 1, "trusted_networks": "127.0.0.0/8"}
    async with stage(settings=settings) as scene:
        first = await scene.client()
        await scene.accepted(1)
        for _ in range(5):  # they wait in the kernel's backlog
            (await scene.client()).reset()
        last = await scene.client()
        worker = await ask(scene, first)
        first.close()
        await ask(scene, last, worker)


async def test_a_client_may_be_idle_for_so_long(stage: Stage) -> None:
    async with stage(settings={"client_idle_timeout": 0.5}) as scene:
        client = await scene.client()
        worker = await ask(scene, client)
        await ask(scene, client, worker)
        await client.nothing_more()


async def test_a_running_request_is_not_idle(stage: Stage) -> None:
    names = ["client_idle_timeout", "client_header_timeout", "client_body_timeout"]
    async with stage(settings=dict.fromkeys(names, 0.3)) as scene:
        busy = await scene.client()
        await busy.send(request())
        worker, _ = await scene.worker.request()
        for _ in range(2):
            idle = await scene.client()
            await idle.nothing_more()
        await worker.send(response(b"done"))
        assert (await busy.response()).body == b"done"


async def test_a_client_that_does_not_take_its_response_is_cut_off(stage: Stage) -> None:
    async with stage(settings={"client_body_timeout": 0.2}) as scene:
        client = await scene.client(receive_buffer=4096)
        await client.send(request())
        worker, _ = await scene.worker.request()
        sending = scene.background(worker.send(response(bytes(20_000_000))))
        await scene.accepted(0)
        await worker.gone()
        sending.cancel()
        assert scene.healthy()


@pytest.mark.parametrize("how", ["Connection: close", "idle", "FIN"])
async def test_a_client_that_does_not_take_the_end_of_its_response_is_cut_off(
    stage: Stage, how: str
) -> None:
    settings = {"client_body_timeout": 0.2, "client_idle_timeout": 0.3 if how == "idle" else 60}
    async with stage(settings=settings) as scene:
        client = await scene.client(receive_buffer=4096)
        downstream = await scene.downstream()
        narrow(downstream)
        await client.send(request("/", *([how] if ":" in how else [])))
        worker, _ = await scene.worker.request()
        await worker.send(response(bytes(200_000)))  # not so much that it holds the worker back
        await scene.in_flight(0)
        if how == "FIN":
            client.finish()
        await scene.accepted(0)


async def test_a_slow_client_is_not_cut_off_while_it_moves(stage: Stage) -> None:
    async with stage(settings={"client_body_timeout": 30}) as scene:
        client = await scene.client(receive_buffer=4096)
        downstream = await scene.downstream()
        narrow(downstream)
        await client.send(request("/", "Connection: close"))
        worker, _ = await scene.worker.request()
        body = bytes(range(256)) * 20_000
        sending = scene.background(worker.send(response(body)))
        await eventually(lambda: downstream.blocked)
        await client.response_head()
        got = await read_slowly(client, downstream, 31)
        got += await client.exactly(len(body) - len(got))
        assert got == body
        await sending


async def test_after_the_end_of_listening_those_who_are_there_are_served(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await scene.accepted(1)
        listener = scene.proxy.on_room.__self__  # type: ignore[attr-defined]
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await scene.client()
        await ask(scene, client)
        assert listener.ports == []


async def test_a_drain_ends_idle_clients_now_and_the_others_with_their_answer(stage: Stage) -> None:
    async with stage() as scene:
        idle, busy, uploading = [await scene.client() for _ in range(3)]
        await busy.send(request("/busy"))
        worker, _ = await scene.worker.request()
        await uploading.send(request("/up", "Content-Length: 2", method="POST") + b"x")
        await scene.accepted(3)
        await eventually(lambda: sum(d.exchange is not None for d in scene.proxy.downstreams) == 2)
        scene.balancer.stop()
        await idle.nothing_more()
        await worker.send(response(b"busy"))
        answer = await busy.response()
        assert (answer.body, answer.get(b"connection")) == (b"busy", b"close")
        await busy.nothing_more()
        await uploading.send(b"y")
        assert (await worker.request()).body == b"xy"
        await worker.send(response(b"up"))
        assert (await uploading.response()).get(b"connection") == b"close"


async def test_clients_that_are_there_when_the_time_is_over_are_cut_off(stage: Stage) -> None:
    async with stage(maxInFlight=1, settings={"drain_timeout": 0.1}) as scene:
        first, paused = await scene.client(), await scene.client()
        await first.send(request())
        worker, _ = await scene.worker.request()
        head = request("/", "Content-Length: 99999", method="POST")
        await paused.send(head + b"x" * 65536)
        await scene.queued(1)
        scene.balancer.stop()
        for client in (first, paused):
            await client.gone()
        await worker.gone()


async def test_a_drain_does_not_cut_off_an_answer_to_one_who_is_still_sending(stage: Stage) -> None:
    async with stage(settings={"max_body_bytes": 10}) as scene:
        client, idle = await scene.client(), await scene.client()
        await client.send(request("/", "Content-Length: 999999", method="POST"))
        await eventually(lambda: scene.proxy.backend.stats.answers[413])
        scene.balancer.stop()
        await idle.nothing_more()
        for _ in range(3):  # the second would fail after a reset
            await client.send(b"x" * 100_000)
        assert (await client.response()).status == 413
        await client.nothing_more()


async def test_an_early_answer_may_be_taken_slowly(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client(receive_buffer=4096)
        downstream = await scene.downstream()
        narrow(downstream)
        await client.send(request("/", "Content-Length: 999999", method="PUT") + bytes(65536))
        worker = await scene.worker.connection()
        body = bytes(range(256)) * 1000
        await worker.send(response(body))
        await scene.in_flight(0)
        await client.response_head()
        got = await read_slowly(client, downstream, 3)
        assert got + await client.rest() == body


BEYOND = {
    "fields, at once": ([f"X-{n}: v" for n in range(9)], "/", False, 431),
    "fields, in pieces": ([f"X-{n}: v" for n in range(9)], "/", True, 431),
    "target, at once": ([], "/" + "x" * 256, False, 414),
    "target, in pieces": ([], "/" + "x" * 256, True, 414),
}


@pytest.mark.parametrize(("fields", "target", "split", "status"), BEYOND.values(), ids=BEYOND)
async def test_a_head_beyond_the_limits_is_refused_and_the_connection_closed(
    stage: Stage, fields: list[str], target: str, split: bool, status: int
) -> None:
    async with stage(settings={"max_headers": 8, "max_target_bytes": 256}) as scene:
        client = await scene.client()
        raw = request(target, *fields)
        if split:
            await client.send(raw[:20])
            downstream = await scene.downstream()
            await eventually(lambda: downstream._buffer)
            raw = raw[20:]
        await client.send(raw)
        check(await client.response(), status, "http_request_error")
        assert not await client.more()
        assert scene.worker.spoken == 0


async def test_what_goes_beyond_the_memory_of_all_is_sent_but_not_sent_again(stage: Stage) -> None:
    retry = {"nonIdempotent": True}
    async with stage(2, settings={"replay_memory_bytes": 1000}, retry=retry) as scene:
        large, small = await scene.client(), await scene.client()
        await large.send(request(method="POST", body=b"x" * 2000))
        first = await scene.chosen()
        holder, got = await first.request()
        assert got.body == b"x" * 2000
        assert scene.proxy.replays.held == 0
        await small.send(request(method="POST", body=b"y" * 900))
        other, got = await (await scene.chosen()).request()
        assert scene.proxy.replays.held == 900
        holder.close()  # it was not kept: the client is told
        check(await large.response(), 502, "connection_terminated")
        other.close()  # it was: it goes to the other worker
        again, got = await (await scene.chosen()).request()
        assert got.body == b"y" * 900
        await again.send(response(b"kept"))
        assert (await small.response()).body == b"kept"


async def test_a_head_at_the_limits_passes_whatever_its_body_holds(stage: Stage) -> None:
    async with stage(settings={"max_target_bytes": 256, "max_headers": 8}) as scene:
        lines, body = [f"X-{number}: {'v' * 100}" for number in range(6)], b"\n" * 5000
        client = await scene.client()
        await client.send(request("/" + "x" * 255, *lines, method="PUT", body=body))
        worker, got = await scene.worker.request()
        assert got.body == body
        await worker.send(response(b"ok"))
        assert (await client.response()).body == b"ok"


async def test_a_body_is_let_go_when_the_answer_begins(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method="PUT", body=b"y" * 600))
        worker, _ = await scene.worker.request()
        assert scene.proxy.replays.held == 600
        await worker.send(response(None, "Transfer-Encoding: chunked"))
        await eventually(lambda: scene.proxy.replays.held == 0)
        await worker.send(chunked(b"ok"))
        head = await client.response_head()
        assert head.chunked
        assert await client.chunk() == b"ok"


async def test_where_memory_is_full_an_upload_is_not_collected_but_sent(stage: Stage) -> None:
    """Nor is it read on while it waits for a slot."""
    async with stage(maxInFlight=1, settings={"replay_memory_bytes": 100}) as scene:
        busy, late = await scene.client(), await scene.client()
        await busy.send(request())
        worker, _ = await scene.worker.request()
        await late.send(request("/", "Content-Length: 5000000", method="PUT") + b"x" * 101)
        await scene.queued(1)
        (waiting,) = (d for d in scene.proxy.downstreams if d._decoder is not None)
        await hold_back(late, waiting)
        assert scene.proxy.replays.held < 1_000_000
        await worker.send(response(b"ok"))
        assert (await busy.response()).body == b"ok"
        await worker.request_head()
        await eventually(lambda: scene.proxy.replays.held == 0)
        late.reset()
        await worker.gone()


async def test_what_a_client_had_that_leaves_is_counted_no_more(stage: Stage) -> None:
    async with stage(maxInFlight=1) as scene:
        busy, uploading, waiting = [await scene.client() for _ in range(3)]
        await busy.send(request(method="PUT", body=b"x" * 100))
        worker, _ = await scene.worker.request()
        await uploading.send(request("/", "Content-Length: 50", method="PUT") + b"y" * 10)
        await waiting.send(request(method="PUT", body=b"z" * 1000))
        await eventually(lambda: scene.proxy.replays.held == 1110)
        uploading.reset()
        waiting.reset()
        await eventually(lambda: scene.proxy.replays.held == 100)
        busy.reset()
        await worker.gone()
        await eventually(lambda: scene.proxy.replays.held == 0)
