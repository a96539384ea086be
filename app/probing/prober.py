"""Asks the workers how they are: checks those in doubt, and probes all if the pool wants it.

Two kinds of asking, each one task per endpoint, none on a request's way:

- a *check* of an endpoint that is suspect or ejected. Suspect: one TCP connect, at once, that has
  to stand for a moment: a killed process loses its connections one after the other and its
  listening socket often last, so that a connect made at the first FIN is still accepted, and then
  reset. Ejected: every `health.recheck` seconds if it refuses, with growing pauses up to
  `health.recheck_max` if it is silent; the HTTP probe if the pool has one, since the kernel of a
  stopped process still accepts, else such a connect again.
- the *probe* of an endpoint that is not ejected, if the pool has one, each interval.

Whether a failed probe ejects is for `verdicts` to say; a port that refuses one ejects at once.
What this machine could not ask for want of files or ports says nothing, and is asked again.

Created and run by `app.runtime`; learns of the endpoints as observer of the pool, and tells it
what it saw by `Pool.observe`. Never has more than `MAX_SOCKETS` connections.
"""

import asyncio
from collections.abc import Callable
from random import uniform
from time import monotonic

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Health, Sign
from app.balancing.policy import HealthPolicy, ProbePolicy
from app.balancing.pool import Pool
from app.probing.asking import CheckFailed, NotAsked, ask, connect
from app.probing.verdicts import Signs, Verdicts

MAX_CHECKS = 32
"""Checks under way at once of each sort: of suspects, which are withheld meanwhile; of those that
are out; and of those that are silent, each of which takes its whole timeout."""

MAX_PROBES = 64
"""Probes under way at once."""

MAX_SOCKETS = 3 * MAX_CHECKS + MAX_PROBES
"""Connections of all checks and probes together."""

_MAX_DOUBLINGS = 32

_NO_LISTENER = frozenset({Sign.CONNECT_REFUSED, Sign.CHECK_FAILED})
"""Signs that nobody listened at a worker's port: that somebody does is what it has to show."""

_JITTER = 0.1
"""Share of the interval by which probes are spread, so that they do not come in step."""

OnIgnored = Callable[[bool], object]
"""Told when the probe begins to be ignored, because every worker fails it, and when that ends."""


class Prober:
    """The checks and probes of one pool."""

    def __init__(self, pool: Pool, on_ignored: OnIgnored | None = None) -> None:
        self._pool = pool
        self._on_ignored = on_ignored
        self._group: asyncio.TaskGroup | None = None
        self._checks: dict[Endpoint, asyncio.Task[None]] = {}
        self._probes: dict[Endpoint, asyncio.Task[None]] = {}
        self._verdicts = Verdicts()
        self._said = False
        self._for_suspects = asyncio.Semaphore(MAX_CHECKS)
        self._for_ejected = asyncio.Semaphore(MAX_CHECKS)
        self._for_silent = asyncio.Semaphore(MAX_CHECKS)
        self._for_probes = asyncio.Semaphore(MAX_PROBES)
        pool.observers.append(self)

    @property
    def ignored(self) -> bool:
        """Whether the HTTP probe ejects nobody, because every worker fails it."""
        return self._verdicts.ignored

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
        self._verdicts.reset()
        self._tell([])
        for endpoint in self._pool.endpoints.values():
            self._follow(endpoint)

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Follow an endpoint that has joined, and let go of one that has left."""
        if endpoint.member:
            if before is None or before is Phase.GONE:
                self._follow(endpoint)
            return
        self._verdicts.forget(endpoint)
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
        silences = 0
        while endpoint.health.state is not Health.HEALTHY:
            async with self._room(endpoint, silences):
                began = monotonic()
                try:
                    await self._check(endpoint, began)
                except CheckFailed as failed:
                    silences = silences + 1 if failed.silent else 0
                except NotAsked:
                    pass
                else:
                    continue
            pause = pause_after(silences, self._pool.policy.health)
            await asyncio.sleep(began + pause - monotonic())

    def _room(self, endpoint: Endpoint, silences: int) -> asyncio.Semaphore:
        """Return where the next check has to wait for its turn: not behind those that take long."""
        if endpoint.health.state is not Health.EJECTED:
            return self._for_suspects
        return self._for_silent if silences else self._for_ejected

    async def _check(self, endpoint: Endpoint, began: float) -> None:
        """Check once, and tell what came of it. Raises `CheckFailed` and `NotAsked`."""
        health, policy = endpoint.health, self._pool.policy
        probe = policy.health.probe if health.state is Health.EJECTED else None
        if self.ignored and health.sign in _NO_LISTENER:
            probe = None  # else each worker that restarts would be lost to a probe that none passes
        try:
            if probe is None:
                await connect(endpoint.spec, policy.timeouts.connect)
            else:
                await ask(endpoint.spec, probe)
        except CheckFailed as failed:
            if probe is None or failed.refused:
                self._verdicts.forget(endpoint)
                self._pool.observe(endpoint, Sign.CHECK_FAILED, monotonic(), str(failed))
            else:
                self._failed_probe(endpoint, probe, str(failed))
            raise
        if health.doubted_at <= began:  # else something happened meanwhile: check that, too
            self._pool.observe(endpoint, Sign.CHECK_PASSED, monotonic())
        if probe is not None:
            self._passed_probe(endpoint, probe)

    async def _probe_forever(self, endpoint: Endpoint) -> None:
        probe = self._pool.policy.health.probe
        if probe is None:
            return
        await asyncio.sleep(uniform(0, probe.interval))
        while True:
            began = monotonic()
            async with self._for_probes:
                if endpoint.health.state is not Health.EJECTED:  # else the check asks
                    await self._probe(endpoint, probe)
            pause = probe.interval * uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(began + pause - monotonic())

    async def _probe(self, endpoint: Endpoint, probe: ProbePolicy) -> None:
        """Probe once, and tell what came of it."""
        try:
            await ask(endpoint.spec, probe)
        except NotAsked:
            return
        except CheckFailed as failed:
            if not failed.refused:
                self._failed_probe(endpoint, probe, str(failed))
                return
            self._verdicts.forget(endpoint)
            self._pool.observe(endpoint, Sign.CONNECT_REFUSED, monotonic(), str(failed))
        else:
            self._passed_probe(endpoint, probe)

    def _passed_probe(self, endpoint: Endpoint, probe: ProbePolicy) -> None:
        members = self._pool.endpoints.values()
        self._tell(self._verdicts.passed(endpoint, probe.failures, members))

    def _failed_probe(self, endpoint: Endpoint, probe: ProbePolicy, detail: str) -> None:
        members = self._pool.endpoints.values()
        self._tell(self._verdicts.failed(endpoint, detail, probe.failures, members))

    def _tell(self, signs: Signs) -> None:
        """Pass a verdict on to the pool, and say it if the probe is ignored, or no longer."""
        if self.ignored is not self._said:
            self._said = self.ignored
            if self._on_ignored is not None:
                self._on_ignored(self.ignored)
        for endpoint, sign, detail in signs:
            self._pool.observe(endpoint, sign, monotonic(), detail)


def pause_after(silences: int, policy: HealthPolicy) -> float:
    """Return the seconds from one check to the next, after so many silent ones in a row."""
    doublings = min(silences, _MAX_DOUBLINGS)  # a worker can be silent for days
    return min(policy.recheck * 2.0**doublings, policy.recheck_max)
