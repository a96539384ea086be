"""What many clients at once cost: running requests, waiting requests, idle connections.

For each of these a fresh balancer, whose crowd grows step by step. At each step its resident
memory is read, over what it was with nobody there, and the CPU time that the newcomers took. In
the end all are answered, and the answers counted. Workers and clients live in other processes.
"""

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import httpx
import uvloop

from benchmarks.contenders import CAP, ENDPOINTS, leastwise, pool_spec
from benchmarks.crowd import Crowd
from benchmarks.machine import OTHER_CORES, PROXY_CORES
from benchmarks.processes import Meter, Server, free_port, running
from benchmarks.run import Run
from benchmarks.tables import Table, figure

STEPS = (100, 1_000, 2_500, 5_000, 9_500)
_OWN_FILES = 300
"""Open files that a process has beside its connections, at the most."""

_POLL = 0.2

KINDS = {
    "in_flight": "Requests in flight",
    "waiting": "Requests in the queue",
    "idle": "Idle clients, answered once before",
}
"""What the clients are, as it stands in the results and is told to people."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A balancer before its worker, and what it takes to ask both."""

    balancer: Server
    worker: Server
    http: httpx.AsyncClient

    async def ask_worker(self, path: str) -> int:
        """Tell or ask the worker something; return the number that it answers."""
        answer = await self.http.post(f"http://127.0.0.1:{self.worker.port}{path}")
        return int(answer.raise_for_status().text)

    async def pool(self) -> dict[str, Any]:
        """Return what the balancer says of itself."""
        answer = await self.http.get(f"http://127.0.0.1:{self.balancer.admin_port}/workers")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def until(self, reached: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something that only asking tells. Raises TimeoutError."""
        try:
            async with asyncio.timeout(60):
                while not await reached():  # noqa: ASYNC110 - another process's affair
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            error.add_note(f"waited for {what}")
            raise


def worker() -> Server:
    """Return the worker that keeps its clients waiting."""
    port = free_port()
    return Server("worker", [sys.executable, "-m", "benchmarks.holding", str(port)], port)


def steps() -> list[int]:
    """Return how many clients there are at each step: as many as open files allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the children inherit it
    most = min(STEPS[-1], (hard - _OWN_FILES) // 2)  # the balancer has two for each request
    return [*(step for step in STEPS if step < most), most]


def main(run: Run) -> None:
    """Measure each kind of client."""
    ladder = steps()
    if ladder[-1] < STEPS[-1]:
        print(f"connections: up to {ladder[-1]}, the limit of open files (ulimit -n) is too low")
    figures = {kind: uvloop.run(_measure(kind, ladder)) for kind in KINDS}
    run.conclude("connections", figures, tables)


async def _measure(kind: str, ladder: list[int]) -> dict[str, Any]:
    slots = {"in_flight": ladder[-1], "waiting": 1, "idle": CAP}[kind]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        behind = worker()
        endpoints = [f"{host}:{behind.port}" for host in ENDPOINTS][: 1 if slots == 1 else None]
        pool = pool_spec(
            endpoints,
            maxInFlight=slots,
            queue={"size": 2 * ladder[-1], "timeout": "10m"},
            timeouts={"firstByte": "10m", "request": "20m"},
        )
        balancer = leastwise(Path(folder), pool)
        stack.enter_context(running(behind, OTHER_CORES))
        process = stack.enter_context(running(balancer, PROXY_CORES))
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            stage = _Stage(balancer, behind, client)
            await _warm_up(stage, holding=kind == "waiting")
            base = process.rss()
            crowd = Crowd(balancer.port)
            found = []
            for before, size in zip([0, *ladder], ladder, strict=False):
                meter = Meter(process)
                await _grow(stage, crowd, kind, size)
                found.append(
                    {
                        "clients": size,
                        "kib_each": (process.rss() - base) / 1024 / size,
                        "cpu_us_each": meter.read().total * 1e6 / (size - before),
                    }
                )
            seconds = await _end(stage, crowd, kind)
    return {"rss_idle_mib": base / 2**20, "steps": found, "seconds_to_answer_all": seconds}


async def _warm_up(stage: _Stage, *, holding: bool) -> None:
    """Use everything once, so that what is loaded on demand is there; leave nobody but a holder."""
    crowd = Crowd(stage.balancer.port)
    crowd.ask(await crowd.grow(20), "/")
    await crowd.await_answers(20)
    crowd.close()
    holders = 1 if holding else 0
    if holding:  # it takes the one slot, and never goes
        holder = Crowd(stage.balancer.port)
        holder.ask(await holder.grow(1), "/hold")

    async def alone() -> bool:
        pool = await stage.pool()
        clients: int = pool["totals"]["client_connections"]
        return clients == holders and await stage.ask_worker("/held") == holders

    await stage.until(alone, "the first clients to be gone")


async def _grow(stage: _Stage, crowd: Crowd, kind: str, size: int) -> None:
    """Let the crowd grow, and wait until all are where they shall be."""
    clients = await crowd.grow(size)
    crowd.ask(clients, "/" if kind == "idle" else "/hold")
    if kind == "idle":
        await crowd.await_answers(size)
        return

    async def there() -> bool:
        if kind == "in_flight":
            return await stage.ask_worker("/held") == size
        pool = await stage.pool()
        return bool(pool["queued"] == size)

    await stage.until(there, f"{size} requests to be {kind}")


async def _end(stage: _Stage, crowd: Crowd, kind: str) -> float:
    """See that all get their answer; return how long that takes, in seconds."""
    before, count = len(crowd.answers), len(crowd.clients)
    began = perf_counter()
    if kind == "idle":
        crowd.ask(crowd.clients, "/")  # they live
    else:
        await stage.ask_worker("/release")
    await crowd.await_answers(before + count)
    took = perf_counter() - began
    crowd.close()
    return took


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    found = []
    for kind, told in KINDS.items():
        part = figures[kind]
        rows = [
            [f"{step['clients']:,}", figure(step["kib_each"]), figure(step["cpu_us_each"])]
            for step in part["steps"]
        ]
        title = f"{told}; all answered within {figure(part['seconds_to_answer_all'])} s"
        found.append(Table(title, ["at once", "KiB each", "CPU µs for each newcomer"], rows))
    return found
