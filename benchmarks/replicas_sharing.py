"""Three replicas beside one balancer, under the same arrivals and task times, in turns.

`shared`: at a load of 0.9 on the workers' caps, how long requests wait, in which order they begin,
and what the workers' own peak is. `dispatched`: with slots free at all times, how long a request is
on its way to its worker. A wait is counted from the sending of a request to the moment at which its
worker has it: the whole time to the answer but for the task and the way back.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.replicas_cluster import (
    ONE,
    REPLICAS,
    THREE,
    WORKERS,
    Busy,
    LightCluster,
    peak,
    pool,
    run_load,
    started,
)
from benchmarks.replicas_load import Answer, Call, overtaken, plan
from benchmarks.run import Run
from benchmarks.stats import percentile, spread
from tests.e2e.sim.templates import CAP

LOAD, TASK = 0.9, 0.2
"""Share of the slots that is used, and the mean of the task times in seconds."""

RATE = 1000
"""Requests a second where slots are free."""

SLACK = 0.005
"""Seconds by which a request has to come later and begin earlier, to have overtaken another."""

FREE = 64
"""The cap where slots are always free."""

QUANTILES = {"p50": 0.50, "p99": 0.99}


def waits(answers: Sequence[Answer]) -> list[float]:
    """Return how long each waited until its worker had it, in ms, in ascending order."""
    return sorted(1e3 * (answer.began - answer.sent) for answer in answers)


async def _in_turns(
    cluster: LightCluster, rounds: int, calls: Callable[[int], Sequence[Call]], skip: float
) -> list[dict[str, tuple[list[Answer], dict[str, float]]]]:
    """Run one balancer and three in turns; in every other round the three come first.

    What was sent in the first `skip` seconds is left out.
    """
    found = []
    for number in range(rounds):
        plan_of_round = calls(number)
        order = (ONE, THREE) if number % 2 == 0 else (THREE, ONE)
        one_round = {}
        for who in order:
            busy = Busy(cluster, who)
            answers = await run_load(cluster, who, plan_of_round)
            begin = min(answer.sent for answer in answers) + skip
            kept = [answer for answer in answers if answer.sent >= begin]
            one_round[who] = kept, busy.read()
        found.append(one_round)
    return found


async def _warm(cluster: LightCluster) -> None:
    for who in (ONE, THREE):
        await run_load(cluster, who, plan(100.0, 300, 0.0, 0, REPLICAS))


async def shared(run: Run) -> dict[str, Any]:
    """Measure waits and order at the cap."""
    rate = LOAD * WORKERS * CAP / TASK
    count = run.either(5000, 1000)
    async with started(pool(CAP)) as cluster:
        await _warm(cluster)
        rounds = await _in_turns(
            cluster,
            run.either(3, 1),
            lambda seed: plan(rate, count, TASK, 10 * seed, REPLICAS),
            0.0,
        )
        highest = await peak(cluster)
    told = [_compared(one) for one in rounds]
    return {
        "worker_peak": highest,
        "mean_wait_ratio": median(one["ratio"] for one in told),
        "sharing": {
            "load": LOAD,
            "requests": count,
            "slack_ms": 1e3 * SLACK,
            "ratios": spread(one["ratio"] for one in told).as_json(),
            "rounds": told,
        },
    }


def _compared(one_round: Mapping[str, tuple[list[Answer], dict[str, float]]]) -> dict[str, Any]:
    """Compare three with one in one round."""
    told: dict[str, Any] = {who: _told(answers, cpu) for who, (answers, cpu) in one_round.items()}
    three, one = told[THREE], told[ONE]
    return {
        "ratio": three["wait_ms"] / one["wait_ms"],
        "ratio_by_queue": three["queued_ms"] / one["queued_ms"] if one["queued_ms"] else None,
        **told,
    }


def _told(answers: list[Answer], cpu: dict[str, float]) -> dict[str, Any]:
    waited = waits(answers)
    return {
        "wait_ms": fmean(waited),
        "wait_p99_ms": percentile(waited, 0.99),
        "queued_ms": 1e3 * fmean(answer.queued for answer in answers),
        "overtaken": overtaken(answers, SLACK),
        "ordered_within_ms": 1e3 * ordered_within(answers),
        "cores": cpu,
    }


def ordered_within(answers: Sequence[Answer]) -> float:
    """Return the least slack with which nobody overtook anybody, in seconds, to the 0.1 ms."""
    low, high = 0, 100_000
    while low < high:
        middle = (low + high) // 2
        if overtaken(answers, middle / 1e4):
            low = middle + 1
        else:
            high = middle
    return low / 1e4


async def dispatched(run: Run) -> dict[str, Any]:
    """Measure what three add to the time to dispatch."""
    seconds = run.either(8.0, 3.0)
    async with started(pool(FREE)) as cluster:
        await _warm(cluster)
        rounds = await _in_turns(
            cluster,
            run.either(8, 2),
            lambda seed: plan(RATE, int(RATE * seconds), 0.0, 10 * seed, REPLICAS),
            1.0,
        )
    told: list[dict[str, Any]] = [
        {
            who: {"cores": cpu, **{q: percentile(waits(those), of) for q, of in QUANTILES.items()}}
            for who, (those, cpu) in one.items()
        }
        for one in rounds
    ]
    added = {q: [one[THREE][q] - one[ONE][q] for one in told] for q in QUANTILES}
    return {
        "added_dispatch_ms": {q: median(those) for q, those in added.items()},
        "dispatching": {
            "rate": RATE,
            "added": {q: spread(those).as_json() for q, those in added.items()},
            "rounds": told,
        },
    }
