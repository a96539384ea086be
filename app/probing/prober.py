"""Asks the workers how they are: checks those in doubt, and probes all if the pool wants it.

Two kinds of asking, each one task per endpoint, none on a request's way:

- a *check* of an endpoint that is suspect or ejected. Suspect: one TCP connect, at once, that has
  to stand for a moment: a killed process loses its connections one after the other and its
  listening socket often last, so that a connect made at the first FIN is still accepted, and then
  reset. Ejected: every `health.recheck` seconds if it refuses, with growing pauses up to
  `health.recheck_max` if it is silent; the HTTP probe if the pool has one, since the kernel of a
  stopped process still accepts, else such a connect again.
- the *probe* of an endpoint that is not ejected, if the pool has one, each interval.

Created and run by `app.runtime`; learns of the endpoints as observer of the pool, and tells it
what it saw by `Pool.observe`.
"""

import asyncio
from contextlib import nullcontext
from random import uniform
from time import monotonic

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Health, Sign
from app.balancing.policy import HealthPolicy, ProbePolicy
from app.balancing.pool import Pool
from app.http1.errors import ProtocolError
from app.http1.responses import parse_response

MAX_CHECKS = 64
"""Checks under way at once: many endpoints can go at the same time."""

STAND = 0.05
"""Seconds that a check's connection has to stand where no HTTP probe is sent on it."""

_MAX_DOUBLINGS = 32

_PASSES_FROM, _PASSES_TO = 200, 399

_JITTER = 0.1
"""Share of the interval by which probes are spread, so that they do not come in step."""


class CheckFailed(Exception):  # noqa: N818 - an answer of the network, not an error of ours
    """A worker did not pass. `silent` if it did not answer at all, so that asking is dear."""

    def __init__(self, detail: str, *, silent: bool) -> None:
        super().__init__(detail)
        self.silent = silent


