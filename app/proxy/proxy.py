"""What all requests share: the backends and their routes, the clients, and the clock's sweep."""

import asyncio
import logging
from collections.abc import Mapping

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.config.settings import Settings
from app.http1.requests import RequestHead
from app.proxy.backend import Backend
from app.proxy.deadlines import Deadlines
from app.proxy.downstream import Downstream
from app.proxy.hangups import Hangups
from app.proxy.limits import client_limits
from app.proxy.replay import ReplayMemory
from app.proxy.routes import RouteTable

log = logging.getLogger(__name__)


class Proxy:
    """The data path of all pools behind one data port."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.limits = client_limits(settings)
        self.replays = ReplayMemory(settings.replay_memory_bytes)
        self.deadlines = Deadlines()
        self.hangups = Hangups(loop)
        self.downstreams: set[Downstream] = set()
        self.draining = False
        """Whether clients are to be sent away after their current request."""

        self.closing = False
        """Whether what is left is being broken off."""

        self.on_room = _nothing
        """Called when a client's connection has ended; the listener's."""

        self.nowhere = Backend(self, Pool(Policy(), name="-"))
        """Has what no route fits, and what is no request: its pool is empty, and stays so."""

        self.backends: set[Backend] = set()
        self.sole: Backend | None = None
        """Where every request goes; None if the routes decide."""

        self._routes: RouteTable[Backend] = RouteTable({})
        self._most_open: int | None = None

    @property
    def busy(self) -> bool:
        """Whether a client is connected or a worker still has a request of ours."""
        return bool(self.downstreams) or any(b.pool.own_in_flight for b in self.backends)

    @property
    def backend(self) -> Backend:
        """The only backend, where there is one pool."""
        (backend,) = self.backends
        return backend

    # --- pools that come and go

    def add(self, pool: Pool) -> Backend:
        """Take a pool in; it gets requests when a route leads to it."""
        backend = Backend(self, pool)
        self.backends.add(backend)
        self._share()
        return backend

    def through_with(self, backend: Backend) -> bool:
        """Tell whether no request is under way there, also none that is still being read."""
        pool = backend.pool
        if pool.in_flight or pool.queued:
            return False
        exchanges = (downstream.exchange for downstream in self.downstreams)
        return not any(e is not None and e.backend is backend for e in exchanges)

    def remove(self, backend: Backend) -> None:
        """Let go of a pool that no route leads to, and that we are through with."""
        self.backends.discard(backend)
        backend.connections.close()
        self._share()

    def limit_connections(self, most_open: int) -> None:
        """Keep so many connections to workers at the most, those of all pools together."""
        self._most_open = most_open
        self._share()

    def _share(self) -> None:
        """Give each pool the same part of the connections."""
        if self._most_open is not None and self.backends:
            part = max(1, self._most_open // len(self.backends))
            for backend in self.backends:
                backend.connections.most_open = part

    def route_by(self, routes: Mapping[tuple[str, str], Backend]) -> None:
        """Send the requests that begin from now on by these: (host, path prefix) each."""
        self._routes = RouteTable(routes)
        self.sole = self._routes.sole

    def route(self, head: RequestHead) -> Backend | None:
        """Return where the request goes; None if no route fits."""
        return self._routes.match(head.host, head.target)

    # --- time, and the end

    def tick(self, now: float) -> None:
        """End what has taken too long. To be called every `deadlines.TICK` seconds."""
        self.deadlines.sweep(now)
        for backend in self.backends:
            try:
                backend.pool.tick(now)
            except Exception:  # one pool's fault is not to end all the others
                log.exception("the tick of pool %s has failed", backend.pool.name)

    def forget(self, downstream: Downstream) -> None:
        """Take note that a client's connection has ended."""
        self.downstreams.discard(downstream)
        self.deadlines.forget(downstream)
        self.on_room()

    def drain(self) -> None:
        """Send clients away: the idle ones now, the others with their answer."""
        self.draining = True
        for downstream in list(self.downstreams):
            downstream.drain()

    def close(self) -> None:
        """Break off whatever is left."""
        self.closing = True
        for downstream in list(self.downstreams):
            downstream.abort()
        for backend in self.backends:
            backend.connections.close()
        self.hangups.close()


def _nothing() -> None:
    """Do nothing: there is no listener yet."""
