"""Measure what an event costs at 1,000 endpoints: `python -m tests.unit.discovery.measure [dual]`.

A real HTTP server in a thread of its own sends the events; a `KubernetesDiscovery` on uvloop feeds
a `Pool` with its log of events. Two figures: from the write at the server to the changed rotation,
and how late a timer of a millisecond fires meanwhile, which is what a request would wait.
"""

import asyncio
import logging
import random
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from typing import Any

import uvloop

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.config.workerpool import ServiceSpec
from app.discovery.kubernetes import KubernetesDiscovery
from app.telemetry.events import Events
from tests.unit.discovery.api import Api, kubeconfig, serving
from tests.unit.discovery.wire import entry, slice_of

SLICES, EACH, EVENTS = 10, 100, 500


class Server(threading.Thread):
    """The API server, in a loop and a thread of its own."""

    def __init__(self, *, dual: bool) -> None:
        super().__init__(daemon=True)
        self.loop = asyncio.new_event_loop()
        self.up = threading.Event()
        self.dual = dual
        self.ready = [[True] * EACH for _ in range(SLICES)]
        self.api: Api

    def run(self) -> None:
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with serving() as self.api:
            for number in range(SLICES):
                self._put(number)
            self.up.set()
            await asyncio.get_running_loop().create_future()

    def change(self) -> None:
        """Turn the readiness of one pod."""
        number, place = random.randrange(SLICES), random.randrange(EACH)
        self.ready[number][place] ^= True
        self._put(number)

    def _put(self, number: int) -> None:
        for family in ("IPv4", "IPv6") if self.dual else ("IPv4",):
            entries: list[dict[str, Any]] = []
            for place, ready in enumerate(self.ready[number]):
                pod = number * EACH + place
                address = f"10.{number}.0.{place}" if family == "IPv4" else f"fd00::{pod:x}"
                uid = f"0b6c6a3e-4f4c-4b7d-9a52-{pod:012d}"
                name = f"worker-7d8f9c5b6d-{pod:05d}"
                entries.append(entry(name, address, ready=ready, serving=ready, uid=uid))
            self.api.put(slice_of(f"worker-{family}-{number}", *entries, family=family))


class Lateness:
    """How late a timer fires, in seconds."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def run(self) -> None:
        while True:
            due = perf_counter() + 0.001
            await asyncio.sleep(0.001)
            self.seen.append(perf_counter() - due)


def show(what: str, seconds: list[float]) -> None:
    found = sorted(seconds)
    parts = [found[len(found) // 2], found[int(len(found) * 0.99)], found[-1]]
    print(f"{what:34}", " ".join(f"{1000 * part:7.2f}" for part in parts), "ms (p50, p99, max)")


async def main(server: Server, file: Path) -> None:
    pool = Pool(Policy(max_in_flight=4))
    pool.observers.append(Events())
    changed = asyncio.Event()
    spent: list[float] = []

    def apply(specs: Any) -> None:
        began = thread_time()
        pool.apply_snapshot(specs, asyncio.get_running_loop().time())
        spent.append(thread_time() - began)
        changed.set()

    discovery = KubernetesDiscovery(ServiceSpec(name="worker", port="http"), None, apply,
                                    kubeconfig=file)  # fmt: skip
    task = asyncio.create_task(discovery.run())
    await changed.wait()
    while not discovery.condition.watching:
        await asyncio.sleep(0.001)
    print(f"{len(pool.rotation)} endpoints; the first snapshot took {1000 * spent[0]:.1f} ms")
    took, cpu = await send(server, changed)
    lateness, idle = Lateness(), Lateness()
    for seen in (idle, lateness):
        timer = asyncio.create_task(seen.run())
        await (asyncio.sleep(2) if seen is idle else send(server, changed))
        timer.cancel()
    show("encoded and written, to rotation", took)
    show("CPU of the balancer's thread", cpu)
    show("of it apply_snapshot", spent[1:])
    show("a timer's lateness, no events", idle.seen)
    show("a timer's lateness, events", lateness.seen)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def send(server: Server, changed: asyncio.Event) -> tuple[list[float], list[float]]:
    """Let one pod after the other change; return the times that passed, and those of CPU."""
    took, cpu = [], []
    for _ in range(EVENTS):
        changed.clear()
        began, busy = perf_counter(), thread_time()
        server.loop.call_soon_threadsafe(server.change)
        await changed.wait()
        took.append(perf_counter() - began)
        cpu.append(thread_time() - busy)
        await asyncio.sleep(0.005)
    return took, cpu


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, filename="/dev/null")
    sys.setswitchinterval(0.0005)
    thread = Server(dual="dual" in sys.argv)
    thread.start()
    thread.up.wait()
    with TemporaryDirectory() as folder:
        uvloop.run(main(thread, kubeconfig(Path(folder) / "config", thread.api.url)))
