"""A balancer of one pool, from its parts to its end.

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

from starlette.types import ASGIApp

from app.admin.api import create_app
from app.admin.auth import RequireToken, token_of
from app.admin.server import AdminServer, open_socket
from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.config.addresses import AddressPort
from app.config.errors import ConfigError
from app.config.settings import Settings, flag
from app.config.watching import watch_pool
from app.config.workerpool import ServiceSpec, WorkerPool
from app.discovery.following import Discovery
from app.discovery.kubernetes import KubernetesDiscovery
from app.discovery.list_watch import Condition, Limits
from app.discovery.slices import Family
from app.probing.prober import Prober
from app.proxy.deadlines import TICK
from app.proxy.listener import Listener
from app.proxy.proxy import Proxy
from app.runtime.limits import most_connections, most_worker_connections, raise_open_files
from app.telemetry.access_log import AccessLog
from app.telemetry.state import Telemetry

log = logging.getLogger(__name__)

_FAMILIES: Mapping[str, Family] = {"ipv4": "IPv4", "ipv6": "IPv6"}


class CannotListenError(OSError):
    """A port cannot be opened; the message says which, and why."""


class Balancer:
    """One pool behind one data port. To be made and run in a running event loop."""

    def __init__(self, settings: Settings, worker_pool: WorkerPool) -> None:
        """Join the parts. Raises `ConfigError` if the admin token's file cannot be accepted."""
        self.settings = settings
        self.pool = Pool(worker_pool.policy(), name=worker_pool.name)
        self.proxy = Proxy(asyncio.get_running_loop(), settings, self.pool)
        self.telemetry = Telemetry(
            self.pool, lambda: sum(self.retries.values()), self._access_log()
        )
        told = settings.metrics or settings.access_log
        self.proxy.backend.requests = self.telemetry.requests if told else None
        self.listening = asyncio.Event()
        """Set once both ports are open."""

        self.ports: tuple[int, int] = (0, 0)
        """The data port and the admin port that are listened on."""

        self._worker_pool = worker_pool
        self._admin_token = token_of(settings)
        self._prober = Prober(self.pool, self.telemetry.events.probe_ignored)
        self._discovery = Discovery(worker_pool.spec, self._discovered, self._follow_service)
        self._synced = False
        self._stop = asyncio.Event()

    # --- what the admin port sees

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""
        reasons = []
        if not self.listening.is_set():
            reasons.append("starting")
        if not self._synced:
            trouble = self.discovery.last_error if self.discovery else ""
            reason = "the workers are not discovered yet"
            reasons.append(f"{reason}: {trouble}" if trouble else reason)
        if self._stop.is_set():
            reasons.append("stopping")
        return reasons

    @property
    def discovery(self) -> Condition | None:
        """How the watch of the Kubernetes API is doing; None for listed endpoints."""
        return self._discovery.condition

    @property
    def retries(self) -> Mapping[Outcome, int]:
        """Attempts that were sent again since the start, by how they had ended."""
        return self.proxy.stats.retries

    @property
    def probe_ignored(self) -> bool:
        """Whether the pool's probe is not obeyed, since every worker fails it."""
        return self._prober.ignored

    def connections(self) -> tuple[int, int]:
        """Count the open connections of clients, and those to workers."""
        return len(self.proxy.downstreams), self.proxy.connections.open

    def totals(self) -> dict[str, int]:
        """Counters since the start, by name."""
        stats = self.proxy.stats
        return {
            "requests": stats.requests,
            "retries": sum(stats.retries.values()),
            "answered_by_balancer": sum(stats.answers.values()),
            "clients_gone": stats.clients_gone,
            "client_connections": len(self.proxy.downstreams),
            "worker_connections": self.proxy.connections.open,
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
        self.proxy.connections.most_open = most_worker_connections(open_files, limit)
        listener = Listener(self.proxy, limit)
        try:
            with _naming("listen", settings.listen):
                listener.listen(settings.listen.host, settings.listen.port)
            with _naming("admin_listen", settings.admin_listen):
                admin_socket = open_socket(settings.admin_listen.host, settings.admin_listen.port)
            self.ports = (listener.ports[0], admin_socket.getsockname()[1])
            admin = AdminServer(self._admin())
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(self._prober.run()),
                    group.create_task(self._discovery.run()),
                    group.create_task(self._watch_file()),
                    group.create_task(self._tick()),
                    group.create_task(self.telemetry.history.run()),
                ]
                serving = group.create_task(admin.serve(sockets=[admin_socket]))
                self.listening.set()
                log.info("data on port %d, admin on port %d", *self.ports)
                self.telemetry.events.note("balancer", "started")
                await self._stop.wait()
                await self._drain(listener)
                self.telemetry.closed.set()  # who watches is let go, and does not hold the end up
                admin.should_exit = True
                await serving
                self.proxy.close()  # before the prober, who is told of what ends by itself
                for part in parts:
                    part.cancel()
        finally:
            listener.close()
            self.proxy.close()

    def _admin(self) -> ASGIApp:
        app = create_app(self)
        return app if self._admin_token is None else RequireToken(app, self._admin_token)

    async def _drain(self, listener: Listener) -> None:
        """Send the clients away, those with a request after its answer."""
        text = f"stopping: accepting for another {self.settings.drain_delay:g} s"
        self.telemetry.events.note("balancer", text)
        self.proxy.draining = True
        await asyncio.sleep(self.settings.drain_delay)
        listener.close()
        deadline = monotonic() + self.settings.drain_timeout
        while self.proxy.busy and monotonic() < deadline:
            self.proxy.drain()  # again and again: a client may have been accepted at the very end
            await asyncio.sleep(TICK)
        if self.proxy.busy:
            log.warning("stopping with %d requests under way", self.pool.in_flight)

    # --- its tasks

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.proxy.tick(monotonic())

    async def _watch_file(self) -> None:
        await watch_pool(
            self.settings.config,
            on_change=self._reconfigure,
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

    def _discovered(self, endpoints: Sequence[EndpointSpec]) -> None:
        self._synced = True
        self.telemetry.endpoint_updates += 1
        with self.telemetry.events.together():
            self.pool.apply_snapshot(endpoints, monotonic())

    def _reconfigure(self, worker_pool: WorkerPool) -> None:
        """Obey a new file from now on; requests that run or wait are not touched."""
        telemetry = self.telemetry
        telemetry.config_generation += 1
        telemetry.config_ok = True
        telemetry.events.note("config", f"{self.settings.config} has changed, and is in force")
        self.pool.name = worker_pool.name
        self.pool.apply_policy(worker_pool.policy(), monotonic())
        self._prober.reconfigure()
        self._discovery.replace(worker_pool.spec)

    def _complain(self, error: ConfigError) -> None:
        self.telemetry.config_ok = False
        text = f"the last good configuration stays in force: {error}"
        self.telemetry.events.note("config", text, logging.ERROR)

    def _access_log(self) -> AccessLog | None:
        settings = self.settings
        if not settings.access_log:
            return None
        return AccessLog(self.pool, rate=settings.access_log_rate, query=settings.access_log_query)


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
