"""What all requests share: the pool, its connections, the clients, and the counters."""

import asyncio

from app.balancing.pool import Pool
from app.config.settings import Settings
from app.proxy.backend import Backend
from app.proxy.deadlines import Deadlines
from app.proxy.downstream import Downstream
from app.proxy.hangups import Hangups
from app.proxy.limits import client_limits
from app.proxy.replay import ReplayMemory


class Proxy:
    """The data path of one pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, pool: Pool) -> None:
        self.limits = client_limits(settings)
        self.replays = ReplayMemory(settings.replay_memory_bytes)
        self.pool = pool
        self.deadlines = Deadlines()
        self.hangups = Hangups(loop)
        self.backend = Backend(self, pool)
        self.connections = self.backend.connections
        self.stats = self.backend.stats
        self.downstreams: set[Downstream] = set()
        self.draining = False
        """Whether clients are to be sent away after their current request."""

        self.closing = False
        """Whether what is left is being broken off."""

        self.on_room = _nothing
        """Called when a client's connection has ended; the listener's."""

    @property
    def busy(self) -> bool:
        """Whether a client is connected or a worker still has a request of ours."""
        return bool(self.downstreams) or self.pool.in_flight > 0

    def tick(self, now: float) -> None:
        """End what has taken too long. To be called every `deadlines.TICK` seconds."""
        self.deadlines.sweep(now)
        self.pool.tick(now)

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
        self.connections.close()
        self.hangups.close()


def _nothing() -> None:
    """Do nothing: there is no listener yet."""
