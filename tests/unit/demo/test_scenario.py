import pytest
import yaml

from app.config.loading import parse_pool
from app.demo.criteria import Criterion, criteria
from app.demo.scenario import Fault, Scenario


def test_the_defaults_are_those_of_the_issue() -> None:
    scenario = Scenario()
    assert (scenario.requests, scenario.interval, scenario.task) == (250, 1, 15)
    assert (scenario.fault_at, scenario.return_at, scenario.length) == (100, 200, 264)
    assert scenario.names == ["worker1", "worker2", "worker3", "worker4", "worker5"]
    assert scenario.victim == "worker1"


def test_the_speed_divides() -> None:
    assert Scenario(speed=10).wall(100) == 10
    assert Scenario(speed=0.5).wall(100) == 200


def test_the_pool_is_the_one_of_the_issue_and_can_be_read() -> None:
    endpoints = ["127.0.0.2:20001", "127.0.0.3:20002"]
    for speed, divided in ((1.0, 20.0), (10.0, 2.0), (50.0, 0.4)):
        text = yaml.safe_dump(Scenario(speed=speed).pool(endpoints))
        pool = parse_pool(text.encode(), "pool.yaml")
        policy = pool.policy()
        assert list(map(str, pool.spec.endpoints or ())) == endpoints
        assert policy.max_in_flight == 4
        assert policy.timeouts.first_byte == divided
        assert policy.timeouts.request == pytest.approx(3 * divided)
        retry = policy.retry
        assert (retry.non_idempotent, retry.on_timeout) == (True, True)
        assert retry.refused_statuses == {503}
        probe = policy.health.probe
        assert probe is not None
        assert (probe.path, probe.interval, probe.timeout) == ("/readyz", 0.5, 0.2)
        assert probe.failures == 3


def test_a_criterion_is_met_up_to_its_limit() -> None:
    assert Criterion("", 4, 4).passed
    assert not Criterion("", 5, 4).passed
    assert Criterion("", 248, 248, at_least=True).passed
    assert not Criterion("", 247, 248, at_least=True).passed
    assert not Criterion("", None, 4).passed


def test_a_criterion_for_people() -> None:
    criterion = Criterion("", 0.125, 5.0, "ms")
    assert (criterion.told_figure, criterion.told_limit) == ("0.12 ms", "≤ 5.00 ms")
    criterion = Criterion("", None, 1200.0, "ms")
    assert (criterion.told_figure, criterion.told_limit) == ("not measured", "≤ 1200 ms")
    criterion = Criterion("", 250, 248, at_least=True)
    assert (criterion.told_figure, criterion.told_limit) == ("250", "≥ 248")


def test_the_limits_follow_the_speed_the_fault_and_the_time_before() -> None:
    figures = {
        "requests": 250, "responses_failed": 0, "worker_refusals": 1,
        "worker_refusals_unexpected": 0, "misplaced": 0, "others_out": 0, "sent_while_out": 0,
        "react_ms": 0.1, "rejoin_ms": 700.0, "queue_wait_ms": 299.0,
        "max_in_flight": {"overall": 4},
        "max_spread": {"before": 1, "during": 1, "after": 2},
        "dispatch_ms": {"before": {"p99": 2.0}, "after": {"p99": 5.0}},
    }  # fmt: skip
    kill = {c.name: c for c in criteria(Scenario(fault=Fault.KILL), figures)}
    hang = {c.name: c for c in criteria(Scenario(fault=Fault.HANG), figures)}
    slow = {c.name: c for c in criteria(Scenario(speed=20), figures)}
    back, wait = "able to work to back in rotation", "longest wait while all workers were full"
    assert (kill[back].passed, hang[back].passed) == (False, True)
    assert not kill["refusals by workers"].passed
    assert hang["refusals by workers, but right after SIGCONT"].passed
    assert (kill[wait].limit, slow[wait].limit) == (300, 150)
    assert kill["dispatch after the fault, p99"].limit == 5.0
    assert len(kill) == len(hang)
