"""Three replicas that act as one, beside one balancer: `make bench-replicas`.

Waits and order at the cap, what asking adds to a dispatch, what the arbiter can decide, and for how
long there is none. All but what it can decide is measured on the simulated cluster of the tests,
with real balancers; see the modules for how, and `replicas_simulated` for what is simulated.
"""

import asyncio
from typing import Any

from benchmarks import replicas_deciding, replicas_faults, replicas_sharing
from benchmarks.replicas_figures import NAME, tables
from benchmarks.run import Run

KEYS = (
    "worker_peak",
    "mean_wait_ratio",
    "added_dispatch_ms",
    "decisions_per_second",
    "without_arbiter_ms",
)
"""What it comes to; the other keys explain it."""


def main(run: Run) -> None:
    """Measure all, print the tables, keep the JSON."""
    deciding = replicas_deciding.measured(run)  # first: nothing else runs yet
    found = deciding | asyncio.run(_on_cluster(run))
    run.conclude(NAME, {key: found[key] for key in KEYS} | found, tables)


async def _on_cluster(run: Run) -> dict[str, Any]:
    dispatched = await replicas_sharing.dispatched(run)
    shared = await replicas_sharing.shared(run)
    return shared | dispatched | await replicas_faults.without_arbiter(run)
