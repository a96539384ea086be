"""What the metrics cost a request: one process that switches them off and on, ten times a second.

Two processes of the same program differ by more than the metrics cost, and so do two minutes of one
on a shared machine. So all slices are of one process (`benchmarks.switching`), each is compared
with its neighbour alone, and the interval comes from resampling those pairs.
"""

import json
import random
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks import builds, wrk
from benchmarks.contenders import ENDPOINTS, backend, pool_spec
from benchmarks.machine import OTHER_CORES, PROXY_CORES, missing
from benchmarks.processes import Server, free_port, running
from benchmarks.run import Run
from benchmarks.stats import percentile
from benchmarks.tables import Table, figure

_ROOT = Path(__file__).parents[1]
_FEW = 100
"""Requests in a slice below which it tells nothing: wrk was only beginning, or at its end."""

_RESAMPLED = 2000

Slice = tuple[bool, float, int]
"""Whether it counted, the seconds of CPU, the requests."""


def main(run: Run) -> None:
    """Measure the builds that there are."""
    if missing(["nginx", "wrk"]):
        print("metrics: skipped, it needs nginx as the backend and wrk as the load")
        return
    seconds = run.either(180, 5)
    kinds = {"compiled": True, "plain": False} if builds.has_compiled() else {"plain": False}
    figures = {name: summary(pairs(_measure(seconds, compiled=c))) for name, c in kinds.items()}
    run.conclude("metrics", {"builds": figures}, tables)


def _measure(seconds: int, *, compiled: bool) -> list[Slice]:
    """Saturate a switching balancer; return its slices."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        workers = backend(home)
        stack.enter_context(running(workers, OTHER_CORES))
        pool, out = home / "pool.yaml", home / "slices.json"
        addresses = [f"{host}:{workers.port}" for host in ENDPOINTS]
        pool.write_text(yaml.safe_dump(pool_spec(addresses)))
        port = free_port()
        sources = [str(builds.COMPILED), str(_ROOT)] if compiled else [str(_ROOT)]
        command = [sys.executable, "-P", "-m", "benchmarks.switching"]
        command += [str(pool), str(port), str(out)]
        server = Server("switching", command, port, {"PYTHONPATH": ":".join(sources)})
        with running(server, PROXY_CORES):
            wrk.run(port, wrk.scripts(home)["small"], seconds)
        found: list[Slice] = [tuple(each) for each in json.loads(out.read_text())]
        return found


def pairs(slices: Sequence[Slice]) -> list[tuple[float, float]]:
    """Return the CPU of a request in µs with and without metrics, of slices side by side."""
    found = []
    for one, other in zip(slices[::2], slices[1::2], strict=False):
        if min(one[2], other[2]) < _FEW:
            continue
        counted, not_counted = (one, other) if one[0] else (other, one)
        found.append((_each(counted), _each(not_counted)))
    return found


def _each(slice_: Slice) -> float:
    _, cpu, ended = slice_
    return cpu * 1e6 / ended


def summary(found: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return what the metrics cost, in percent of a request without, with its 95 % interval."""
    costs = [100 * (counted / without - 1) for counted, without in found]
    draw = random.Random(1)  # the same pairs give the same interval
    medians = sorted(median(draw.choices(costs, k=len(costs))) for _ in range(_RESAMPLED))
    ordered = sorted(costs)
    return {
        "pairs": len(costs),
        "cpu_us_without": median(without for _, without in found),
        "cpu_us_with": median(counted for counted, _ in found),
        "cost_percent": median(costs),
        "cost_percent_low": percentile(medians, 0.025),
        "cost_percent_high": percentile(medians, 0.975),
        "cost_percent_q1": percentile(ordered, 0.25),
        "cost_percent_q3": percentile(ordered, 0.75),
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    rows = [
        [
            f"leastwise, {'compiled' if name == 'compiled' else 'plain Python'}",
            figure(each["cpu_us_without"]),
            figure(each["cpu_us_with"]),
            f"{each['cost_percent']:+.2f} %",
            f"{each['cost_percent_low']:+.2f} to {each['cost_percent_high']:+.2f} %",
            f"{each['cost_percent_q1']:+.1f} to {each['cost_percent_q3']:+.1f} %",
            str(each["pairs"]),
        ]
        for name, each in figures["builds"].items()
    ]
    header = ["", "CPU µs without", "with", "metrics cost", "95 % interval", "half of the pairs",
              "pairs"]  # fmt: skip
    return [Table("The metrics, switched off and on in one process", header, rows)]
