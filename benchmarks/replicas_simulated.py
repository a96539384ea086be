"""Several replicas of the balancer as one: what each way of sharing costs, in the simulation.

The same seeds give the same figures on every machine. `balance` runs it too.
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.run import Run
from benchmarks.simulation import replicas
from benchmarks.simulation.replicas import SETTINGS, Setting
from benchmarks.simulation.replicas_report import tables

NAME = "replicas_simulated"


def main(run: Run) -> None:
    """Run all of it: about four minutes of one core, or 20 s if it is quick."""
    seeds = {"ways": run.either(2, 1), "view": run.either(5, 1), "delays": run.either(2, 1)}
    ways = [_of(each, run.either(each.workload.requests, 6_000)) for each in SETTINGS]
    views = [_of(each, run.either(each.long, 6_000)) for each in SETTINGS]
    runs, network = replicas.Runs(), replicas.NETWORK
    found = {
        "seeds": seeds,
        "network_ms": {"least": 1e3 * network.least, "jitter": 1e3 * network.jitter},
        "slack_ms": 1e3 * replicas.SLACK,
        "view": replicas.view_aimed_at(runs, views, seeds["view"]),
        "view_far": replicas.view_aimed_at(runs, [_largest(views)], seeds["view"], replicas.FAR),
        "ways": replicas.ways_compared(runs, ways, seeds["ways"]),
        "delays": replicas.delays_compared(runs, ways[-1], seeds["delays"]),
    }
    run.conclude(NAME, found, tables)


def _largest(settings: Sequence[Setting]) -> Setting:
    """Return the setting with the most workers: hardly anybody waits there, but for messages."""
    return max(settings, key=lambda each: each.workload.workers)


def _of(setting: Setting, requests: int) -> Setting:
    """Return the setting with so many requests, or twice as many as come while the pool fills."""
    workload = setting.workload
    enough = max(requests, int(2 * workload.rate * workload.warmup))
    return replace(setting, workload=replace(workload, requests=enough))
