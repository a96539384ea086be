"""What was aimed at, and what came out: each target a limit on a ratio, a difference or a size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.tables import Table, figure

Results = Mapping[str, dict[str, Any] | None]
"""What the benchmarks found last, by their names; None for one that never ran."""


@dataclass(frozen=True, slots=True)
class Target:
    """One limit."""

    what: str
    limit: float
    unit: str
    benchmark: str
    """Whose results the figure is in."""

    find: Callable[[dict[str, Any]], float]
    """Takes it out of them; raises KeyError if it was not measured."""

    least: bool = False
    """Whether the limit is the least that will do, and not the most."""

    def row(self, results: Results) -> list[str]:
        """Return its row of the table."""
        limit = f"{'≥' if self.least else '≤'} {self.limit:,g}{self.unit}"
        try:
            found = self.find(results[self.benchmark] or {})
        except KeyError:
            return [self.what, limit, "not measured", ""]
        return [self.what, limit, f"{figure(found)}{self.unit}", "yes" if self.met(found) else "no"]

    def met(self, found: float) -> bool:
        """Say whether a figure is within the limit."""
        return found >= self.limit if self.least else found <= self.limit


def _cpu_over(other: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: float(found["cpu_ratio"][other]["median"])


def _added_p99(found: dict[str, Any]) -> float:
    latencies = found["latency_ms_at"]["1000"]
    return float(latencies["leastwise"]["p99"] - latencies["nginx"]["p99"])


def _picking(found: dict[str, Any]) -> float:
    return float(found["us"]["5000"] / found["us"]["5"])


def _each(kind: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: float(found[kind]["steps"][-1]["kib_each"])


def _metrics(build: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: float(found["builds"][build]["cost_percent_high"])


def _scrape(found: dict[str, Any]) -> float:
    return float(found["workers"]["500"]["scrape_ms"])


def _event(found: dict[str, Any]) -> float:
    return float(found["event_to_rotation_ms"]["p99"])


def _event_delays(found: dict[str, Any]) -> float:
    return float(found["lateness_ms"]["events"]["p99"])


TARGETS = (
    Target("CPU per request, over nginx's", 1.8, "×", "proxy", _cpu_over("nginx")),
    Target("CPU per request, over HAProxy's", 1.8, "×", "proxy", _cpu_over("haproxy")),
    Target("CPU per request, over the aiohttp proxy's", 0.25, "×", "proxy", _cpu_over("aiohttp")),
    Target("CPU per request, over the httpx proxy's", 0.02, "×", "proxy", _cpu_over("httpx")),
    Target("p99 at 1,000 a second, above nginx's", 1, " ms", "proxy", _added_p99),
    Target("Acquire and release, 5,000 endpoints over 5", 1.3, "×", "picking", _picking),
    Target("Memory of a request in flight, at the most", 20, " KiB", "connections",
           _each("in_flight")),
    Target("Memory of an idle client, at the most", 8, " KiB", "connections", _each("idle")),
    Target("CPU that the metrics take, at the most (95 %)", 3, " %", "metrics",
           _metrics("compiled")),
    Target("The same in plain Python", 3, " %", "metrics", _metrics("plain")),
    Target("A scrape of 500 workers, CPU", 50, " ms", "telemetry", _scrape),
    Target("A pod's change obeyed, of 1,000 endpoints, p99", 10, " ms", "discovery", _event),
    Target("What is due while such changes come is late by, p99", 5, " ms", "discovery",
           _event_delays),
)  # fmt: skip


def table(results: Results) -> Table:
    """Return all targets with what was found."""
    rows = [target.row(results) for target in TARGETS]
    return Table("Aims", ["", "aim", "found", "met"], rows)
