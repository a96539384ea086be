"""The simulation against what must hold in every run, and against what theory says."""

from dataclasses import replace
from math import factorial
from random import Random
from statistics import fmean

import pytest

from app.balancing.lease import Outcome
from app.balancing.policy import Policy, QueuePolicy, RetryPolicy
from benchmarks.simulation import experiments, policies
from benchmarks.simulation.cluster import Attempt, Cluster
from benchmarks.simulation.experiments import CAP, POLICIES, TIES, play, pooled
from benchmarks.simulation.pooled import Pooled
from benchmarks.simulation.workloads import (
    MEAN,
    ODD,
    WORKLOADS,
    Fault,
    Service,
    Workload,
    bimodal,
    constant,
    heavy_tailed,
    memoryless,
)

ALL = {**POLICIES, **{f"ties {name}": make for name, make in TIES.items()}}


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_each_request_ends_once_and_after_its_work(workload: Workload, policy: str) -> None:
    short = replace(workload, requests=500, warmup=0.0)
    watch = play(short, ALL[policy], seed=1)
    expected = [(each.arrived, each.work) for each in short.arrivals(seed=1)]
    ended = sorted((each.arrived, each.work) for each in watch.ended)
    assert [work for _, work in ended] == [work for _, work in sorted(expected)]
    for request in watch.ended:
        assert request.ended is not None
        if request.good:
            assert request.ended - request.arrived >= request.work - 1e-9
    assert watch.given.total() == short.requests  # nothing is sent again here


