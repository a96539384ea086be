"""The stage: the scenario's processes on it, and what is done to them while the load runs.

`Stage` starts workers and balancer, lets the fault happen at its time and takes it back, and
afterwards gathers what all of them wrote down. Its processes belong to the `Fleet` it is given.
"""

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import yaml

from app.demo.load import Load
from app.demo.monitor import Monitor
from app.demo.processes import PATIENCE, Child, Fleet, ProcessFailedError, free_addresses
from app.demo.records import Life, Record, Recording, from_line, read_journal
from app.demo.scenario import Fault, Scenario

_BALANCER = "balancer"


@dataclass
class _Process:
    """One process of a worker."""

    worker: str
    child: Child
    journal: Path
    began: float = 0.0
    ended: float | None = None

    async def born(self) -> float:
        """Wait until it listens; return since when."""
        self.began = (await self.child.listening())["monotonic"]
        return self.began


class Stage:
    """One run's processes and faults. `directory` holds their files."""

    def __init__(self, scenario: Scenario, fleet: Fleet, directory: Path, monitor: Monitor) -> None:
        self._scenario = scenario
        self._fleet = fleet
        self._directory = directory
        self._monitor = monitor
        addresses = free_addresses(scenario.workers)
        self._addresses = dict(zip(scenario.names, addresses, strict=True))
        self._processes: list[_Process] = []
        self._records = directory / "records.jsonl"
        self._read = 0
        self._fault_at = 0.0
        self._returned_at: float | None = None
        self.dashboard = ""
        """Where the balancer's dashboard is, once everything is set up."""

    async def set_up(self) -> str:
        """Start everything; return the balancer's URL once it is ready."""
        scenario = self._scenario
        endpoints = {f"{host}:{port}": name for name, (host, port) in self._addresses.items()}
        pool = self._directory / "pool.yaml"
        pool.write_text(yaml.safe_dump(scenario.pool(list(endpoints)), sort_keys=False))
        self._records.touch()
        for name in scenario.names:
            self._start_worker(name)
        balancer = self._fleet.start(
            _BALANCER,
            "app.demo.balancer",
            [str(pool), str(self._records), json.dumps(endpoints)],
        )
        for process in self._processes:
            await process.born()
        told = await balancer.listening()
        self.dashboard = f"http://127.0.0.1:{told['admin']}/"
        deadline = monotonic() + PATIENCE
        while set(self._monitor.phases.values()) != {"ready"}:  # a worker may have been late
            if monotonic() > deadline:
                raise ProcessFailedError(f"the workers are not ready: {self._monitor.phases}")
            await asyncio.sleep(0.02)
            self.follow()
        return f"http://127.0.0.1:{told['port']}"

    def follow(self) -> list[Record]:
        """Read what was recorded since the last time, and tell the monitor."""
        with self._records.open("rb") as file:
            file.seek(self._read)
            written = file.read()
        whole = written[: written.rfind(b"\n") + 1]
        self._read += len(whole)
        records = [from_line(line) for line in whole.decode().splitlines()]
        self._monitor.feed(records)
        return records

    async def play(self, started: float) -> None:
        """Let the fault happen, and the victim return, each at its time."""
        scenario = self._scenario
        victim = self._processes[0]
        await asyncio.sleep(started + scenario.wall(scenario.fault_at) - monotonic())
        self._fault_at = monotonic()
        kill = scenario.fault is Fault.KILL
        victim.child.signal(signal.SIGKILL if kill else signal.SIGSTOP)
        self._monitor.fault(self._fault_at)
        await asyncio.sleep(started + scenario.wall(scenario.return_at) - monotonic())
        if kill:
            victim.ended = self._fault_at
            self._monitor.restarting(monotonic())
            self._returned_at = await self._start_worker(scenario.victim).born()
        else:
            self._returned_at = monotonic()
            victim.child.signal(signal.SIGCONT)
        self._monitor.returned(self._returned_at)

    async def clear(self) -> None:
        """End the processes, the balancer first: the end of the workers is no event for it."""
        await self._fleet.stop(_BALANCER)
        await self._fleet.stop(*self._scenario.names)

    def recording(self, started: float, load: Load) -> Recording:
        """Gather what was written down, after all is over."""
        lines = self._records.read_text().splitlines()
        lives = [
            Life(process.worker, process.began, process.ended, read_journal(process.journal))
            for process in self._processes
        ]
        return Recording(
            self._scenario,
            started,
            self._fault_at,
            self._returned_at,
            [from_line(line) for line in lines],
            lives,
            load.responses,
            load.sent,
        )

    # --- inside

    def _start_worker(self, name: str) -> _Process:
        scenario, (host, port) = self._scenario, self._addresses[name]
        journal = self._directory / f"{name}-{len(self._processes)}.journal"
        arguments = {
            "--host": host,
            "--port": port,
            "--task-seconds": scenario.wall(scenario.task),
            "--max-in-flight": scenario.cap,
            "--name": name,
            "--drain-seconds": 0,
            "--journal": journal,
        }
        flags = [str(part) for pair in arguments.items() for part in pair]
        process = _Process(name, self._fleet.start(name, "app", ["worker", *flags]), journal)
        self._processes.append(process)
        return process
