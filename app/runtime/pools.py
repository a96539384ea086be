"""The pools behind one data port: which there are, which requests they get, how they come and go.

`Pools` belongs to `balancer`, which tells it of the pool in the file, or of all WorkerPools that
are the balancer's. What always holds:

- a change is made in one call, between two requests: those that run or wait are not touched, those
  that come see all of it or nothing;
- a pool that goes gets nothing new, and stays until its last request has ended, with its endpoints
  followed and its workers checked. If one of the same name comes back meanwhile, it is the same
  pool again, so that the cap holds for both together;
- nothing is written to the Kubernetes API.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from app.admin.replicas import load_of_all
from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.config.resource import Identity
from app.config.routing import Claim, resolve
from app.config.workerpool import RouteSpec, WorkerPool
from app.discovery.following import Discovery, MakeKubernetes
from app.discovery.list_watch import Condition
from app.discovery.pools import PoolResource
from app.peers.runner import Runner
from app.peers.view import Standing
from app.probing.prober import Prober
from app.proxy.backend import RequestTracing
from app.proxy.proxy import Proxy
from app.telemetry.access_log import AccessLog
from app.telemetry.ring import Ring
from app.telemetry.state import Telemetry

log = logging.getLogger(__name__)

MakeLog = Callable[[Pool], AccessLog | None]
MakeTracing = Callable[[Pool], RequestTracing]
Unready = Callable[[], list[str]]


class ServedPool:
    """One pool with all that keeps it: endpoints, checks, connections, and what is remembered."""

    def __init__(self, key: str, worker_pool: WorkerPool, proxy: Proxy, parts: "Parts") -> None:
        self.worker_pool = worker_pool
        """The spec in force."""

        self._proxy = proxy
        self._peers = parts.peers
        # By name also where it is that of a file: replicas of one release may have it either way.
        self.pool = Pool(worker_pool.policy(), name=worker_pool.name, key=key or worker_pool.name)
        self.backend = proxy.add(self.pool)
        self.access_log = parts.access_log(self.pool)
        self.telemetry = Telemetry(
            self.pool, lambda: sum(self.retries.values()), self.access_log, parts.ring, self.load
        )
        self.backend.requests = self.telemetry.requests if parts.counted else None
        self.backend.events = self.telemetry.events
        self.backend.tracing = None if parts.tracing is None else parts.tracing(self.pool)
        self.identity: Identity | None = None
        """The WorkerPool that it is; None for that of a file."""

        self.generation = 0
        """Of the spec in force."""

        self.complaint = ""
        """Why a newer spec is not in force."""

        self.routes: list[RouteSpec] = []
        """Those that lead here."""

        self.synced = False
        """Whether its endpoints were known once."""

        self.leaving = False
        """Whether it is kept for the sake of its last requests alone."""

        self.naming: Callable[[EndpointSpec], EndpointSpec] | None = None
        """Gives endpoints other names, for who shows them; None in ordinary runs."""

        if self._peers is not None:
            self._peers.add_pool(self.pool)
        self._unready = parts.unready
        self._prober = Prober(self.pool, self.telemetry.events.probe_ignored)
        self._discovery = Discovery(worker_pool.spec, self._discovered, parts.make_kubernetes)
        self._task: asyncio.Task[None] | None = None

    # --- what the admin port sees, with `pool` and `telemetry`

    @property
    def discovery(self) -> Condition | None:
        """How the watch of its Service is doing; None for listed endpoints."""
        return self._discovery.condition

    @property
    def retries(self) -> Mapping[Outcome, int]:
        """Attempts that were sent again since the start, by how they had ended."""
        return self.backend.stats.retries

    @property
    def probe_ignored(self) -> bool:
        """Whether the pool's probe is not obeyed, since every worker fails it."""
        return self._prober.ignored

    @property
    def replicas(self) -> Standing | None:
        """Where this replica stands among the others; None if it is alone."""
        return None if self._peers is None else self._peers.standing()

    def load(self) -> tuple[int, int]:
        """Count the requests at workers, and those that wait: of all replicas, where known."""
        peers = self._peers
        if peers is None or peers.replica.arbiter is not None:  # the arbiter's pool has them all
            return self.pool.in_flight, self.pool.queued
        return load_of_all(peers.standing(), self.pool)

    def connections(self) -> tuple[int, int]:
        """Count the open connections of clients (of all pools), and those to its workers."""
        return len(self._proxy.downstreams), self.backend.connections.open

    def unready(self) -> list[str]:
        """Say why no new requests should come to this balancer; empty if they may."""
        return self._unready()

    # --- its life

    def start(self, group: asyncio.TaskGroup) -> None:
        """Follow the endpoints, and check them, until `stop`."""
        if self._task is None:
            self._task = group.create_task(self._run())

    def stop(self) -> None:
        """End what `start` began, with no request left."""
        self.telemetry.closed.set()
        self.telemetry.events.close()
        if self.access_log is not None:
            self.access_log.close()
        if self._peers is not None:
            self._peers.remove_pool(self.pool)
        if self._task is not None:
            self._task.cancel()

    def reconfigure(self, worker_pool: WorkerPool) -> None:
        """Obey another spec from now on; requests that run or wait are not touched."""
        self.worker_pool = worker_pool
        self.telemetry.config_generation += 1
        self.pool.name = worker_pool.name
        if self._peers is not None:
            self._peers.prepare_policy(self.pool, worker_pool.policy())
        self.pool.apply_policy(worker_pool.policy(), monotonic())
        self._prober.reconfigure()
        self._discovery.replace(worker_pool.spec)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prober.run())
            group.create_task(self._discovery.run())
            group.create_task(self.telemetry.history.run())

    def _discovered(self, endpoints: Sequence[EndpointSpec]) -> None:
        self.synced = True
        if self.naming is not None:
            endpoints = [self.naming(spec) for spec in endpoints]
        self.telemetry.endpoint_updates += 1
        with self.telemetry.events.together():
            self.pool.apply_snapshot(endpoints, monotonic())


