"""A balancer and its pools, from their parts to their end.

`Balancer.run` starts everything in one task group and returns after a drain: readiness turns
false, connections are still accepted for the drain delay, the listener closes, what runs is
finished, the rest stops. A failure of any part ends all of them: a balancer without discovery or
without its ticker would look alive and decay.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from app.admin.api import create_app
from app.admin.auth import RequireToken
from app.admin.server import AdminServer, open_socket
from app.balancing.endpoint import EndpointSpec
from app.balancing.pool import Pool
from app.config.addresses import AddressPort
from app.config.errors import ConfigError, Problem
from app.config.settings import Settings, flag, variable
from app.config.tokens import token_of
from app.config.watching import watch_pool
from app.config.workerpool import ServiceSpec, WorkerPool
from app.discovery.kubernetes import KubernetesDiscovery
from app.discovery.list_watch import Condition, Limits
from app.discovery.pools import PoolWatch
from app.discovery.slices import Family
from app.peers.view import Standing
from app.proxy.deadlines import TICK
from app.proxy.listener import Listener
from app.proxy.proxy import Proxy
from app.runtime.limits import most_connections, most_worker_connections, raise_open_files
from app.runtime.pools import Parts, Pools
from app.runtime.replicas import make_runner
from app.telemetry.access_log import AccessLog
from app.telemetry.requests import RequestStats
from app.telemetry.ring import Ring

if TYPE_CHECKING:
    from app.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

_FAMILIES: Mapping[str, Family] = {"ipv4": "IPv4", "ipv6": "IPv6"}


class CannotListenError(OSError):
    """A port cannot be opened; the message says which, and why."""


class Balancer:
    """The pools behind one data port. To be made and run in a running event loop.

    `worker_pool` is that of the file; None to follow the WorkerPools of `settings.balancer`.
    """

    def __init__(self, settings: Settings, worker_pool: WorkerPool | None) -> None:
        """Join the parts. Raises `ConfigError` if the admin token's file cannot be accepted."""
        self.settings = settings
        self.proxy = Proxy(asyncio.get_running_loop(), settings)
        self.ring = Ring()
        self._peer_socket = None
        if settings.peers is not None:
            with _naming("peer_listen", settings.peer_listen):
                listen = settings.peer_listen
                self._peer_socket = open_socket(listen.host, listen.port)
        port = self._peer_socket.getsockname()[1] if self._peer_socket is not None else 0
        self.peers = make_runner(settings, port, lambda: not self._undiscovered())
        """The other replicas, if this one decides together with them."""

        counted = settings.metrics or settings.access_log
        self._tracing = make_tracing() if settings.tracing else None
        self._stray_log = self._access_log(self.proxy.nowhere.pool)
        """Told of the requests that never reach a pool."""

        nowhere = RequestStats(self._stray_log)
        self.proxy.nowhere.requests = nowhere if counted else None
        self.pools = Pools(
            self.proxy,
            Parts(
                self._follow_service,
                self.ring,
                self._access_log,
                self.unready,
                counted,
                None if self._tracing is None else self._tracing.of,
                self.peers,
            ),
        )
        self.listening = asyncio.Event()
        """Set once both ports are open."""

        self.ports: tuple[int, int] = (0, 0)
        """The data port and the admin port that are listened on."""

        self._worker_pool = worker_pool
        self._admin_token = token_of(settings)
        self._pool_watch: PoolWatch | None = None
        if worker_pool is not None:
            self.pools.set_file(worker_pool)
        else:
            self._pool_watch = PoolWatch(
                settings.balancer or "",
                settings.namespace,
                self.pools.set_resources,
                kubeconfig=settings.kubeconfig,
                limits=Limits(silence=settings.watch_timeout),
            )
        self._was_ready = False
        self._stop = asyncio.Event()

    @property
    def pool(self) -> Pool:
        """The only pool, where there is one."""
        (served,) = self.pools.served
        return served.pool

    # --- what the admin port sees

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""
        reasons = []
        if not self.listening.is_set():
            reasons.append("starting")
        if not self._was_ready:  # once it knows enough to serve, it goes on with what it knows
            undiscovered = self._undiscovered()
            reasons += undiscovered
            self._was_ready = not undiscovered
        if self.peers is not None:
            reasons += self.peers.unready()
        if self._stop.is_set():
            reasons.append("stopping")
        return reasons

    def _undiscovered(self) -> list[str]:
        """Say what is not known yet."""
        if not self.pools.known:
            trouble = self._pool_watch.condition.last_error if self._pool_watch else ""
            reason = "the WorkerPools are not known yet"
            return [f"{reason}: {trouble}" if trouble else reason]
        reasons = []
        for served in self.pools.served:
            if not served.synced:
                trouble = served.discovery.last_error if served.discovery else ""
                reason = "the workers are not discovered yet"
                reasons.append(f"{reason}: {trouble}" if trouble else reason)
        return reasons

    @property
    def pool_watch(self) -> Condition | None:
        """How the watch of the WorkerPools is doing; None if the pool is that of a file."""
        return None if self._pool_watch is None else self._pool_watch.condition

    @property
    def watches(self) -> list[Condition]:
        """How each watch is doing: of the WorkerPools, and of each pool's EndpointSlices."""
        watches = [self.pool_watch, *(served.discovery for served in self.pools.served)]
        return [watch for watch in watches if watch is not None]

    @property
    def replicas(self) -> Standing | None:
        """Where this replica stands among the others; None if it is alone."""
        return None if self.peers is None else self.peers.standing()

    @property
    def rejected(self) -> Mapping[int, int]:
        """Requests that were answered before they reached a pool, by status."""
        return self.proxy.nowhere.stats.answers

    @property
    def client_connections(self) -> int:
        """Open connections of clients."""
        return len(self.proxy.downstreams)

    @property
    def stopping(self) -> bool:
        """Whether it is being stopped."""
        return self._stop.is_set()

    def totals(self) -> dict[str, int]:
        """Counters since the start, by name."""
        backends = [*self.proxy.backends, self.proxy.nowhere]
        stats = [backend.stats for backend in backends]
        return {
            "requests": sum(each.requests for each in stats),
            "retries": sum(sum(each.retries.values()) for each in stats),
            "answered_by_balancer": sum(sum(each.answers.values()) for each in stats),
            "clients_gone": sum(each.clients_gone for each in stats),
            "client_connections": self.client_connections,
            "worker_connections": sum(backend.connections.open for backend in backends),
        }

    # --- its life

    def stop(self) -> None:
        """Begin the drain; `run` returns when it is over."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`, then drain. Raises `CannotListenError`."""
        settings = self.settings
        open_files = raise_open_files()
        limit = most_connections(open_files, settings.max_connections)
        self.proxy.limit_connections(most_worker_connections(open_files, limit))
        listener = Listener(self.proxy, limit)
        try:
            with _naming("listen", settings.listen):
                listener.listen(settings.listen.host, settings.listen.port)
            with _naming("admin_listen", settings.admin_listen):
                admin_socket = open_socket(settings.admin_listen.host, settings.admin_listen.port)
            self.ports = (listener.ports[0], admin_socket.getsockname()[1])
            admin = AdminServer(self._admin())
            async with asyncio.TaskGroup() as group:
                self.pools.start(group)
                parts = [
                    group.create_task(self._watch_pools()),
                    group.create_task(self._tick()),
                ]
                if self.peers is not None and self._peer_socket is not None:
                    await self.peers.open(self._peer_socket)
                    parts.append(group.create_task(self.peers.run()))
                serving = group.create_task(admin.serve(sockets=[admin_socket]))
                self.listening.set()
                log.info("data on port %d, admin on port %d", *self.ports)
                self._note("started")
                await self._stop.wait()
                await self._drain(listener)
                for served in self.pools.everyone():  # who watches does not hold the end up
                    served.telemetry.closed.set()
                admin.should_exit = True
                await serving
                self.proxy.close()  # before the probers, who are told of what ends by itself
                if self.peers is not None:
                    await self.peers.stop()
                self.pools.stop()
                if self._stray_log is not None:
                    self._stray_log.close()
                for part in parts:
                    part.cancel()
        finally:
            listener.close()
            self.proxy.close()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.shutdown)

    def _admin(self) -> ASGIApp:
        app = create_app(self)
        return app if self._admin_token is None else RequireToken(app, self._admin_token)

    async def _drain(self, listener: Listener) -> None:
        """Send the clients away, those with a request after its answer."""
        self._note(f"stopping: accepting for another {self.settings.drain_delay:g} s")
        self.proxy.draining = True
        if self.peers is not None:
            self.peers.leave()
        await asyncio.sleep(self.settings.drain_delay)
        listener.close()
        deadline = monotonic() + self.settings.drain_timeout
        while self.proxy.busy and monotonic() < deadline:
            self.proxy.drain()  # again and again: a client may have been accepted at the very end
            await asyncio.sleep(TICK)
        if self.proxy.busy:
            left = sum(backend.pool.own_in_flight for backend in self.proxy.backends)
            log.warning("stopping with %d requests under way", left)

    def _note(self, text: str) -> None:
        """Remember with each pool, and log, what concerns all of them."""
        everyone = self.pools.everyone()
        for served in everyone:
            served.telemetry.events.note("balancer", text)
        if not everyone:
            log.info("%s", text)

    # --- its tasks

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            self.proxy.tick(now)
            self.pools.tick(now)
            if self._stray_log is not None:
                self._stray_log.tick(now)

    async def _watch_pools(self) -> None:
        if self._pool_watch is not None:
            await self._pool_watch.run()
        elif self.settings.config is not None:
            await watch_pool(
                self.settings.config,
                on_change=self.pools.set_file,
                on_error=self._complain,
                in_force=self._worker_pool,
            )

    def _follow_service(
        self, service: ServiceSpec, apply: Callable[[Sequence[EndpointSpec]], None]
    ) -> KubernetesDiscovery:
        settings = self.settings
        return KubernetesDiscovery(
            service,
            settings.namespace,
            apply,
            kubeconfig=settings.kubeconfig,
            limits=Limits(silence=settings.watch_timeout),
            prefer=_FAMILIES[settings.preferred_family],
        )

    def _complain(self, error: ConfigError) -> None:
        text = f"the last good configuration stays in force: {error}"
        for served in self.pools.served:
            served.telemetry.config_ok = False
            served.telemetry.events.note("config", text, logging.ERROR)

    def _access_log(self, pool: Pool) -> AccessLog | None:
        settings = self.settings
        if not settings.access_log:
            return None
        return AccessLog(pool, rate=settings.access_log_rate, query=settings.access_log_query)


def make_tracing() -> "Tracing":
    """Make spans, from now on. Raises `ConfigError` where OpenTelemetry is missing."""
    try:
        from app.telemetry.tracing import Tracing  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        found = f"true, but {error.name} is missing"
        allowed = "false, or true after `pip install leastwise[otel]`"
        raise ConfigError([Problem("", variable("tracing"), found, allowed)]) from error
    return Tracing()


@contextmanager
def _naming(setting: str, address: AddressPort) -> Iterator[None]:
    """Turn an `OSError` into one that says where we wanted to listen."""
    try:
        yield
    except OSError as error:
        # Not its own words: these may repeat the address, in another notation.
        number = error.errno or 0
        reason = os.strerror(number) if number in errno.errorcode else str(error)
        message = f"cannot listen on {address} ({flag(setting)}): {reason}"
        raise CannotListenError(message) from error
