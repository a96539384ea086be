"""The dashboard's feed: server-sent events, one JSON object each.

The first message of a stream says everything; each later one what has changed since, so that
500 workers of which few change cost little. All that watch share one ticker, which exists only
while somebody watches. A watcher that does not keep up is let go; it comes back, and begins with
everything again.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from app import __version__
from app.admin.choosing import briefs
from app.admin.pool_metrics import told_apart
from app.admin.replicas import Replicas, replicas_of, slots_of_all, troubles_of
from app.admin.view import Watched
from app.balancing.endpoint import Endpoint, Phase
from app.balancing.pool import Pool
from app.telemetry.history import Row

INTERVAL = 0.5
"""Seconds between two messages."""

MAX_WATCHERS = 50
"""Streams at once; more are refused."""

_BEHIND = 8
"""Messages that a watcher may be behind."""

COLUMNS = (
    "name", "address", "phase", "reason", "in_rotation", "in_flight", "requests", "failed",
    "refused", "connect_errors", "answer_seconds", "last_error", "node", "zone",
)  # fmt: skip
"""What each element of a worker's row is."""

_IN_FLIGHT = COLUMNS.index("in_flight")

Line = list[Any]


class TooManyError(Exception):
    """As many watch as may."""


class Feed:
    """What all streams of one balancer share."""

    def __init__(self, view: Watched, pools: Callable[[], Sequence[Watched]] | None = None) -> None:
        """Tell of the pool `view`, and that it is one of `pools`; None if it is alone."""
        self._view = view
        self._pools = pools or (lambda: [view])
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._lines: dict[str, Line] = {}
        """The workers as they were told last, by name."""

        self._event = 0
        self._row = 0.0

    @property
    def watchers(self) -> int:
        """How many streams there are."""
        return len(self._queues)

    def watch(self) -> AsyncIterator[bytes]:
        """Begin a stream. Raises `TooManyError`."""
        if len(self._queues) >= MAX_WATCHERS:
            raise TooManyError
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_BEHIND)
        queue.put_nowait(_message(self.everything()))
        return self._stream(queue)

    def everything(self) -> dict[str, Any]:
        """Say all that there is to say."""
        telemetry = self._view.telemetry
        return {
            "boot": telemetry.boot,
            "version": __version__,
            "started_at": telemetry.started_at,
            "columns": COLUMNS,
            "row_columns": Row._fields,
            **self._state(),
            "workers": list(self._read().values()),
            "events": [event.as_dict() for event in telemetry.events],
            "history": list(telemetry.history),
        }

    def changes(self) -> dict[str, Any]:
        """Say what has changed since this was asked last."""
        telemetry = self._view.telemetry
        lines, before = self._read(), self._lines
        told = {
            **self._state(),
            "workers": [line for name, line in lines.items() if before.get(name) != line],
            "left": [name for name in before if name not in lines],
            "events": [event.as_dict() for event in telemetry.events.since(self._event)],
            "history": telemetry.history.since(self._row),
        }
        self._lines = lines
        self._event, self._row = telemetry.events.last, telemetry.history.last
        return told

    # --- inside

    async def _stream(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        self._queues.add(queue)
        if self._ticker is None:
            self.changes()  # from here on
            self._ticker = asyncio.get_running_loop().create_task(self._tick())
        try:
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._queues.discard(queue)
            if not self._queues and self._ticker is not None:
                self._ticker.cancel()
                self._ticker = None

    async def _tick(self) -> None:
        closed = self._view.telemetry.closed
        while not closed.is_set():
            message = _message(self.changes())
            for queue in list(self._queues):
                if queue.full():  # it would miss something: let it begin anew
                    self._queues.discard(queue)
                    queue.get_nowait()
                    queue.put_nowait(None)
                else:
                    queue.put_nowait(message)
            try:
                async with asyncio.timeout(INTERVAL):
                    await closed.wait()
            except TimeoutError:
                continue
        last = _message(self.changes())
        for queue in self._queues:
            if not queue.full():
                queue.put_nowait(last)
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def _read(self) -> dict[str, Line]:
        pool, latency = self._view.pool, self._view.telemetry.requests.latency
        standing = self._view.replicas
        slots = None if standing is None else slots_of_all(standing, pool)
        lines = {}
        for name, endpoint in sorted(told_apart(pool.endpoints.values()).items()):
            line = _line(name, endpoint, pool, latency.get(endpoint.name))
            if slots is not None:  # the cap is for all replicas together
                line[_IN_FLIGHT] = slots.get(endpoint.spec.identity, 0)
            lines[name] = line
        return lines

    def _state(self) -> dict[str, Any]:
        """Say what is small and told each time."""
        view = self._view
        pool, telemetry = view.pool, view.telemetry
        clients, workers = view.connections()
        watch, standing = view.discovery, view.replicas
        replicas = None if standing is None else replicas_of(standing, pool)
        if replicas is None:
            in_flight, queued = pool.in_flight, pool.queued
        else:
            in_flight, queued = replicas.in_flight, replicas.queued
        return {
            "now": round(time.time(), 3),
            "pool": {
                "name": pool.name,
                "cap": pool.policy.max_in_flight,
                "in_flight": in_flight,
                "queued": queued,
                "queue_size": pool.policy.queue.size,
                "rotation": len(pool.rotation),
                "workers": len(pool.endpoints),
                "ended": sum(telemetry.requests.classes),
                "retried": sum(view.retries.values()),
                "client_connections": clients,
                "worker_connections": workers,
            },
            "pools": briefs(self._pools()),
            "troubles": self._troubles(replicas),
            "replicas": None if replicas is None else replicas.model_dump(),
            "watch": None if watch is None else {"name": watch.name, "up": watch.watching},
        }

    def _troubles(self, replicas: Replicas | None) -> list[str]:
        """Say what a person should know before anything else."""
        view = self._view
        troubles = [f"Not ready: {reason}." for reason in view.unready()]
        if replicas is not None:
            troubles += troubles_of(replicas)
        if not view.telemetry.config_ok:
            troubles.append(
                "The pool's newest spec cannot be accepted: the last good one is in force."
            )
        if view.probe_ignored:
            troubles.append("Every worker fails the probe: it is not obeyed.")
        watch = view.discovery
        if watch is not None and watch.synced and not watch.watching:
            troubles.append(f"No watch of the Kubernetes API: {watch.last_error}.")
        if not view.pool.rotation:
            troubles.append("No worker is in rotation: requests wait.")
        return troubles


def _line(name: str, endpoint: Endpoint, pool: Pool, latency: float | None) -> Line:
    spec, phase = endpoint.spec, endpoint.phase
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    return [
        name,
        f"{host}:{spec.port}",
        phase.value,
        endpoint.health.reason if phase in {Phase.SUSPECT, Phase.EJECTED} else "",
        endpoint in pool.rotation,
        endpoint.in_flight,
        endpoint.granted,
        endpoint.failed,
        endpoint.refusals,
        endpoint.connect_errors,
        None if latency is None else round(latency, 4),
        endpoint.last_error,
        spec.node,
        spec.zone,
    ]


def _message(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return f"data: {text}\n\n".encode()
