"""The figures of several replicas as tables, from what stands in their JSON alone."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.stats import spread
from benchmarks.tables import Table, figure, ranged
from benchmarks.targets import Target

NAME = "replicas"

_WHO = {"one": "one balancer", "three": "three replicas"}
_FAULTS = {"graceful": "stops", "killed": "is killed", "silent": "falls silent"}
_WAYS = {"free": "a free slot", "queued": "through the queue"}


def _at(*path: str) -> Callable[[dict[str, Any]], float]:
    def find(found: dict[str, Any]) -> float:
        value: Any = found
        for key in path:
            value = value[key]
        return float(value)

    return find


AIMS = (
    Target("Most requests on a worker, by its own count", 4, "", NAME, _at("worker_peak")),
    Target("Mean wait, over one balancer's", 1.2, "×", NAME, _at("mean_wait_ratio")),
    Target("Added to a dispatch, p50", 0.5, " ms", NAME, _at("added_dispatch_ms", "p50")),
    Target("Added to a dispatch, p99", 2, " ms", NAME, _at("added_dispatch_ms", "p99")),
    Target(
        "Decided a second, in batches", 50_000, "", NAME, _at("decisions_per_second"), least=True
    ),
    Target("Without arbiter if it stops", 500, " ms", NAME, _at("without_arbiter_ms", "graceful")),
    Target("Without arbiter if it is killed", 1000, " ms", NAME,
           _at("without_arbiter_ms", "killed")),
    Target("Without arbiter if it falls silent", 4000, " ms", NAME,
           _at("without_arbiter_ms", "silent")),
)  # fmt: skip


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    aims = [target.row({NAME: figures}) for target in AIMS]
    return [
        Table("Aims for several replicas", ["", "aim", "found", "met"], aims),
        _sharing(figures["sharing"]),
        _dispatching(figures["dispatching"]),
        _faults(figures["faults"]),
        _deciding(figures["deciding"]),
    ]


def _range(values: Sequence[float]) -> str:
    """Write the median of the rounds, and their range if there are several."""
    found = spread(values)
    if len(values) == 1:
        return figure(found.median)
    return ranged(found.median, found.lowest, found.highest)


def _spread(told: dict[str, float]) -> str:
    return ranged(told["median"], told["min"], told["max"])


def _sharing(found: dict[str, Any]) -> Table:
    rounds = found["rounds"]
    keys = ("wait_ms", "wait_p99_ms", "overtaken", "ordered_within_ms")
    rows = [
        [
            told,
            *(_range([one[who][key] for one in rounds]) for key in keys),
            _range([one[who]["cores"]["balancers"] for one in rounds]),
        ]
        for who, told in _WHO.items()
    ]
    rows.append(["over one balancer's", _range([one["ratio"] for one in rounds]), "", "", "", ""])
    title = f"{len(rounds)} × {found['requests']:,} requests at a load of {found['load']:g}"
    header = ["", "mean wait, ms", "p99, ms", f"overtaken by {found['slack_ms']:g} ms",
              "in order within, ms", "cores of balancers"]  # fmt: skip
    return Table(title, header, rows)


def _dispatching(found: dict[str, Any]) -> Table:
    rounds = found["rounds"]
    rows = [
        [
            told,
            *(_range([one[who][quantile] for one in rounds]) for quantile in ("p50", "p99")),
            *(_range([one[who]["cores"][part] for one in rounds]) for part in _PARTS),
        ]
        for who, told in _WHO.items()
    ]
    added = found["added"]
    rows.append(["added", _spread(added["p50"]), _spread(added["p99"]), *("" for _ in _PARTS)])
    title = f"From a client to a worker at {found['rate']:,} a second, where slots are free"
    header = ["", "p50, ms", "p99, ms", *(f"cores of {part}" for part in _PARTS.values())]
    return Table(title, header, rows)


_PARTS = {"balancers": "balancers", "workers": "workers", "machine": "the whole machine"}


def _faults(found: dict[str, Any]) -> Table:
    keys = ("named_ms", "first_ms", "last_ms", "longest_wait_ms")
    rows = [
        [f"{told}, {found[name]['rounds']} times", *(_spread(found[name][key]) for key in keys)]
        for name, told in _FAULTS.items()
    ]
    header = ["", "another named", "first replica has one", "last replica", "longest wait"]
    return Table("Milliseconds since the arbiter", header, rows)


def _deciding(found: dict[str, Any]) -> Table:
    rows = [
        [told, _spread(found[way]["per_second"]), _spread(found[way]["per_cpu_second"])]
        for way, told in _WAYS.items()
    ]
    title = f"Decided by the arbiter, {found['batch']} requests in a batch"
    return Table(title, ["", "a second", "a second of CPU time"], rows)
