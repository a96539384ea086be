"""`leastwise serve`: the process around a balancer, with its signals, its log and its exit code."""

import asyncio
import gc
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from typing import Literal

import uvloop

from app.config.loading import load_pool
from app.config.settings import Settings
from app.config.workerpool import WorkerPool
from app.runtime.balancer import Balancer, CannotListenError

EXIT_STOPPED, EXIT_FAILED, EXIT_MISUSED = 0, 1, 2
"""Drained after a signal; could not start, or cut short by a second signal; bad configuration."""

log = logging.getLogger(__name__)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; what a record brings as `fields` stands beside its message."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, object] = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_log(level: str, style: Literal["text", "json"]) -> None:
    """Log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the rest of it we say ourselves
    logging.getLogger("kubernetes_asyncio").setLevel(logging.CRITICAL)  # it raises what it logs


def serve(settings: Settings) -> int:
    """Run a balancer until SIGTERM or SIGINT; return the process's exit code.

    Raises `ConfigError` if the pool's file cannot be accepted.
    """
    set_up_log(settings.log_level, settings.log_format)
    worker_pool = load_pool(settings.config) if settings.config else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(settings, worker_pool))
        except CannotListenError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is enough
            return EXIT_FAILED


async def _serve(settings: Settings, worker_pool: WorkerPool | None) -> int:
    balancer = Balancer(settings, worker_pool)
    # What is there now stays for good, modules above all. Else the collector looks at all of it in
    # each full round, in which no request is served: 30 to 60 ms, 2 without it. What discovery
    # imports later, it sees to itself.
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    running = loop.create_task(balancer.run())
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            balancer.stop()
        else:
            log.warning("a second signal: stopping at once")
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await running
    except asyncio.CancelledError:
        return EXIT_FAILED
    return EXIT_STOPPED
