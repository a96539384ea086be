"""The prober against real sockets on loopback: it is all about what they do."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.health import Sign
from app.balancing.policy import HealthPolicy, Policy, ProbePolicy
from app.balancing.pool import Pool
from app.probing.prober import Prober, pause_after

QUICK = HealthPolicy(recheck=0.01, recheck_max=0.05)
PROBE = ProbePolicy(path="/readyz", interval=0.02, timeout=0.2, failures=2)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Phases:
    """Remembers the phases of an endpoint, and lets one wait for the next."""

    def __init__(self) -> None:
        self.seen: list[Phase] = []
        self._changed = asyncio.Event()

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        self.seen.append(endpoint.phase)
        self._changed.set()

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        pass

    async def wait_for(self, *phases: Phase) -> None:
        async with asyncio.timeout(10):
            while tuple(self.seen[-len(phases) :]) != phases:
                self._changed.clear()
                await self._changed.wait()


class Worker:
    """A server on a port of its own that can go away and come back."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        result = self.serve(reader, writer)
        if asyncio.iscoroutine(result):
            await result

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()
            await self._server.wait_closed()
            self._server = None


def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and leave the connection open."""


def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and reset, as the kernel does for a process that is dying."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def answer(status: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    return serve


@asynccontextmanager
async def probing(worker: Worker, health: HealthPolicy) -> AsyncIterator[tuple[Pool, Phases]]:
    """A pool of one worker with a prober at work."""
    await worker.start()
    pool, phases = Pool(Policy(health=health)), Phases()
    prober = Prober(pool)
    pool.observers.append(phases)
    task = asyncio.create_task(prober.run())
    pool.apply_snapshot([EndpointSpec("w", "127.0.0.1", worker.port)], monotonic())
    try:
        yield pool, phases
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await worker.stop()


def doubt(pool: Pool, sign: Sign) -> None:
    pool.observe(pool.endpoints["w"], sign, monotonic())


async def test_a_suspect_that_accepts_is_well_again() -> None:
    async with probing(Worker(stay), QUICK) as (pool, phases):
        doubt(pool, Sign.IDLE_CLOSED)
        await phases.wait_for(Phase.SUSPECT, Phase.READY)


async def test_a_suspect_that_refuses_is_ejected_and_comes_back_by_itself() -> None:
    worker = Worker(stay)
    async with probing(worker, QUICK) as (pool, phases):
        await worker.stop()
        doubt(pool, Sign.DIED)
        await phases.wait_for(Phase.SUSPECT, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "check failed: Connection refused"
        await worker.start()
        await phases.wait_for(Phase.EJECTED, Phase.READY)


async def test_a_connect_that_is_accepted_and_reset_proves_nothing() -> None:
    async with probing(Worker(reset), QUICK) as (pool, phases):
        doubt(pool, Sign.DIED)
        await phases.wait_for(Phase.SUSPECT, Phase.EJECTED)
        assert "accepted and closed" in pool.endpoints["w"].health.reason


async def test_an_ejected_endpoint_is_not_back_while_its_probe_fails() -> None:
    worker = Worker(answer("503 Service Unavailable"))
    health = HealthPolicy(recheck=0.01, recheck_max=0.05, probe=PROBE)
    async with probing(worker, health) as (pool, phases):
        await phases.wait_for(Phase.READY, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "probe failed: /readyz answered 503"
        worker.serve = answer("200 OK")
        await phases.wait_for(Phase.READY, Phase.EJECTED, Phase.READY)


async def test_a_worker_that_accepts_and_does_not_answer_fails_its_probe() -> None:
    health = HealthPolicy(probe=ProbePolicy(path="/", interval=0.02, timeout=0.02, failures=2))
    async with probing(Worker(stay), health) as (pool, phases):
        await phases.wait_for(Phase.READY, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "probe failed: / not answered in time"


@pytest.mark.parametrize("status", ["204 No Content", "302 Found"])
async def test_a_probe_passes_with_any_status_below_400(status: str) -> None:
    worker = Worker(answer(status))
    async with probing(worker, HealthPolicy(probe=PROBE)) as (_, phases), asyncio.timeout(10):
        while worker.connections < 4:
            await asyncio.sleep(0)
        assert phases.seen == [Phase.READY]


async def test_an_endpoint_that_left_is_asked_no_more() -> None:
    worker = Worker(answer("200 OK"))
    async with probing(worker, HealthPolicy(probe=PROBE)) as (pool, phases), asyncio.timeout(10):
        while worker.connections < 1:
            await asyncio.sleep(0)
        pool.apply_snapshot([], monotonic())
        await phases.wait_for(Phase.READY, Phase.GONE)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        probes = [task for task in others if "_probe_forever" in repr(task.get_coro())]
        await asyncio.gather(*probes, return_exceptions=True)


@pytest.mark.parametrize(
    ("silences", "pause"), [(0, 0.1), (1, 0.2), (3, 0.8), (4, 1.0), (5000, 1.0)]
)
def test_the_pause_grows_with_silence_up_to_its_limit(silences: int, pause: float) -> None:
    assert pause_after(silences, HealthPolicy(recheck=0.1, recheck_max=1.0)) == pytest.approx(pause)


async def test_what_is_seen_after_its_end_is_not_followed_up() -> None:
    worker = Worker(stay)
    async with probing(worker, QUICK) as (pool, phases):
        pass
    doubt(pool, Sign.DIED)
    assert phases.seen == [Phase.READY, Phase.SUSPECT]


async def test_a_changed_policy_begins_and_ends_the_probes() -> None:
    worker = Worker(answer("200 OK"))
    await worker.start()
    pool = Pool(Policy())
    prober = Prober(pool)
    task = asyncio.create_task(prober.run())
    pool.apply_snapshot([EndpointSpec("w", "127.0.0.1", worker.port)], monotonic())
    try:
        async with asyncio.timeout(10):
            pool.apply_policy(Policy(health=HealthPolicy(probe=PROBE)), monotonic())
            prober.reconfigure()
            while worker.connections < 2:
                await asyncio.sleep(0)
            pool.apply_policy(Policy(), monotonic())
            prober.reconfigure()
            while any("_probe_forever" in repr(t.get_coro()) for t in asyncio.all_tasks()):
                await asyncio.sleep(0)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await worker.stop()