@dataclass(frozen=True, slots=True)
class Parts:
    """What each pool needs of the balancer."""

    make_kubernetes: MakeKubernetes
    ring: Ring
    """Keeps the events of all."""

    access_log: MakeLog
    unready: Unready
    counted: bool
    """Whether requests are counted as they end."""

    tracing: MakeTracing | None
    """Makes what makes spans, where they are wanted."""

    peers: Runner | None
    """The other replicas, if this one is to decide together with them."""


class Pools:
    """All pools of one balancer."""

    def __init__(self, proxy: Proxy, parts: Parts) -> None:
        self._proxy = proxy
        self._parts = parts
        self._group: asyncio.TaskGroup | None = None
        self._served: dict[str, ServedPool] = {}
        """By the WorkerPool's name; under the empty one, that of the file."""

        self.known = False
        """Whether it was told once which pools there are."""

        self.refused: list[PoolResource] = []
        """WorkerPools that never had a spec that could be accepted."""

    @property
    def served(self) -> list[ServedPool]:
        """Those that are the balancer's, by name."""
        there = (pool for pool in self._served.values() if not pool.leaving)
        return sorted(there, key=lambda served: served.pool.name)

    def everyone(self) -> list[ServedPool]:
        """Return those too that are leaving."""
        return list(self._served.values())

    # --- which pools there are

    def set_file(self, worker_pool: WorkerPool) -> None:
        """There is one pool, that of the file."""
        self.known = True
        self._serve("", worker_pool).telemetry.config_ok = True
        self._route([Claim("", ("", ""), worker_pool.spec.routes)])

    def set_resources(self, resources: Sequence[PoolResource]) -> None:
        """There are these WorkerPools, and no others."""
        self.known = True
        self.refused = [resource for resource in resources if resource.in_force is None]
        claims, names = [], set()
        for resource in resources:
            if resource.in_force is None:
                continue
            identity = resource.identity
            served = self._serve(identity.name, resource.in_force)
            served.identity = identity
            served.generation = resource.generation
            served.complaint = resource.complaint
            served.telemetry.config_ok = not resource.complaint
            routes = resource.in_force.spec.routes
            claims.append(Claim(identity.name, identity.seniority, routes))
            names.add(identity.name)
        for name, served in self._served.items():
            if name not in names and not served.leaving:
                served.leaving = True
                text = f"WorkerPool {name} is no longer this balancer's"
                served.telemetry.events.note("config", text)
        self._route(claims)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Follow the endpoints of all pools, in tasks of the group, until `stop`."""
        self._group = group
        for served in self._served.values():
            served.start(group)

    def stop(self) -> None:
        """End what `start` began."""
        self._group = None
        for served in self._served.values():
            served.stop()

    def tick(self, now: float) -> None:
        """Let go of the pools that have left, once their last request has ended.

        Called some times a second, for the sake of the access logs too.
        """
        for name, served in list(self._served.items()):
            if served.access_log is not None:
                served.access_log.tick(now)
            if served.leaving and self._proxy.through_with(served.backend):
                del self._served[name]
                self._proxy.remove(served.backend)
                served.stop()

    # --- inside

    def _serve(self, name: str, worker_pool: WorkerPool) -> ServedPool:
        served = self._served.get(name)
        if served is None:
            served = ServedPool(name, worker_pool, self._proxy, self._parts)
            self._served[name] = served
            if self._group is not None:
                served.start(self._group)
            if name:
                served.telemetry.events.note("config", f"WorkerPool {name} is served")
        elif served.worker_pool != worker_pool:
            served.reconfigure(worker_pool)
            what = f"WorkerPool {name}" if name else "the pool's file"
            served.telemetry.events.note("config", f"{what} has changed, and is in force")
        served.leaving = False
        return served

    def _route(self, claims: Sequence[Claim]) -> None:
        routing = resolve(claims)
        for served in self._served.values():
            served.routes = []
        for route, name in routing.owners.items():
            self._served[name].routes.append(route)
        for claim in claims:
            for route in routing.lost(claim.name):
                log.warning("WorkerPool %s does not get %s: an older one has it", claim.name, route)
        self._proxy.route_by(
            {
                (route.host, route.path_prefix): self._served[name].backend
                for route, name in routing.owners.items()
            }
        )
