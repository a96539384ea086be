"""What is compared with what: workloads under policies, each with the same seeds for all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from random import Random
from typing import Any

from app.balancing.lease import Outcome
from app.balancing.policy import HealthPolicy, Policy, ProbePolicy, QueuePolicy, RetryPolicy
from benchmarks.simulation import policies
from benchmarks.simulation.cluster import Balancer, Cluster
from benchmarks.simulation.measures import MEASURES, Watch
from benchmarks.simulation.policies import AtOnce
from benchmarks.simulation.pooled import Pooled
from benchmarks.simulation.workloads import (
    ODD,
    WORKLOADS,
    Fault,
    Workload,
    constant,
    memoryless,
)
from benchmarks.stats import spread

Make = Callable[[Random], Balancer]
"""Makes a balancer for one run, with a generator of its own."""

Figures = dict[str, Any]

CAP = Policy(max_in_flight=4, queue=QueuePolicy(size=10**9, timeout=inf))
"""As many as a worker has slots. Nobody is turned away, so that latencies can be compared."""

UNCAPPED = Policy()
PROBED = replace(CAP, health=HealthPolicy(probe=ProbePolicy("/healthz")))


def at_once(choose: policies.Choose) -> Make:
    """Return a policy without cap and queue."""
    return lambda random: AtOnce(choose, random)


def pooled(policy: Policy, *, method: bytes = b"GET") -> Make:
    """Return leastwise's own."""
    return lambda random: Pooled(policy, random, method=method)


POLICIES: Mapping[str, Make] = {
    "random": at_once(policies.at_random),
    "round_robin": at_once(policies.round_robin),
    "power_of_two": at_once(policies.power_of_two),
    "least": pooled(UNCAPPED),
    "capped": pooled(CAP),
}

TIES: Mapping[str, Make] = {
    "first": at_once(policies.least(policies.first)),
    "random": at_once(policies.least(policies.at_random)),
    "ring": lambda random: AtOnce(policies.least(policies.in_a_ring()), random),
    "oldest": at_once(policies.least(policies.oldest_in_flight)),
    "least_recent": pooled(UNCAPPED),
}
"""Least connections, by what is done with ties."""

SIZES = (5, 50, 500)


def play(workload: Workload, make: Make, seed: int) -> Watch:
    """Run one workload under one policy."""
    return Cluster(workload, make(Random(f"policy {seed}")), seed).run()


def rounds(workload: Workload, make: Make, seeds: int) -> Figures:
    """Run it with several seeds; return each figure's median and range over them."""
    watches = [play(workload, make, seed) for seed in range(seeds)]
    found = [watch.figures() for watch in watches]
    figures: Figures = {key: spread(one[key] for one in found).as_json() for key in MEASURES}
    figures["odd_share"] = spread(watch.share(ODD) for watch in watches).as_json()
    shares = [max(watch.given.values()) / watch.given.total() for watch in watches]
    figures["top_share"] = spread(shares).as_json()
    return figures


def grid(workloads: Sequence[Workload], makes: Mapping[str, Make], seeds: int) -> Figures:
    """Return the figures of all, by workload and policy."""
    return {
        workload.name: {name: rounds(workload, make, seeds) for name, make in makes.items()}
        for workload in workloads
    }


# --- the experiments


def policies_compared(seeds: int) -> Figures:
    """All policies under all workloads."""
    return grid(WORKLOADS, POLICIES, seeds)


def ties_compared(seeds: int) -> Figures:
    """Least connections without a cap, with each rule for ties."""
    by_name = {workload.name: workload for workload in WORKLOADS}
    quiet = Workload("quiet", "exponential, one in twenty slots busy", memoryless, load=0.05,
                     requests=2_000)  # fmt: skip
    stuck = Workload("stuck", "exponential, one worker takes 40 times as long, half of all slots"
                     " needed", memoryless, load=0.5, pace={ODD: 40.0}, requests=1_000)  # fmt: skip
    compared = [by_name["constant"], by_name["exponential"], quiet, stuck]
    return grid(compared, TIES, seeds)


def sizes_compared(seeds: int) -> Figures:
    """Exponential service at pools of several sizes, the load of each worker the same."""
    chosen = {name: POLICIES[name] for name in ("random", "power_of_two", "least", "capped")}
    workloads = [
        Workload(str(size), "exponential", memoryless, workers=size,
                 requests=max(4_000, 60 * size))
        for size in SIZES
    ]  # fmt: skip
    return grid(workloads, chosen, seeds)


def trap(seeds: int) -> Figures:
    """One worker of five fails fast: what protects from it.

    What it attracts without that is the workload "failing" of `policies_compared`.
    """
    errors = next(workload for workload in WORKLOADS if workload.name == "failing")
    drops = replace(errors, faults={ODD: Fault(Outcome.DIED)})
    refuses = replace(errors, faults={ODD: Fault(Outcome.REFUSED)})
    gone = replace(errors, faults={}, dies=(ODD, 0.0, inf))
    full = replace(CAP, retry=RetryPolicy(refused_statuses=frozenset({503})))
    runs = {
        "probe": (errors, pooled(PROBED)),
        "drops_post": (drops, pooled(CAP, method=b"POST")),
        "drops_get": (drops, pooled(CAP)),
        "full": (refuses, pooled(full)),
        "gone": (gone, pooled(CAP, method=b"POST")),
    }
    return {name: rounds(workload, make, seeds) for name, (workload, make) in runs.items()}


def kill_and_return(runs: int) -> Figures:
    """Constant 15 s, one a second, cap 4, five workers: one dies, at any point of the second."""
    found: dict[str, list[float]] = {
        key: [] for key in ("most", "longest_queue", "longest_wait", "failed")
    }
    for number in range(runs):
        when = 60.0 + number / runs
        workload = Workload("kill", "constant 15 s, one a second", constant, load=0.75, paced=True,
                            dies=(ODD, when, 30.0), requests=180, warmup=0.0)  # fmt: skip
        balancer = Pooled(Policy(max_in_flight=4), Random(f"policy {number}"))
        figures = Cluster(workload, balancer, number).run().figures()
        found["most"].append(figures["most"])
        found["failed"].append(figures["failed"] * workload.requests)
        found["longest_queue"].append(balancer.longest_queue)
        found["longest_wait"].append(balancer.longest_wait)
    return {key: spread(values).as_json() for key, values in found.items()} | {"runs": runs}
