"""Several replicas of the balancer as one: what each way of sharing costs, in the simulation.

The same seeds give the same figures on every machine. `balance` runs it too.
"""

from dataclasses import replace

from benchmarks.run import Run
from benchmarks.simulation import replicas
from benchmarks.simulation.replicas_report import tables

NAME = "replicas_simulated"


def main(run: Run) -> None:
    """Run all of it: about three minutes of one core, or 20 s if it is quick."""
    requests, seeds, close = run.either((40_000, 3, 5), (8_000, 1, 1))
    settings = [
        replace(each, workload=replace(each.workload, requests=_enough(each, requests)))
        for each in replicas.SETTINGS
    ]
    found = {
        "seeds": seeds,
        "close_seeds": close,
        "network_ms": {
            "least": 1e3 * replicas.NETWORK.least, "jitter": 1e3 * replicas.NETWORK.jitter
        },
        "slack_ms": 1e3 * replicas.SLACK,
        "requests": {each.name: each.workload.requests for each in settings},
        "settings": replicas.compared(settings, seeds, close),
        "delays": replicas.delays_compared(settings[-1], run.either(2, 1)),
    }  # fmt: skip
    run.conclude(NAME, found, tables)


def _enough(setting: replicas.Setting, requests: int) -> int:
    """Return so many, or twice as many as come while the pool fills."""
    workload = setting.workload
    return max(requests, int(2 * workload.rate * workload.warmup))
