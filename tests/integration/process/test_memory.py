"""1 GiB each way against a slow peer: what the balancer holds of it stays flat.

The worker and the client are in the test's own process, so that standing still is exact. What lies
in the kernel's socket buffers is not the balancer's memory, and bounded by the kernel.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from time import monotonic
from typing import Any

import pytest

from tests.integration.process.harness import Balancer, Programs, free_host, until
from tests.integration.process.streams import Sink, SlowClient, SlowWorker, Source

GIB = 2**30
MIB = 2**20
MOST_GROWTH = 16 * MIB

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
FRAMINGS = {True: b"Transfer-Encoding: chunked\r\n", False: b"Content-Length: %d\r\n" % GIB}
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

by_framing = pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "content-length"])


class Transfer:
    """One body on its way through a balancer."""

    def __init__(self, balancer: Balancer, source: Source, sink: Sink) -> None:
        self._balancer = balancer
        self._source = source
        self._sink = sink
        self._before = balancer.forget_peak_memory()

    def growth(self) -> int:
        self._balancer.alive()
        return self._balancer.peak_memory() - self._before

    async def stands_still(self, most_growth: int = MOST_GROWTH) -> None:
        """Wait until nothing more goes in: every buffer on the way is full."""
        before, unchanged = -1, 0

        def look() -> bool:
            nonlocal before, unchanged
            unchanged = unchanged + 1 if self._source.sent == before else 0
            before = self._source.sent
            return unchanged == 10

        await until("the source is held back", look, pause=0.03)
        held = self._source.sent - self._sink.taken
        assert 0 < held < GIB // 4, f"{held / MIB:.0f} MiB are on their way"
        growth = self.growth()
        assert growth < most_growth, f"{growth / MIB:.1f} MiB at a standstill"

    def _has_taken_more(self, taken: int) -> bool:
        return self._sink.taken > taken

    async def goes_through(self, random: Random) -> None:
        """Let it flow, with pauses, to the end."""
        self._sink.allow(MIB)
        await self.stands_still()
        for _ in range(8):  # slowly
            self._sink.allow(random.randrange(64 * 1024, 4 * MIB))
            taken = self._sink.taken
            await until("some of it is taken", partial(self._has_taken_more, taken))
        await self.stands_still()
        began, taken = monotonic(), self._sink.taken
        self._sink.allow()
        await until("the body is through", lambda: self._sink.complete)
        rate = (self._sink.taken - taken) / (monotonic() - began) / MIB
        print(f"at full speed {rate:.0f} MiB/s, growth {self.growth() / MIB:.1f} MiB in all")
        assert (self._sink.taken, self._sink.wrong_at) == (GIB, None)
        assert self.growth() < MOST_GROWTH, f"{self.growth() / MIB:.1f} MiB in all"


@asynccontextmanager
async def between(
    balancer: Balancer, client: SlowClient, worker: SlowWorker, host: str, *, narrow: bool = False
) -> AsyncIterator[None]:
    """Listen as `worker` at `host`, and connect `client`; `narrow`: the kernel buffers little."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server((host, 8080))
    if narrow:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with await loop.create_server(lambda: worker, sock=listening):
        await loop.create_connection(lambda: client, "127.0.0.1", balancer.port)
        try:
            yield
        finally:
            client.transport.abort()
            worker.transport.abort()


def pool(host: str, **more: Any) -> dict[str, Any]:
    return {"endpoints": [f"{host}:8080"]} | more


@by_framing
async def test_an_upload_to_a_slow_worker(programs: Programs, *, chunked: bool) -> None:
    host = free_host()
    balancer = await programs.balancer(pool(host))
    source, sink, answer = Source(GIB, chunked=chunked), Sink(), Sink()
    answer.allow()
    transfer = Transfer(balancer, source, sink)
    head = b"POST / HTTP/1.1\r\nHost: test\r\n%b\r\n" % FRAMINGS[chunked]
    client, worker = SlowClient(head, answer, source), SlowWorker(sink, OK, None)
    async with between(balancer, client, worker, host):
        await transfer.goes_through(Random(1))
        await until("the answer is there", lambda: answer.complete)


async def test_an_upload_to_a_worker_that_stops_within_the_replay_buffer(
    programs: Programs,
) -> None:
    host = free_host()
    balancer = await programs.balancer(pool(host, retry={"replayBytes": 4 * MIB}))
    source, sink = Source(GIB, chunked=False), Sink()
    transfer = Transfer(balancer, source, sink)
    head = b"POST / HTTP/1.1\r\nHost: test\r\n%b\r\n" % FRAMINGS[False]
    client, worker = SlowClient(head, Sink(), source), SlowWorker(sink, OK, None)
    async with between(balancer, client, worker, host, narrow=True):
        await transfer.stands_still(most_growth=5 * 4 * MIB)  # held, joined, and in the transport
    await balancer.sees("no request", lambda view: view["in_flight"] == 0)


@by_framing
async def test_a_download_by_a_slow_client(programs: Programs, *, chunked: bool) -> None:
    host = free_host()
    balancer = await programs.balancer(pool(host))
    source, sink, request = Source(GIB, chunked=chunked), Sink(), Sink()
    request.allow()
    transfer = Transfer(balancer, source, sink)
    head = b"HTTP/1.1 200 OK\r\n%b\r\n" % FRAMINGS[chunked]
    client, worker = SlowClient(GET, sink, None), SlowWorker(request, head, source)
    async with between(balancer, client, worker, host):
        await transfer.goes_through(Random(2))
    await balancer.sees("no request", lambda view: view["in_flight"] == 0)