@pytest.mark.parametrize("policy", ALL)
def test_a_seed_gives_the_same_run_again_and_another_seed_another(policy: str) -> None:
    workload = replace(WORKLOADS[2], requests=500)
    once, again, other = (play(workload, ALL[policy], seed).figures() for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_all_policies_meet_the_same_requests() -> None:
    workload = WORKLOADS[4]
    first = [(each.arrived, each.work) for each in workload.arrivals(3)]
    assert first == [(each.arrived, each.work) for each in workload.arrivals(3)]


@pytest.mark.parametrize("policy", POLICIES)
def test_littles_law(policy: str) -> None:
    workload = replace(WORKLOADS[2], warmup=0.0, requests=20_000)
    watch = play(workload, POLICIES[policy], seed=5)
    latencies = [(each.ended or 0.0) - each.arrived for each in watch.ended]
    # The integral over time of who is present is what all of them spent there.
    assert watch.request_seconds == pytest.approx(sum(latencies), rel=1e-9)
    until = max(each.ended or 0.0 for each in watch.ended)
    present = watch.request_seconds / until
    assert present == pytest.approx(workload.rate * fmean(latencies), rel=0.03)


def erlang_c_wait(servers: int, load: float) -> float:
    """Mean wait of M/M/c in units of the mean service time."""
    offered = servers * load
    terms = [offered**k / factorial(k) for k in range(servers)]
    last = offered**servers / factorial(servers) / (1 - load)
    return last / (sum(terms) + last) / (servers * (1 - load))


def test_the_formula_is_that_of_m_m_1_for_one_server() -> None:
    assert erlang_c_wait(1, 0.5) == pytest.approx(0.5 / (1 - 0.5))


@pytest.mark.parametrize(("workers", "slots", "load"), [(1, 1, 0.5), (2, 2, 0.7), (5, 4, 0.75)])
def test_cap_and_queue_wait_as_erlang_c_says(workers: int, slots: int, load: float) -> None:
    workload = Workload("m/m/c", "", memoryless, load, workers, slots, requests=30_000)
    capped = replace(CAP, max_in_flight=slots)
    waits = [play(workload, pooled(capped), seed).figures()["wait_mean"] for seed in range(2)]
    expected = MEAN * erlang_c_wait(workers * slots, load)
    # Waits are rare and come in clusters: of 20 servers the mean of two runs is good to 7 % or so.
    assert fmean(waits) == pytest.approx(expected, rel=0.15)


def test_random_waits_as_many_separate_queues_do() -> None:
    workload = Workload("m/m/1s", "", memoryless, 0.5, workers=4, slots=1, requests=40_000)
    wait = play(workload, POLICIES["random"], seed=1).figures()["wait_mean"]
    assert wait == pytest.approx(MEAN * erlang_c_wait(1, 0.5), rel=0.1)


@pytest.mark.parametrize("service", [constant, memoryless, bimodal, heavy_tailed])
def test_service_times_have_the_mean_that_the_load_is_made_of(
    service: Service,
) -> None:
    random = Random(1)
    drawn = [service(random) for _ in range(200_000)]
    assert fmean(drawn) == pytest.approx(MEAN, rel=0.03)


def test_heavy_tails_are_bounded() -> None:
    random = Random(2)
    drawn = [heavy_tailed(random) for _ in range(50_000)]
    assert min(drawn) >= 3.82
    assert 300 < max(drawn) <= 3.82 * 200


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_the_pool_without_a_cap_chooses_as_its_rule_for_ties_is_told(workload: Workload) -> None:
    # The first order of the pool is random, that of the model is by number: the loads agree all
    # the same, worker by worker in some order.
    short = replace(workload, requests=800, pace={}, faults={})
    ours = play(short, POLICIES["least"], seed=4)
    model = play(short, lambda r: policies.AtOnce(policies.least(policies.least_recent), r), 4)
    assert ours.figures() == model.figures()
    assert sorted(ours.given.values()) == sorted(model.given.values())


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_under_cap_and_queue_no_slot_is_free_while_a_request_waits(workload: Workload) -> None:
    figures = play(replace(workload, requests=800), POLICIES["capped"], seed=6).figures()
    assert figures["idle"] == 0.0
    assert figures["most"] <= workload.slots


def test_who_waits_too_long_is_refused() -> None:
    workload = Workload("over", "", constant, load=2.0, workers=1, slots=1, requests=50, warmup=0.0)
    policy = Policy(max_in_flight=1, queue=QueuePolicy(timeout=20.0))
    watch = play(workload, pooled(policy), seed=1)
    refused = [each for each in watch.ended if not each.good]
    assert refused
    for each in refused:
        assert (each.ended or 0.0) - each.arrived == pytest.approx(20.0, abs=0.2)


# --- faults

FAILING = Workload("failing", "", memoryless, load=0.5, requests=400, warmup=0.0)


def failed(fault: Outcome, policy: Policy = CAP, method: bytes = b"GET") -> float:
    workload = replace(FAILING, faults={ODD: Fault(fault)})
    return play(workload, pooled(policy, method=method), seed=1).figures()["failed"]


def test_errors_that_a_worker_answers_attract_requests() -> None:
    assert failed(Outcome.ANSWERED) > 0.4  # of five, its fair share is 0.2


def test_what_died_is_sent_again_if_it_may_be() -> None:
    assert failed(Outcome.DIED) == 0.0
    assert failed(Outcome.DIED, method=b"POST") > 0.2


def test_what_was_refused_is_sent_again_whatever_it_is() -> None:
    assert failed(Outcome.REFUSED, method=b"POST") == 0.0


def test_a_probe_keeps_a_failing_worker_out() -> None:
    workload = replace(FAILING, faults={ODD: Fault(Outcome.ANSWERED)})
    watch = play(workload, pooled(experiments.PROBED), seed=1)
    assert watch.share(ODD) < 0.02
    late = [each for each in watch.ended if each.arrived > 4.0]
    assert all(each.good for each in late)


def test_a_worker_that_is_gone_is_tried_once_and_returns_by_itself() -> None:
    gone = replace(FAILING, dies=(ODD, 0.0, 1e9))
    assert play(gone, pooled(CAP), seed=1).given[ODD] == 0
    back = replace(FAILING, dies=(ODD, 0.0, 60.0))
    watch = play(back, pooled(CAP), seed=1)
    assert watch.given[ODD] > 20
    assert watch.figures()["failed"] == 0.0


def test_what_a_dead_worker_had_ends_elsewhere_or_fails() -> None:
    workload = Workload("kill", "", constant, load=0.75, paced=True, dies=(ODD, 70.5, 30.0),
                        requests=120, warmup=0.0)  # fmt: skip
    for policy, lost in ((Policy(max_in_flight=4), 0), (replace(CAP, retry=RetryPolicy()), 3)):
        method = b"POST" if lost else b"GET"
        balancer = Pooled(policy, Random(1), method=method)
        watch = Cluster(workload, balancer, 1).run()
        assert len(watch.ended) == workload.requests
        assert sum(not each.good for each in watch.ended) == lost
        assert watch.most <= 4


def test_a_request_that_ends_twice_is_an_error() -> None:
    class Twice(policies.AtOnce):
        def ended(self, attempt: Attempt, outcome: Outcome, *, good: bool) -> None:
            super().ended(attempt, outcome, good=good)
            assert self._cluster is not None
            self._cluster.finish(attempt.request, good=good)

    with pytest.raises(RuntimeError, match="twice"):
        Cluster(FAILING, Twice(policies.at_random, Random(1)), 1).run()
