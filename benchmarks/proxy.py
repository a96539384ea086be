"""What a proxied request costs: leastwise beside nginx, HAProxy and two Python proxies.

One backend and one load, the proxies in turns. Saturated by 64 connections: CPU time per request of
the proxy's processes, requests a second, memory. Then at fixed rates: latency, by an open loop, and
beside it the latency of going direct.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

from benchmarks import openloop, wrk
from benchmarks.contenders import NAMES, available, backend, contender
from benchmarks.machine import OTHER_CORES, PROXY_CORES, missing
from benchmarks.processes import Cpu, Meter, Process, running
from benchmarks.run import Run, show
from benchmarks.stats import LATENCIES, medians, spread
from benchmarks.tables import Table, figure, ranged, times

OURS = "leastwise"
DIRECT = "direct"
"""The backend itself, as it stands in the results beside the proxies."""

RATES = (1000, 100)
"""Requests a second of the open loops."""

_HEADROOM = 1.25
"""What can be saturated at less than this times a rate is not asked to hold it."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Round:
    """One proxy, saturated once."""

    cpu: Cpu
    """Of one request, in microseconds."""

    rate: float
    """Requests a second."""


@dataclass(slots=True)
class Contender:
    """One proxy and what was found out about it."""

    name: str
    port: int
    process: Process
    rss_idle: int
    rss_loaded: int = 0
    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    """By profile."""

    latencies: dict[int, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    """By rate; each round's percentiles, in milliseconds."""

    paced: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By rate; each round's CPU time per request, in microseconds."""

    def saturate(self, profile: str, script: Path, seconds: float) -> None:
        """Measure one closed-loop round."""
        meter = Meter(self.process)
        load = wrk.run(self.port, script, seconds, midway=self._weigh)
        cpu = meter.read().scaled(1e6 / load.requests)
        self.rounds[profile].append(Round(cpu, load.rate))

    def _weigh(self) -> None:
        self.rss_loaded = max(self.rss_loaded, self.process.rss())

    def pace(self, rate: int, seconds: float, seed: int) -> None:
        """Measure one open-loop round."""
        meter = Meter(self.process)
        result = openloop.measure(self.port, rate, seconds, seed)
        if result["lost"]:
            raise RuntimeError(f"{self.name}: {result['lost']} of {result['sent']} not answered")
        self.latencies[rate].append(result["latency_ms"])
        self.paced[rate].append(meter.read().total * 1e6 / result["sent"])

    def holds(self, rate: float) -> bool:
        """Say whether it was fast enough when saturated to be asked for `rate` a second."""
        rounds = self.rounds["small"]
        return not rounds or spread(one.rate for one in rounds).median >= _HEADROOM * rate


def main(run: Run) -> None:
    """Measure all, print the table, keep the JSON."""
    if missing(["nginx", "wrk"]):
        print("proxy: skipped, it needs nginx as the backend and wrk as the load")
        return
    names = available([name for name in NAMES if name in (run.contenders or NAMES)])
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        workers = backend(home)
        direct = Contender(
            DIRECT, workers.port, stack.enter_context(running(workers, OTHER_CORES)), 0
        )
        contenders = []
        for name in names:
            server = contender(name, home, workers)
            process = stack.enter_context(running(server, PROXY_CORES))
            openloop.measure(server.port, 50, 0.2, seed=0)  # idle means: it has answered before
            contenders.append(Contender(name, server.port, process, process.rss()))
        _saturate(run, contenders, wrk.scripts(home))
        if run.latency:
            _pace(run, [direct, *contenders])
    figures = summary(contenders, direct)
    if names == list(NAMES) and run.latency:
        run.conclude("proxy", figures, tables)
    else:
        show(tables(figures))
        print("proxy: not kept, since not all of it was measured")


def _rotated(contenders: list[Contender], by: int) -> list[Contender]:
    """Return them in another order: what runs after whom shall not matter."""
    by %= len(contenders)
    return contenders[by:] + contenders[:by]


def _saturate(run: Run, contenders: list[Contender], scripts: dict[str, Path]) -> None:
    seconds = run.either({"small": 4, "browser": 3}, {"small": 2, "browser": 1})
    for each in contenders:
        wrk.run(each.port, scripts["small"], 1)  # connections and caches, before it counts
    for number in range(run.either(5, 2)):
        for profile, script in scripts.items():
            for each in _rotated(contenders, number):
                each.saturate(profile, script, seconds[profile])


def _pace(run: Run, contenders: list[Contender]) -> None:
    plan = run.either({1000: (4, 8.0), 100: (2, 10.0)}, {1000: (1, 3.0), 100: (1, 3.0)})
    for rate, (rounds, seconds) in plan.items():
        able = [each for each in contenders if each.holds(rate)]
        for number in range(rounds):
            for each in _rotated(able, number):
                each.pace(rate, seconds, seed=number)
                sleep(0.1)


# --- what came out


def summary(contenders: list[Contender], direct: Contender) -> dict[str, Any]:
    """Return the figures as the results hold them: medians over the rounds, by proxy."""
    figures = _saturated(contenders, "small")
    figures["rss_mib"] = {each.name: each.rss_loaded / _MIB for each in contenders}
    figures["rss_idle_mib"] = {each.name: each.rss_idle / _MIB for each in contenders}
    figures["browser_headers"] = _saturated(contenders, "browser")
    at = {
        str(rate): {
            each.name: medians(each.latencies[rate])
            for each in (direct, *contenders)
            if each.latencies[rate]
        }
        for rate in RATES
    }
    figures["latency_ms_at"] = at
    figures["latency_ms"], figures["latency_at"] = {}, {}
    for each in contenders:
        for rate in RATES:  # the highest that it holds
            if each.latencies[rate]:
                figures["latency_ms"][each.name] = at[str(rate)][each.name]
                figures["latency_at"][each.name] = rate
                break
    figures["cpu_us_per_request_at"] = {
        str(rate): {
            each.name: spread(each.paced[rate]).median for each in contenders if each.paced[rate]
        }
        for rate in RATES
    }
    return figures


def _saturated(contenders: list[Contender], profile: str) -> dict[str, Any]:
    rounds = {each.name: each.rounds[profile] for each in contenders}
    totals = {name: [one.cpu.total for one in those] for name, those in rounds.items()}
    spreads = {name: spread(values) for name, values in totals.items()}
    return {
        "cpu_us_per_request": {name: each.median for name, each in spreads.items()},
        "cpu_us_spread": {name: each.as_json() for name, each in spreads.items()},
        "cpu_user_us": _medians(rounds, lambda one: one.cpu.user),
        "cpu_system_us": _medians(rounds, lambda one: one.cpu.system),
        "requests_per_second": _medians(rounds, lambda one: one.rate),
        "cpu_ratio": _ratios(totals),
    }


def _medians(rounds: dict[str, list[Round]], figure: Callable[[Round], float]) -> dict[str, float]:
    return {name: spread(map(figure, those)).median for name, those in rounds.items()}


def _ratios(totals: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return our CPU time over each other's, compared within each round."""
    if OURS not in totals:
        return {}
    return {
        name: spread(
            ours / theirs for ours, theirs in zip(totals[OURS], values, strict=True)
        ).as_json()
        for name, values in totals.items()
        if name != OURS
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    found = [
        _saturated_table("A small POST", figures, figures),
        _saturated_table("With 13 browser-like header fields", figures["browser_headers"], figures),
    ]
    for rate, latencies in figures["latency_ms_at"].items():
        if latencies:
            found.append(_latency_table(int(rate), latencies, figures["cpu_us_per_request_at"]))
    return found


def _saturated_table(title: str, part: dict[str, Any], figures: dict[str, Any]) -> Table:
    rows = []
    for name, cpu in part["cpu_us_per_request"].items():
        low, high = (part["cpu_us_spread"][name][key] for key in ("min", "max"))
        ratio = part["cpu_ratio"].get(name)
        rows.append(
            [
                name,
                ranged(cpu, low, high),
                figure(part["cpu_user_us"][name]),
                figure(part["cpu_system_us"][name]),
                times(ratio["median"]) if ratio else "",
                f"{times(ratio['min'])}–{times(ratio['max'])}" if ratio else "",
                figure(part["requests_per_second"][name]),
                figure(figures["rss_idle_mib"][name]),
                figure(figures["rss_mib"][name]),
            ]
        )
    header = ["", "CPU µs per request", "user", "system", "leastwise takes", "in the rounds",
              "requests/s", "idle MiB", "loaded MiB"]  # fmt: skip
    return Table(f"{title}, saturated by {wrk.CONNECTIONS} connections", header, rows)


def _latency_table(rate: int, latencies: dict[str, Any], cpu: dict[str, Any]) -> Table:
    rows = []
    for name, found in latencies.items():
        added = found["p99"] - latencies[DIRECT]["p99"]
        rows.append(
            [
                name,
                *(figure(found[key]) for key in LATENCIES),
                "" if name == DIRECT else f"{added:+.2f}",
                "" if name == DIRECT else figure(cpu[str(rate)][name]),
            ]
        )
    header = ["", "p50 ms", "p99 ms", "p99.9 ms", "p99 over direct", "CPU µs per request"]
    return Table(f"Open loop at {rate:,} requests a second", header, rows)
