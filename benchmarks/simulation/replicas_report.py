"""The tables of several replicas, from what their JSON holds."""

from collections.abc import Mapping
from typing import Any

from benchmarks.simulation.replicas import SETTINGS
from benchmarks.tables import Table, figure, ranged, times

WAY_NAMES = {
    "one": "one balancer",
    "view": "one view: an arbiter",
    "divided": "cap divided",
    "local": "local counts",
    "told_each": "told counts, each change",
    "told": "told counts, net changes",
    "refusing": "… and workers that refuse",
}

Spread = Mapping[str, float]


def view(figures: dict[str, Any]) -> list[Table]:
    """Return one view beside one balancer, and what was aimed at."""
    seeds = figures["seeds"]["view"]
    rows = []
    near = [(each, figures["view"][each.name], "") for each in SETTINGS]
    far = [
        (each, figures["view_far"][each.name], ", the replicas twice as far from each other")
        for each in SETTINGS
        if each.name in figures["view_far"]
    ]
    for each, found, where in near + far:
        aim = times(each.aim) + (f" or {1e3 * each.aim_added:g} ms" if each.aim_added else "")
        rows.append(
            [each.workload.told + where, f"{found['requests']:,}", _ranged(found["one"]),
             _ranged(found["view"]), _finely(found["over_one"]), _ranged(found["added_ms"]),
             f"≤ {aim}", f"{found['met']} of {seeds}"]
        )  # fmt: skip
    header = ["", "requests", "one balancer, s", "one view, s", "ratio", "added, ms", "aim",
              "met in"]  # fmt: skip
    title = f"Mean wait of one view against one balancer (median of {seeds} seeds, and their range)"
    return [Table(title, header, rows)]


def ways(figures: dict[str, Any]) -> list[Table]:
    """Return for each setting a row for each way."""
    header = ["", "mean wait, s", "over one balancer's", "p50, s", "p99, s", "most on a worker",
              "sent beyond the cap, %", "overtook, %"]  # fmt: skip
    return [
        Table(
            f"{each.workload.told[0].upper()}{each.workload.told[1:]}",
            header,
            [_row(name, found) for name, found in figures["ways"][each.name].items()],
        )
        for each in SETTINGS
    ]


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    return [
        WAY_NAMES[name],
        _ranged(found["wait_mean"]),
        times(found["over_one"]),
        _median(found["wait_p50"]),
        _median(found["wait_p99"]),
        f"{found['most']['max']:,.0f}",
        _percent(found["beyond"]),
        _percent(found["disorder"]),
    ]


def delays(figures: dict[str, Any]) -> list[Table]:
    """Return what the network's delay does to short tasks."""
    rows = [
        [f"{trip} ms", _finely(found["view"]), _finely(found["refusing"])]
        for trip, found in figures["delays"].items()
    ]
    header = ["mean round trip", WAY_NAMES["view"], "told counts, workers that refuse"]
    return [Table(f"Mean wait over one balancer's: {SETTINGS[-1].workload.told}", header, rows)]


SECTIONS = {
    "replicas_simulated": view,
    "replicas_simulated/ways": ways,
    "replicas_simulated/delays": delays,
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


def _finely(value: Spread) -> str:
    """Write a ratio near 1 with three decimals."""
    return f"{value['median']:.3f}× ({value['min']:.3f}–{value['max']:.3f})"


def _percent(value: Spread) -> str:
    return figure(100 * value["median"])
