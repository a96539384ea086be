"""The tables of the simulation, from what its JSON holds."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.simulation.workloads import WORKLOADS
from benchmarks.tables import Table, figure, ranged

POLICY_NAMES = {
    "random": "random",
    "round_robin": "round robin",
    "power_of_two": "power of two",
    "least": "least connections",
    "capped": "… with cap and queue",
}

TIE_NAMES = {
    "first": "the first in the list",
    "random": "at random",
    "ring": "in a ring",
    "oldest": "the oldest in flight",
    "least_recent": "least recently chosen (ours)",
}

TRAP_NAMES = {
    "random": "answers 500: random",
    "round_robin": "answers 500: round robin",
    "power_of_two": "answers 500: power of two",
    "least": "answers 500: least connections",
    "capped": "answers 500: … with cap and queue",
    "probe": "… and an HTTP probe that fails there",
    "drops_post": "drops connections, POST: cap and queue",
    "drops_get": "drops connections, GET: cap and queue",
    "full": "answers 503, in `retry.refusedStatuses`: cap and queue",
    "gone": "its port refuses, POST: cap and queue",
}

Spread = Mapping[str, float]


def policies(figures: dict[str, Any]) -> list[Table]:
    """Each measure: a row for each workload, a column for each policy."""
    found, seeds = figures["policies"], figures["seeds"]
    measures = (
        (f"p99 latency in seconds (median of {seeds} seeds, and their range)", "p99", _ranged),
        ("p50 latency in seconds", "p50", _median),
        ("Mean wait in seconds", "wait_mean", _median),
        ("The most requests on one worker at a time, its own queue included", "most", _count),
        ("A slot is free while a request waits, in % of the time", "idle", _percent),
    )
    return [
        Table(
            title,
            ["", *POLICY_NAMES.values()],
            [
                [workload.told, *(told(found[workload.name][name][key]) for name in POLICY_NAMES)]
                for workload in WORKLOADS
            ],
        )
        for title, key, told in measures
    ]


def ties(figures: dict[str, Any]) -> list[Table]:
    """Return the rules for ties, side by side."""
    found = figures["ties"]
    columns = (
        ("constant: p99 wait, s", "constant", "wait_p99", _ranged),
        ("exponential: p99 wait, s", "exponential", "wait_p99", _ranged),
        ("quiet: share of the busiest, %", "quiet", "top_share", _percent),
        ("stuck worker: share, %", "stuck", "odd_share", _percent),
    )
    rows = [
        [told, *(show(found[workload][name][key]) for _, workload, key, show in columns)]
        for name, told in TIE_NAMES.items()
    ]
    return [Table("Ties under least connections", ["", *(one[0] for one in columns)], rows)]


def sizes(figures: dict[str, Any]) -> list[Table]:
    """Return how waits and idle time change with the size of the pool."""
    rows = [
        [f"{size} workers, {POLICY_NAMES[name]}", _median(one["wait_mean"]),
         _median(one["wait_p99"]), _count(one["most"]), _percent(one["idle"])]
        for size, by_policy in figures["sizes"].items()
        for name, one in by_policy.items()
    ]  # fmt: skip
    header = ["", "mean wait, s", "p99 wait, s", "most on one", "idle while others queue, %"]
    return [Table("Pools of several sizes, exponential service", header, rows)]


def trap(figures: dict[str, Any]) -> list[Table]:
    """Return what a worker that fails fast does, and what protects from it."""
    found = figures["policies"]["failing"] | figures["trap"]
    rows = [
        [told, _percent(found[name]["failed"]), _percent(found[name]["odd_share"]),
         _median(found[name]["p50"]), _median(found[name]["p99"])]
        for name, told in TRAP_NAMES.items()
    ]  # fmt: skip
    header = ["it", "failed, %", "of all sendings went to it, %", "p50, s", "p99, s"]
    return [Table("One worker of five fails fast", header, rows)]


def kill(figures: dict[str, Any]) -> list[Table]:
    """Return the scenario: one worker dies and returns."""
    found = figures["kill"]
    rows = [
        [told, figure(found[key]["median"]), figure(found[key]["max"])]
        for key, told in (
            ("most", "most on one worker"),
            ("longest_queue", "longest queue"),
            ("longest_wait", "longest wait in the queue, s"),
            ("failed", "requests that failed"),
        )
    ]
    title = f"A worker dies and returns, {found['runs']} runs"
    return [Table(title, ["", "median", "greatest"], rows)]


SECTIONS: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "balance": policies,
    "balance/ties": ties,
    "balance/sizes": sizes,
    "balance/trap": trap,
    "balance/kill": kill,
}
"""What makes the tables of each section of docs/balancing.md."""


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return all, for the terminal."""
    return [table for make in SECTIONS.values() for table in make(figures)]


# --- cells


def _median(value: Spread) -> str:
    return figure(value["median"])


def _ranged(value: Spread) -> str:
    return ranged(value["median"], value["min"], value["max"])


def _count(value: Spread) -> str:
    return f"{value['median']:,.0f}"


def _percent(value: Spread) -> str:
    return figure(100 * value["median"])
