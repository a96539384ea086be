"""A balancer that switches its metrics off and on by itself, and measures what that changes.

Run by `benchmarks.metrics` as a process of its own. Between slices it alternates, in the order
on, off, off, on, so that what drifts meets both alike; of each slice it keeps the CPU time of the
process and the requests that ended, and writes all of them as JSON when it is told to stop.
"""

import asyncio
import gc
import json
import signal
import sys
from pathlib import Path
from time import process_time

import uvloop

from app.config.addresses import AddressPort
from app.config.loading import load_pool
from app.config.settings import Settings
from app.runtime.balancer import Balancer

SLICE = 0.1
"""Seconds of a slice."""


async def _slices(balancer: Balancer, kept: list[tuple[bool, float, int]]) -> None:
    backend = balancer.pools.served[0].backend
    requests = backend.requests
    number = 0
    while True:
        counted = number % 4 in {0, 3}
        backend.requests = requests if counted else None
        cpu, ended = process_time(), backend.stats.requests
        await asyncio.sleep(SLICE)
        kept.append((counted, process_time() - cpu, backend.stats.requests - ended))
        number += 1


async def _serve(settings: Settings) -> list[tuple[bool, float, int]]:
    assert settings.config is not None
    balancer = Balancer(settings, load_pool(settings.config))
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, balancer.stop)
    kept: list[tuple[bool, float, int]] = []
    running = loop.create_task(balancer.run())
    switching = loop.create_task(_slices(balancer, kept))
    await running
    switching.cancel()
    return kept


def main(config: str, port: str, out: str) -> None:
    """Serve the pool of the file `config` on `port` until SIGTERM, then write the file `out`."""
    settings = Settings(
        config=Path(config),
        listen=AddressPort("127.0.0.1", int(port)),
        admin_listen=AddressPort("127.0.0.1", 0),
        drain_delay=0.0,
        drain_timeout=1.0,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(out).write_text(json.dumps(runner.run(_serve(settings))))


if __name__ == "__main__":
    main(*sys.argv[1:])
