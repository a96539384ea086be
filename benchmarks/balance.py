"""How well requests are spread: the pool and other policies in a simulation; no figure is a speed.

The same seeds give the same figures on every machine. Several replicas, which `replicas_simulated`
compares, are a part of it.
"""

from typing import Any

from benchmarks import replicas_simulated
from benchmarks.run import Run
from benchmarks.simulation import experiments
from benchmarks.simulation.report import tables


def main(run: Run) -> None:
    """Run all experiments."""
    seeds = run.either(7, 3)
    found: dict[str, Any] = {
        "seeds": seeds,
        "policies": experiments.policies_compared(seeds),
        "ties": experiments.ties_compared(seeds),
        "sizes": experiments.sizes_compared(run.either(3, 1)),
        "trap": experiments.trap(seeds),
        "kill": experiments.kill_and_return(run.either(100, 20)),
    }
    run.conclude("balance", found, tables)
    replicas_simulated.main(run)
