"""The prober against real sockets on loopback: it is all about what they do."""

import asyncio
import contextlib
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.health import Sign
from app.balancing.policy import HealthPolicy, Policy, ProbePolicy
from app.balancing.pool import Pool
from app.probing import prober as prober_module
from app.probing.asking import CheckFailed, NotAsked, ask, connect
from app.probing.prober import MAX_CHECKS, MAX_SOCKETS, Prober, pause_after

QUICK = HealthPolicy(recheck=0.01, recheck_max=0.05)
PROBE = ProbePolicy(path="/readyz", interval=0.02, timeout=0.2, failures=2)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Phases:
    """Remembers the phases of an endpoint, and lets one wait for the next."""

    def __init__(self) -> None:
        self.seen: list[Phase] = []
        self.ignored: list[bool] = []
        self._changed = asyncio.Event()

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        if endpoint.spec.identity == "w":
            self.seen.append(endpoint.phase)
            self._changed.set()

    def probe_ignored(self, ignored: bool) -> None:
        self.ignored.append(ignored)
        self._changed.set()

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        pass

    async def wait_for(self, *phases: Phase) -> None:
        async with asyncio.timeout(10):
            while tuple(self.seen[-len(phases) :]) != phases:
                self._changed.clear()
                await self._changed.wait()

    async def wait_for_ignored(self, *ignored: bool) -> None:
        async with asyncio.timeout(10):
            while tuple(self.ignored) != ignored:
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
async def probing(
    worker: Worker, health: HealthPolicy, *others: Worker
) -> AsyncIterator[tuple[Pool, Phases]]:
    """A pool with a prober at work: endpoint "w", whose phases are told, and others, if any."""
    workers = dict(zip("wxyz", (worker, *others), strict=False))
    pool, phases = Pool(Policy(health=health)), Phases()
    prober = Prober(pool, phases.probe_ignored)
    pool.observers.append(phases)
    for each in workers.values():
        await each.start()
    task = asyncio.create_task(prober.run())
    pool.apply_snapshot(
        [EndpointSpec(name, "127.0.0.1", each.port) for name, each in workers.items()],
        monotonic(),
    )
    try:
        yield pool, phases
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for each in workers.values():
            await each.stop()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file: `socket()` raises EMFILE. What is open stays so."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # below are stdin, stdout, stderr
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


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
    async with probing(worker, health, Worker(answer("200 OK"))) as (pool, phases):
        await phases.wait_for(Phase.READY, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "probe failed: /readyz answered 503"
        worker.serve = answer("200 OK")
        await phases.wait_for(Phase.READY, Phase.EJECTED, Phase.READY)


async def test_a_worker_that_accepts_and_does_not_answer_fails_its_probe() -> None:
    health = HealthPolicy(probe=ProbePolicy(path="/", interval=0.02, timeout=0.02, failures=2))
    async with probing(Worker(stay), health, Worker(answer("200 OK"))) as (pool, phases):
        await phases.wait_for(Phase.READY, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "probe failed: / not answered in time"


async def test_a_probe_that_every_worker_fails_is_ignored_until_one_passes() -> None:
    workers = [Worker(answer("404 Not Found")) for _ in range(3)]
    first, second, _ = workers
    health = HealthPolicy(recheck=0.01, recheck_max=0.05, probe=PROBE)
    async with probing(first, health, *workers[1:]) as (pool, phases):
        await phases.wait_for_ignored(True)
        async with asyncio.timeout(10):
            while len(pool.rotation) < 3:
                await asyncio.sleep(0)
            asked = first.connections
            while first.connections < asked + 3 * PROBE.failures:
                await asyncio.sleep(0)
        assert (len(pool.rotation), phases.ignored) == (3, [True])
        second.serve = answer("200 OK")
        await phases.wait_for_ignored(True, False)
        assert [endpoint.name for endpoint in pool.rotation] == ["x"]
        first.serve = answer("200 OK")
        await phases.wait_for(Phase.EJECTED, Phase.READY)
        assert phases.ignored == [True, False]


async def test_a_pool_of_one_keeps_its_worker_whatever_its_probe_says() -> None:
    worker = Worker(answer("503 Service Unavailable"))
    async with probing(worker, HealthPolicy(probe=PROBE)) as (_, phases):
        await phases.wait_for_ignored(True)
        assert phases.seen == [Phase.READY]


async def test_a_worker_that_restarts_while_the_probe_is_ignored_comes_back() -> None:
    worker, other = Worker(answer("404 Not Found")), Worker(answer("404 Not Found"))
    health = HealthPolicy(recheck=0.01, recheck_max=0.05, probe=PROBE)
    async with probing(worker, health, other) as (_, phases):
        await phases.wait_for_ignored(True)
        await worker.stop()
        await phases.wait_for(Phase.EJECTED)
        await worker.start()
        await phases.wait_for(Phase.EJECTED, Phase.READY)
        assert phases.ignored == [True]


async def test_a_worker_that_hangs_while_the_probe_is_ignored_stays_out() -> None:
    worker, other = Worker(answer("404 Not Found")), Worker(answer("404 Not Found"))
    health = HealthPolicy(failures=1, recheck=0.01, recheck_max=0.05, probe=PROBE)
    async with probing(worker, health, other) as (pool, phases):
        await phases.wait_for_ignored(True)
        doubt(pool, Sign.TIMED_OUT)
        asked = worker.connections
        async with asyncio.timeout(10):
            while worker.connections < asked + 5:
                await asyncio.sleep(0)
        assert phases.seen[-1] is Phase.EJECTED


async def test_a_probe_that_is_refused_ejects_at_once_and_the_last_one_too() -> None:
    worker = Worker(answer("200 OK"))
    health = HealthPolicy(recheck=0.01, probe=ProbePolicy("/", 0.02, 0.02, failures=100))
    async with probing(worker, health) as (pool, phases):
        await worker.stop()
        await phases.wait_for(Phase.READY, Phase.EJECTED)
        assert pool.endpoints["w"].health.reason == "connection refused: Connection refused"
        await worker.start()
        await phases.wait_for(Phase.EJECTED, Phase.READY)
        assert phases.ignored == []


async def test_another_probe_is_not_ignored_for_what_the_old_one_met() -> None:
    worker = Worker(answer("404 Not Found"))
    await worker.start()
    pool, phases = Pool(Policy(health=HealthPolicy(probe=PROBE))), Phases()
    prober = Prober(pool, phases.probe_ignored)
    task = asyncio.create_task(prober.run())
    pool.apply_snapshot([EndpointSpec("w", "127.0.0.1", worker.port)], monotonic())
    try:
        await phases.wait_for_ignored(True)
        assert prober.ignored
        pool.apply_policy(Policy(), monotonic())
        prober.reconfigure()
        assert (prober.ignored, phases.ignored) == (False, [True, False])
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await worker.stop()


# --- what this machine wants for


class Tries:
    """Before `connect` or `ask`: counts how often this machine could not ask."""

    def __init__(self, real: Callable[..., Awaitable[None]]) -> None:
        self._real = real
        self._under_way = 0
        self.vain = 0

    async def __call__(self, *args: object) -> None:
        self._under_way += 1
        try:
            await self._real(*args)
        except NotAsked:
            self.vain += 1
            raise
        finally:
            self._under_way -= 1

    async def none_under_way(self) -> None:
        """Wait for a moment in which no worker of ours has a connection to accept."""
        async with asyncio.timeout(10):
            while self._under_way:
                await asyncio.sleep(0.001)

    async def until_vain(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.vain < times:
                await asyncio.sleep(0.001)


async def test_a_suspect_that_we_have_no_file_to_check_is_checked_when_we_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = Tries(connect)
    monkeypatch.setattr(prober_module, "connect", tries)
    worker = Worker(stay)
    async with probing(worker, QUICK) as (pool, phases):
        with no_more_files():
            doubt(pool, Sign.DIED)
            await tries.until_vain(3)
            assert phases.seen == [Phase.READY, Phase.SUSPECT]
        await phases.wait_for(Phase.SUSPECT, Phase.READY)
        assert pool.endpoints["w"].health.failures == 1


async def test_a_probe_that_we_have_no_file_for_fails_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = Tries(ask)
    monkeypatch.setattr(prober_module, "ask", tries)
    workers = [Worker(answer("200 OK")) for _ in range(2)]
    async with probing(workers[0], HealthPolicy(probe=PROBE), workers[1]) as (_, phases):
        async with asyncio.timeout(10):
            while min(worker.connections for worker in workers) < 2:
                await asyncio.sleep(0)
        await tries.none_under_way()
        with no_more_files():
            await tries.until_vain(2 * len(workers) * PROBE.failures)
        asked = workers[0].connections
        async with asyncio.timeout(10):
            while workers[0].connections < asked + 2:
                await asyncio.sleep(0)
        assert (phases.seen, phases.ignored) == ([Phase.READY], [])


# --- how many at once


class Counting:
    """In the place of `connect` and `ask`: counts those under way, and holds them."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.ended = 0
        self.open = asyncio.Event()

    async def __call__(self, *args: object) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.open.wait()
        self.under_way -= 1
        self.ended += 1


@pytest.mark.parametrize("sign", [Sign.DIED, Sign.CONNECT_REFUSED])
async def test_so_many_checks_at_once_and_no_more(
    monkeypatch: pytest.MonkeyPatch, sign: Sign
) -> None:
    counting = Counting()
    monkeypatch.setattr(prober_module, "connect", counting)
    pool = Pool(Policy(health=QUICK))
    task = asyncio.create_task(Prober(pool).run())
    specs = [EndpointSpec(f"w{n}", "127.0.0.1", 9) for n in range(5 * MAX_CHECKS)]
    pool.apply_snapshot(specs, monotonic())
    try:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            for endpoint in pool.endpoints.values():
                pool.observe(endpoint, sign, 0.0)
            while counting.under_way < MAX_CHECKS:
                await asyncio.sleep(0)
            counting.open.set()
            while counting.ended < len(specs):
                await asyncio.sleep(0)
        assert counting.most == MAX_CHECKS
        assert len(pool.rotation) == len(specs)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_so_many_probes_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(prober_module, "ask", counting)
    pool = Pool(Policy(health=HealthPolicy(probe=PROBE)))
    task = asyncio.create_task(Prober(pool).run())
    most = prober_module.MAX_PROBES
    specs = [EndpointSpec(f"w{n}", "127.0.0.1", 9) for n in range(3 * most)]
    pool.apply_snapshot(specs, monotonic())
    try:
        async with asyncio.timeout(10):
            while counting.under_way < most:
                await asyncio.sleep(0)
            counting.open.set()
            while counting.ended < len(specs):
                await asyncio.sleep(0)
        assert counting.most == most <= MAX_SOCKETS
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_those_that_refuse_do_not_wait_for_those_that_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent_or_well(spec: EndpointSpec, *_: object) -> None:
        if spec.identity != "w":
            silent.add(spec.identity)
            if len(silent) == 2 * MAX_CHECKS:
                all_silent.set()
            raise CheckFailed("no answer", silent=True)
        await asyncio.sleep(0)

    async def silent_for_long(spec: EndpointSpec, *_: object) -> None:
        await (asyncio.sleep(0) if spec.identity == "w" else asyncio.Event().wait())

    silent: set[str] = set()
    all_silent = asyncio.Event()
    monkeypatch.setattr(prober_module, "connect", silent_or_well)
    pool, phases = Pool(Policy(health=QUICK)), Phases()
    pool.observers.append(phases)
    task = asyncio.create_task(Prober(pool).run())
    names = [f"s{n}" for n in range(2 * MAX_CHECKS)]
    specs = [EndpointSpec(name, "127.0.0.1", 9) for name in ["w", *names]]
    pool.apply_snapshot(specs, monotonic())
    try:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            for name in names:
                pool.observe(pool.endpoints[name], Sign.CONNECT_REFUSED, 0.0)
            await all_silent.wait()
            monkeypatch.setattr(prober_module, "connect", silent_for_long)
            doubt(pool, Sign.CONNECT_REFUSED)
            await phases.wait_for(Phase.EJECTED, Phase.READY)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


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
