"""The demo's balancer process: the ordinary balancer, and a recorder that looks on.

Run as `python -m app.demo.balancer POOL RECORDS NAMES` by `app.demo.run`: the pool's file, the
file to record into, and a JSON object with the workers' names by their endpoints. One line of
JSON on stdout tells the ports. Ends on SIGTERM.
"""

import asyncio
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from app.config.loading import load_pool
from app.config.settings import Settings, load_settings
from app.config.workerpool import WorkerPool
from app.demo.recorder import Recorder
from app.runtime.balancer import Balancer
from app.runtime.serve import set_up_log


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; return the exit code."""
    pool_file, records, names = arguments
    settings = load_settings(
        {"config": pool_file, "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    )
    set_up_log(settings.log_level, settings.log_format)
    worker_pool = load_pool(Path(pool_file))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, worker_pool, Path(records), json.loads(names)))
    return 0


async def _serve(
    settings: Settings, worker_pool: WorkerPool, records: Path, names: dict[str, str]
) -> None:
    balancer = Balancer(settings, worker_pool)
    (served,) = balancer.pools.served
    # The workers are called as the scenario calls them, for who looks at the balancer.
    served.naming = lambda spec: replace(spec, name=names.get(spec.name, spec.name))
    with records.open("a") as file:
        recorder = Recorder(balancer.pool, file, names)
        balancer.pool.observers.append(recorder)
        balancer.pool.dispatch_observer = recorder
        balancer.proxy.backend.observer = recorder
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, balancer.stop)
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(recorder.run())
            announcing = group.create_task(_announce(balancer))
            await balancer.run()
            announcing.cancel()
            recording.cancel()


async def _announce(balancer: Balancer) -> None:
    """Tell on stdout, as one line of JSON, on which ports requests are taken."""
    await balancer.listening.wait()
    data, admin = balancer.ports
    line = {"event": "listening", "port": data, "admin": admin, "monotonic": time.monotonic()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
