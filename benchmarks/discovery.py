"""What a change in the cluster costs at 1,000 endpoints: until it is obeyed, and for requests.

A whole balancer in this process follows an API server in another one (`discovery_api`), which turns
the readiness of one pod after the other. Two figures count (their aims: `targets.py`):

- from the write of the event at the server to the changed rotation;
- what it adds to the wait of anything else that the event loop has to do, as requests are. A timer
  of a millisecond tells, by how late it fires; without events it tells what the machine does by
  itself.

Besides, the same for a list of all slices anew, which follows a failure, and for the first list,
which comes before there are requests. The wall clock also counts when other processes had the core;
the CPU time of the loop's thread does not, and shows what is ours.
"""

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, thread_time
from typing import Any, NamedTuple, Self

import uvloop

from app.balancing.endpoint import Endpoint, Phase
from app.config.addresses import AddressPort
from app.config.loading import load_pool
from app.config.settings import Settings
from app.runtime.balancer import Balancer
from benchmarks.discovery_api import CERTIFICATES
from benchmarks.run import Run
from benchmarks.tables import Table, figure

SLICES, EACH = 10, 100
ROOT = Path(__file__).parents[1]

POOL = "spec: {service: {name: worker, port: http}, maxInFlight: 4}\n"
ANY = AddressPort("127.0.0.1", 0)


class Amount(NamedTuple):
    """How thorough a run is."""

    events: int
    lists: int
    idle_seconds: float


class Changes:
    """Observes the pool: when an endpoint last came or went."""

    def __init__(self) -> None:
        self.at = 0.0
        self.cpu = 0.0
        self.changed = asyncio.Event()

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        self.at, self.cpu = monotonic(), thread_time()
        self.changed.set()

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        pass


class Lateness:
    """How late a timer of a millisecond fires while the block runs, in seconds.

    `busy` is the CPU time that the loop's thread took meanwhile: the part of it that is ours.
    """

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.busy: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            due, busy = perf_counter() + 0.001, thread_time()
            await asyncio.sleep(0.001)
            self.busy.append(thread_time() - busy)
            self.seen.append(max(0.0, perf_counter() - due))


class Server:
    """The API server's process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.url = f"https://127.0.0.1:{int(self._out.readline())}"

    def tell(self, command: str) -> None:
        self._in.write(command.encode() + b"\n")
        self._in.flush()

    def open(self) -> None:
        """Let lists be answered, once the first one has been asked for."""
        self.tell("open")
        assert self._out.readline() == b"open\n"

    def times(self) -> list[float]:
        """When each event was written."""
        self.tell("times")
        times: list[float] = json.loads(self._out.readline())
        return times


@contextmanager
def served() -> Iterator[Server]:
    """Run the API server."""
    command = [sys.executable, "-m", "benchmarks.discovery_api", str(SLICES), str(EACH)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()


def summary(seconds: list[float]) -> dict[str, float]:
    found = sorted(seconds)
    picked = {"p50": found[len(found) // 2], "p99": found[int(len(found) * 0.99)], "max": found[-1]}
    return {name: 1000 * value for name, value in picked.items()}


async def measure(server: Server, folder: Path, amount: Amount) -> dict[str, Any]:
    balancer = _balancer(server, folder)
    changes = Changes()
    balancer.pool.observers.append(changes)
    running = asyncio.create_task(balancer.run())
    await _started(balancer)
    await asyncio.to_thread(server.open)
    async with Lateness() as first:
        await _watching(balancer)
    assert len(balancer.pool.rotation) == SLICES * EACH
    async with Lateness() as idle:
        await asyncio.sleep(amount.idle_seconds)
    async with Lateness() as events:
        obeyed, cpu = await _send(server, changes, amount.events)
    async with Lateness() as lists:
        await _list_again(server, balancer, amount.lists)
    balancer.stop()
    await running
    took = [at - written for at, written in zip(obeyed, server.times(), strict=True)]
    phases = {"nothing happens": idle, "events": events, "lists": lists, "first list": first}
    return {
        "endpoints": SLICES * EACH,
        "event_to_rotation_ms": summary(took),
        "event_cpu_ms": summary(cpu),
        "lateness_ms": {what: summary(phase.seen) for what, phase in phases.items()},
        "lateness_cpu_ms": {what: summary(phase.busy) for what, phase in phases.items()},
    }


def _balancer(server: Server, folder: Path) -> Balancer:
    (folder / "pool.yaml").write_text(POOL)
    authority = str(CERTIFICATES / "ca.crt")
    cluster = {
        "name": "c", "cluster": {"server": server.url, "certificate-authority": authority}
    }  # fmt: skip
    user = {"name": "u", "user": {}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}
    config = {"current-context": "c", "clusters": [cluster], "users": [user], "contexts": [context]}
    (folder / "kubeconfig").write_text(json.dumps(config))
    pool = folder / "pool.yaml"
    settings = Settings(config=pool, listen=ANY, admin_listen=ANY, kubeconfig=folder / "kubeconfig")
    return Balancer(settings, load_pool(pool))


async def _started(balancer: Balancer) -> None:
    """Wait until the admin port answers: much is imported for it."""
    await balancer.listening.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.ports[1])
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


async def _watching(balancer: Balancer) -> None:
    while not any(watch.watching for watch in balancer.watches):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def _send(server: Server, changes: Changes, events: int) -> tuple[list[float], list[float]]:
    """Let one pod after the other change; return when it was obeyed, and the CPU it took."""
    obeyed, cpu = [], []
    for _ in range(events):
        changes.changed.clear()
        busy = thread_time()
        server.tell("change")
        await changes.changed.wait()
        obeyed.append(changes.at)
        cpu.append(changes.cpu - busy)
        await asyncio.sleep(0.005)
    return obeyed, cpu


async def _list_again(server: Server, balancer: Balancer, lists: int) -> None:
    (condition,) = balancer.watches
    for _ in range(lists):
        restarts = condition.restarts
        server.tell("again")
        while condition.restarts == restarts:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await _watching(balancer)


def main(run: Run) -> None:
    """Measure, with the log's lines written to nowhere: they are a part of the work."""
    logging.basicConfig(
        level=logging.INFO, filename=os.devnull, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    gc.collect()
    with served() as server, TemporaryDirectory() as folder:
        amount = Amount(*run.either((500, 10, 5.0), (100, 3, 1.0)))
        found = uvloop.run(measure(server, Path(folder), amount))
    run.conclude("discovery", found, tables)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    rows = [
        ("an event, from its write to the changed rotation", figures["event_to_rotation_ms"]),
        ("its CPU time", figures["event_cpu_ms"]),
    ]
    for what, late in figures["lateness_ms"].items():
        rows.append((f"a timer is late: {what}", late))
        rows.append((f"CPU time meanwhile: {what}", figures["lateness_cpu_ms"][what]))
    title = f"{figures['endpoints']:,} endpoints in {SLICES} slices, ms"
    cells = [[what, *map(figure, row.values())] for what, row in rows]
    return [Table(title, ["", "p50", "p99", "most"], cells)]
