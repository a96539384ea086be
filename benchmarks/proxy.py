"""What a proxied request costs: leastwise beside nginx, HAProxy and two Python proxies.

One backend and one load, the proxies in turns. Saturated by 64 connections: CPU time per request of
the proxy's processes, requests a second, memory. Then at fixed rates: latency, by an open loop, and
beside it the latency of going direct. Each round has new processes, since two of the same program
differ by some percent, and another order, since what runs after whom shall not matter.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks import openloop, wrk
from benchmarks.contenders import NAMES, available, backend, contender
from benchmarks.machine import OTHER_CORES, PROXY_CORES, missing
from benchmarks.processes import Meter, Process, Server, running
from benchmarks.proxy_figures import DIRECT, RATES, Record, Round, summary, tables
from benchmarks.run import Run, show

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contender:
    """A running proxy, and the record of all that have run under its name."""

    record: Record
    server: Server
    process: Process

    def saturate(self, profile: str, script: Path, seconds: int) -> None:
        """Measure one closed-loop round."""
        meter = Meter(self.process)
        load = wrk.run(self.server.port, script, seconds, midway=self._weigh)
        cpu = meter.read().scaled(1e6 / load.requests)
        self.record.rounds[profile].append(Round(cpu, load.rate))

    def _weigh(self) -> None:
        self.record.rss_loaded.append(self.process.rss())

    def pace(self, rate: int, seconds: float, seed: int) -> None:
        """Measure one open-loop round."""
        meter = Meter(self.process)
        result = openloop.measure(self.server.port, rate, seconds, seed)
        if result["lost"]:
            lost = f"{result['lost']} of {result['sent']}"
            print(f"{self.record.name}: {lost} were not answered at {rate} a second: left out")
            return
        self.record.latencies[rate].append(result["latency_ms"])
        self.record.paced[rate].append(meter.read().total * 1e6 / result["sent"])


def main(run: Run) -> None:
    """Measure all, print the tables, keep the JSON."""
    if missing(["nginx", "wrk"]):
        print("proxy: skipped, it needs nginx as the backend and wrk as the load")
        return
    names = available([name for name in NAMES if name in (run.contenders or NAMES)])
    records = {name: Record(name) for name in (DIRECT, *names)}
    for number in range(run.either(6, 2)):
        _saturate(run, records, number)
    if run.latency:
        for rate in RATES:
            for number in range(run.either({1000: 4, 100: 2}, {1000: 1, 100: 1})[rate]):
                _pace(run, records, rate, number)
    figures = summary(list(records.values()))
    if run.latency and not run.contenders:
        run.conclude("proxy", figures, tables)
    else:
        show(tables(figures))
        print("proxy: not kept, since not all of it was asked for")


@contextmanager
def _started(records: dict[str, Record]) -> Iterator[tuple[Contender, list[Contender], Path]]:
    """Start the backend and all proxies; give the backend, the proxies, and their folder."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        workers = backend(home)
        behind = stack.enter_context(running(workers, OTHER_CORES))
        contenders = []
        for name, record in records.items():
            if name != DIRECT:
                server = contender(name, home, workers)
                process = stack.enter_context(running(server, PROXY_CORES))
                openloop.measure(server.port, 50, 0.1, seed=0)  # idle means: answered before
                record.rss_idle.append(process.rss())
                contenders.append(Contender(record, server, process))
        yield Contender(records[DIRECT], workers, behind), contenders, home


def _saturate(run: Run, records: dict[str, Record], number: int) -> None:
    seconds = run.either({"small": 3, "browser": 2}, {"small": 2, "browser": 1})
    with _started(records) as (_, contenders, folder):
        scripts = wrk.scripts(folder)
        for each in contenders:
            wrk.run(each.server.port, scripts["small"], 1)  # connections and caches
        for profile, script in scripts.items():
            for each in rotated(contenders, number):
                each.saturate(profile, script, seconds[profile])


def _pace(run: Run, records: dict[str, Record], rate: int, number: int) -> None:
    able = {name: each for name, each in records.items() if each.holds(rate)}
    with _started(able) as (direct, contenders, _):
        for each in rotated([direct, *contenders], number):
            each.pace(rate, run.either(8.0, 2.0), seed=number)


def rotated(things: Sequence[T], by: int) -> list[T]:
    """Return them in the same order, begun elsewhere."""
    by %= len(things)
    return [*things[by:], *things[:by]]
