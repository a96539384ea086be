"""What the rounds of the proxies come to: their records, the figures of all, and the tables."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.processes import Cpu
from benchmarks.stats import LATENCIES, medians, spread
from benchmarks.tables import Table, figure, ranged, times
from benchmarks.wrk import CONNECTIONS

OURS = "leastwise"
DIRECT = "direct"
"""The backend itself, as it stands in the results beside the proxies."""

RATES = (1000, 100)
"""Requests a second of the open loops: of those that hold it, and of all."""

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


@dataclass(frozen=True, slots=True)
class Record:
    """What was found out about one proxy, round by round."""

    name: str
    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    """Saturated; by profile."""

    latencies: dict[int, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    """By rate; percentiles in milliseconds."""

    paced: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By rate; CPU time per request, in microseconds."""

    rss_idle: list[int] = field(default_factory=list)
    """Resident memory in bytes, before the load."""

    rss_loaded: list[int] = field(default_factory=list)
    """The same while it is saturated."""

    def holds(self, rate: int) -> bool:
        """Say whether it was fast enough when saturated to be asked for `rate` a second."""
        if self.name == DIRECT or rate == min(RATES):
            return True
        return median(one.rate for one in self.rounds["small"]) >= _HEADROOM * rate


def summary(records: list[Record]) -> dict[str, Any]:
    """Return the figures as the results hold them: medians over the rounds, by proxy."""
    proxies = [each for each in records if each.name != DIRECT]
    figures = _saturated(proxies, "small")
    figures["rss_mib"] = {each.name: median(each.rss_loaded) / _MIB for each in proxies}
    figures["rss_idle_mib"] = {each.name: median(each.rss_idle) / _MIB for each in proxies}
    figures["browser_headers"] = _saturated(proxies, "browser")
    at = {
        rate: {each.name: medians(each.latencies[rate]) for each in records if each.latencies[rate]}
        for rate in RATES
    }
    held = {each.name: [rate for rate in RATES if each.name in at[rate]] for each in proxies}
    figures["latency_ms"] = {name: at[rates[0]][name] for name, rates in held.items() if rates}
    figures["latency_at"] = {name: rates[0] for name, rates in held.items() if rates}
    figures["latency_ms_at"] = {str(rate): found for rate, found in at.items()}
    figures["cpu_us_per_request_at"] = {
        str(rate): {each.name: median(each.paced[rate]) for each in proxies if each.paced[rate]}
        for rate in RATES
    }
    return figures


def _saturated(records: list[Record], profile: str) -> dict[str, Any]:
    rounds = {each.name: each.rounds[profile] for each in records}
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
    return {name: median(map(figure, those)) for name, those in rounds.items()}


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
    return Table(f"{title}, saturated by {CONNECTIONS} connections", header, rows)


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
