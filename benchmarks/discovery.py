"""What a change in the cluster costs at 1,000 endpoints: until it is obeyed, and for requests.

A whole balancer in this process follows an API server in another one (`discovery_api`), which turns
the readiness of one pod after the other. Two figures count:

- from the write of the event at the server to the changed rotation: at most 10 ms;
- what it adds to the wait of anything else that the event loop has to do, as requests are: at most
  5 ms. A timer of a millisecond tells, by how late it fires; without events it tells what the
  machine does by itself.

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
from typing import Any, Self

import uvloop

from app.balancing.endpoint import Endpoint, Phase
from app.config.addresses import AddressPort
from app.config.loading import load_pool
from app.config.settings import Settings
from app.runtime.balancer import Balancer
from benchmarks.discovery_api import CERTIFICATES

SLICES, EACH = 10, 100
EVENTS, LISTS = 500, 10
IDLE_SECONDS = 5.0
LIMITS_MS = {"event to rotation": 10.0, "delay of a request by it": 5.0}
RESULTS = Path(__file__).parent / "results" / "discovery.json"
ROOT = Path(__file__).parents[1]

POOL = "spec: {service: {name: worker, port: http}, maxInFlight: 4}\n"
ANY = AddressPort("127.0.0.1", 0)


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
    return {name: round(1000 * value, 2) for name, value in picked.items()}


async def measure(server: Server, folder: Path) -> dict[str, Any]:
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
        await asyncio.sleep(IDLE_SECONDS)
    async with Lateness() as events:
        obeyed, cpu = await _send(server, changes)
    async with Lateness() as lists:
        await _list_again(server, balancer)
    balancer.stop()
    await running
    took = [at - written for at, written in zip(obeyed, server.times(), strict=True)]
    phases = {"nothing happens": idle, "events": events, "lists": lists, "first list": first}
    return {
        "endpoints": SLICES * EACH,
        "limits_ms": LIMITS_MS,
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


async def _send(server: Server, changes: Changes) -> tuple[list[float], list[float]]:
    """Let one pod after the other change; return when it was obeyed, and the CPU it took."""
    obeyed, cpu = [], []
    for _ in range(EVENTS):
        changes.changed.clear()
        busy = thread_time()
        server.tell("change")
        await changes.changed.wait()
        obeyed.append(changes.at)
        cpu.append(changes.cpu - busy)
        await asyncio.sleep(0.005)
    return obeyed, cpu


async def _list_again(server: Server, balancer: Balancer) -> None:
    (condition,) = balancer.watches
    for _ in range(LISTS):
        restarts = condition.restarts
        server.tell("again")
        while condition.restarts == restarts:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await _watching(balancer)


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, filename=os.devnull, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    gc.collect()
    with served() as server, TemporaryDirectory() as folder:
        found = uvloop.run(measure(server, Path(folder)))
    print(f"discovery: {SLICES * EACH} endpoints in {SLICES} slices (p50, p99, max)")
    _row("event written to rotation changed", found["event_to_rotation_ms"])
    _row("  CPU of it", found["event_cpu_ms"])
    for what, late in found["lateness_ms"].items():
        _row(f"a timer's lateness, {what}", late)
        _row("  CPU meanwhile", found["lateness_cpu_ms"][what])
    print("  limits: " + ", ".join(f"{what} {limit:g} ms" for what, limit in LIMITS_MS.items()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def _row(what: str, row: dict[str, float]) -> None:
    print(f"  {what:38}", " ".join(f"{row[name]:7.2f}" for name in row), "ms")


if __name__ == "__main__":
    main()