class Prober:
    """The checks and probes of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._group: asyncio.TaskGroup | None = None
        self._checks: dict[Endpoint, asyncio.Task[None]] = {}
        self._probes: dict[Endpoint, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(MAX_CHECKS)
        pool.observers.append(self)

    async def run(self) -> None:
        """Check and probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for endpoint in self._pool.endpoints.values():
                self._follow(endpoint)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None  # what is seen from now on is not followed up

    def reconfigure(self) -> None:
        """Begin the probes anew: the pool's policy has changed."""
        for task in self._probes.values():
            task.cancel()
        self._probes.clear()
        for endpoint in self._pool.endpoints.values():
            self._follow(endpoint)

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Follow an endpoint that has joined, and let go of one that has left."""
        if endpoint.member:
            if before is None or before is Phase.GONE:
                self._follow(endpoint)
            return
        for tasks in (self._checks, self._probes):
            task = tasks.pop(endpoint, None)
            if task is not None:
                task.cancel()

    def health_changed(self, endpoint: Endpoint, now: float) -> None:  # noqa: ARG002
        """Check an endpoint that has come into doubt."""
        self._follow(endpoint)

    # --- inside

    def _follow(self, endpoint: Endpoint) -> None:
        """Start what is to run for the endpoint and does not."""
        if self._group is None or not endpoint.member:
            return
        if endpoint.health.state is not Health.HEALTHY and endpoint not in self._checks:
            task = self._group.create_task(self._check_until_healthy(endpoint))
            self._keep(self._checks, endpoint, task)
        if self._pool.policy.health.probe is not None and endpoint not in self._probes:
            task = self._group.create_task(self._probe_forever(endpoint))
            self._keep(self._probes, endpoint, task)

    @staticmethod
    def _keep(
        tasks: dict[Endpoint, asyncio.Task[None]], endpoint: Endpoint, task: asyncio.Task[None]
    ) -> None:
        """Remember the task until it ends or another takes its place."""

        def forget(done: asyncio.Task[None]) -> None:
            if tasks.get(endpoint) is done:
                del tasks[endpoint]

        tasks[endpoint] = task
        task.add_done_callback(forget)

    async def _check_until_healthy(self, endpoint: Endpoint) -> None:
        health = endpoint.health
        silences = 0
        while health.state is not Health.HEALTHY:
            policy = self._pool.policy.health
            began = monotonic()
            try:
                # Those in doubt do not wait for those that are out: they are withheld meanwhile.
                out = health.state is Health.EJECTED
                async with self._room if out else nullcontext():
                    if health.state is Health.EJECTED and policy.probe is not None:
                        await self._ask(endpoint, policy.probe)
                    else:
                        await self._connect(endpoint)
            except CheckFailed as failed:
                self._pool.observe(endpoint, Sign.CHECK_FAILED, monotonic(), str(failed))
                silences = silences + 1 if failed.silent else 0
            else:
                if health.doubted_at <= began:  # else something happened meanwhile: check that, too
                    self._pool.observe(endpoint, Sign.CHECK_PASSED, monotonic())
                continue
            pause = pause_after(silences, policy)
            await asyncio.sleep(began + pause - monotonic())

    async def _probe_forever(self, endpoint: Endpoint) -> None:
        probe = self._pool.policy.health.probe
        if probe is None:
            return
        await asyncio.sleep(uniform(0, probe.interval))
        while True:
            began = monotonic()
            if endpoint.health.state is not Health.EJECTED:  # else the check asks
                try:
                    await self._ask(endpoint, probe)
                except CheckFailed as failed:
                    self._pool.observe(endpoint, Sign.PROBE_FAILED, monotonic(), str(failed))
                else:
                    self._pool.observe(endpoint, Sign.PROBE_PASSED, monotonic())
            pause = probe.interval * uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(began + pause - monotonic())

    async def _connect(self, endpoint: Endpoint) -> None:
        """Open a TCP connection, see it stand for a moment, close it. Raises `CheckFailed`."""
        spec = endpoint.spec
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._pool.policy.timeouts.connect):
                transport, end = await loop.create_connection(_End, spec.host, spec.port)
        except TimeoutError:
            raise CheckFailed("connection not accepted in time", silent=True) from None
        except OSError as error:
            raise CheckFailed(error.strerror or str(error), silent=False) from error
        try:
            await asyncio.wait({end.lost}, timeout=STAND)
        finally:
            transport.abort()
        if end.lost.done():
            raise CheckFailed("connection accepted and closed", silent=False)

    async def _ask(self, endpoint: Endpoint, probe: ProbePolicy) -> None:
        """Send the HTTP probe, on a connection of its own. Raises `CheckFailed`."""
        try:
            async with asyncio.timeout(probe.timeout):
                status = await _get(endpoint.spec.host, endpoint.spec.port, probe.path)
        except TimeoutError:
            raise CheckFailed(f"{probe.path} not answered in time", silent=True) from None
        except OSError as error:
            raise CheckFailed(error.strerror or str(error), silent=False) from error
        except (EOFError, ProtocolError, asyncio.LimitOverrunError) as error:
            raise CheckFailed(f"{probe.path} answered no HTTP", silent=False) from error
        if not _PASSES_FROM <= status <= _PASSES_TO:
            raise CheckFailed(f"{probe.path} answered {status}", silent=False)


def pause_after(silences: int, policy: HealthPolicy) -> float:
    """Return the seconds from one check to the next, after so many silent ones in a row."""
    doublings = min(silences, _MAX_DOUBLINGS)  # a worker can be silent for days
    return min(policy.recheck * 2.0**doublings, policy.recheck_max)


async def _get(host: str, port: int, path: str) -> int:
    """Ask for `path` on a new connection; return the final status, and read no further."""
    reader, writer = await asyncio.open_connection(host, port)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: leastwise-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        while True:
            head = parse_response(await reader.readuntil(b"\r\n\r\n"))
            if head.status >= _PASSES_FROM:  # 1xx is no answer yet
                return head.status
    finally:
        writer.transport.abort()


class _End(asyncio.Protocol):
    """Waits for a connection's end."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - each end is an end
        if not self.lost.done():
            self.lost.set_result(None)
