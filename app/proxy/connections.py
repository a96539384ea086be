"""The connections to the workers of one pool: idle ones are kept, new ones opened.

An idle connection is also an ear at the worker: its FIN is told to the pool, as weak evidence
that the worker may have died. The last used is used first, so that the surplus grows old and is
closed, by us, before the worker would close it.
"""

import asyncio
import socket
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import OURS, Sign
from app.balancing.lease import Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.proxy.deadlines import Deadlines
from app.proxy.keepalive import INTERVAL, QUESTIONS, set_keep_alive, set_user_timeout
from app.proxy.upstream import Upstream

if TYPE_CHECKING:
    from app.proxy.exchange import Exchange

KEEP_ALIVE: Final = 10
"""Seconds of silence after which a worker is asked whether it is still there: one that thinks for
minutes answers this, a node that is gone does not, and is seen to be after 25 s in all."""

MAX_IDLE: Final = 128
"""Idle connections kept to one worker at the most."""

_NO_LIMIT: Final = 1 << 62

_OUT_OF_ROTATION: Final = frozenset({Phase.EJECTED, Phase.UNREADY, Phase.DRAINING, Phase.GONE})


class Connections:
    """Opens, keeps and closes the connections to a pool's workers."""

    def __init__(self, pool: Pool, deadlines: Deadlines) -> None:
        self.pool = pool
        self.deadlines = deadlines
        self._idle: dict[Endpoint, list[Upstream]] = {}
        self._open: set[Upstream] = set()
        self.most_open = _NO_LIMIT
        """Connections beyond which no idle ones are kept: what is left of the open files is for
        clients, checks and the admin port."""

        pool.observers.append(self)

    @property
    def policy(self) -> Policy:
        """The limits in force."""
        return self.pool.policy

    @property
    def open(self) -> int:
        """How many connections there are, in use or idle."""
        return len(self._open)

    def checkout(self, endpoint: Endpoint, now: float, max_idle: float) -> Upstream | None:
        """Take an idle connection that has been idle for `max_idle` seconds at the most.

        With a limit, it is also asked for news that the event loop has not told yet: a worker that
        stops closes each connection right after its response, just when that is handed on.
        """
        idle = self._idle.get(endpoint)
        while idle:
            if now - idle[-1].idle_since > max_idle:
                return None  # those below have been idle for longer still
            if max_idle < inf and idle[-1].has_news():
                return None  # what news will be told soon enough; a new connection is safe
            upstream = idle.pop()
            spec = endpoint.spec
            moved = upstream.spec is not spec and (
                (upstream.spec.host, upstream.spec.port) != (spec.host, spec.port)
            )
            if moved or upstream.transport.is_closing():
                upstream.abort()
                continue
            return upstream
        return None

    def connect(self, endpoint: Endpoint, exchange: "Exchange") -> Callable[[], object]:
        """Open a connection for `exchange`; return how to call it off.

        The exchange is told by `connected` or `connect_failed`, later and once, unless it calls
        the connect off.
        """
        # A task, since the loop's connect is a coroutine: one for each connection, not request.
        task = asyncio.get_running_loop().create_task(self._connect(endpoint, exchange))
        return task.cancel

    def recycle(self, upstream: Upstream, now: float) -> None:
        """Keep a connection whose exchange is over for the next one."""
        endpoint = upstream.endpoint
        keep = min(self.pool.policy.timeouts.idle, upstream.idle_for)
        if (
            keep <= 0
            or endpoint not in self.pool.rotation
            or upstream.transport.is_closing()
            or len(self._open) > self.most_open
        ):
            upstream.abort()
            return
        idle = self._idle.get(endpoint)
        if idle is None:
            idle = self._idle[endpoint] = []
        elif len(idle) >= MAX_IDLE:
            upstream.abort()
            return
        upstream.idle_since = now
        idle.append(upstream)
        due = now + keep
        if due < upstream.armed:
            self.deadlines.arm(upstream, due)

    def expire(self, upstream: Upstream, now: float) -> float | None:
        """Close an idle connection whose time is over, or say when it will be."""
        due = upstream.idle_since + min(self.policy.timeouts.idle, upstream.idle_for)
        if now < due:
            return due
        self._discard(upstream)
        return None

    def spoiled(self, upstream: Upstream) -> None:
        """Close an idle connection on which the worker spoke unasked."""
        self._discard(upstream)

    def opened(self, upstream: Upstream) -> None:
        """Count a connection."""
        self._open.add(upstream)

    def lost(self, upstream: Upstream) -> None:
        """Take note of a connection's end; if it was idle and we did not end it, that is a sign."""
        self._open.discard(upstream)
        self.deadlines.forget(upstream)
        if self._drop(upstream):
            self.pool.observe(upstream.endpoint, Sign.IDLE_CLOSED, monotonic())

    def close(self) -> None:
        """Close all connections, also those whose response is read though its client has gone."""
        self._idle.clear()
        for upstream in list(self._open):
            if upstream.exchange is not None:
                upstream.exchange.cancel()
            upstream.abort()

    # --- as observer of the pool

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Close the idle connections to an endpoint that gets nothing new."""
        if endpoint.phase in _OUT_OF_ROTATION:
            self._close_idle(endpoint)

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Nothing to do: the phase tells."""

    # --- inside

    async def _connect(self, endpoint: Endpoint, exchange: "Exchange") -> None:
        upstream = Upstream(self, endpoint)
        try:
            async with asyncio.timeout(self.policy.timeouts.connect):
                await self._reach(upstream)
        except asyncio.CancelledError:
            self._open.discard(upstream)  # it may have been opened: the loop closes it unsaid
            raise
        except TimeoutError:
            self._open.discard(upstream)
            exchange.connect_failed(Outcome.CONNECT_SILENT, "")
            return
        except OSError as error:
            if error.errno in OURS:
                exchange.connect_failed(Outcome.CANCELLED, str(error))
            else:
                exchange.connect_failed(Outcome.CONNECT_REFUSED, error.strerror or str(error))
            return
        if upstream.transport.is_closing():  # accepted, and closed before we could speak
            exchange.connect_failed(Outcome.CONNECT_REFUSED, "closed at once")
            return
        sock: socket.socket = upstream.transport.get_extra_info("socket")
        set_keep_alive(sock, idle=KEEP_ALIVE)
        set_user_timeout(sock, KEEP_ALIVE + INTERVAL * QUESTIONS)
        exchange.connected(upstream)

    async def _reach(self, upstream: Upstream) -> None:
        """Open a connection; where files are short or have run out, in the place of an idle one."""
        if len(self._open) >= self.most_open:
            spare = self._eldest()
            if spare is not None:
                self._discard(spare)
        loop = asyncio.get_running_loop()
        spec = upstream.spec
        protocol = cast("asyncio.Protocol", upstream)  # by its methods, not by its base
        try:
            await loop.create_connection(lambda: protocol, spec.host, spec.port)
        except OSError as error:
            eldest = self._eldest() if error.errno in OURS else None
            if eldest is None:
                raise
            self._discard(eldest)
            await eldest.closed()
            await loop.create_connection(lambda: protocol, spec.host, spec.port)

    def _eldest(self) -> Upstream | None:
        """Return the connection that has been idle for longest."""
        oldest = [idle[0] for idle in self._idle.values() if idle]
        return min(oldest, key=lambda upstream: upstream.idle_since, default=None)

    def _discard(self, upstream: Upstream) -> None:
        """Close an idle connection."""
        self._drop(upstream)
        upstream.abort()

    def _drop(self, upstream: Upstream) -> bool:
        """Take a connection off the idle ones; return whether it was there."""
        idle = self._idle.get(upstream.endpoint)
        if not idle or upstream not in idle:
            return False
        idle.remove(upstream)
        return True

    def _close_idle(self, endpoint: Endpoint) -> None:
        for upstream in self._idle.pop(endpoint, ()):
            upstream.abort()
