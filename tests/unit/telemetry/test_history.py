"""The last ten minutes, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry.history import KEPT, History, quantile
from app.telemetry.requests import BOUNDS, RequestStats
from tests.unit.telemetry.requests_made import Ended, refused
from tests.unit.telemetry.test_events import Nobody


class Stage:
    def __init__(self, cap: int | None = 4) -> None:
        self.now = 0.0
        self.retried = 0
        self.pool = Pool(Policy(max_in_flight=cap))
        specs = [EndpointSpec(name, "127.0.0.1", 80, name=name) for name in "ab"]
        self.pool.apply_snapshot(specs, 0.0)
        self.stats = RequestStats()
        self.history = History(self.pool, self.stats, lambda: self.retried, wall=lambda: self.now)


def test_a_row_tells_what_is_and_what_has_changed() -> None:
    stage = Stage()
    lease = stage.pool.acquire(Nobody(), 0.0)
    assert isinstance(lease, Lease)
    stage.stats.ended(Ended())
    stage.stats.ended(refused())
    stage.stats.ended(refused(status=0))
    stage.retried = 2
    stage.now = 7.0
    stage.history.take()
    lease.release(Outcome.ANSWERED, 0.0)
    stage.stats.ended(Ended())
    stage.retried = 3
    stage.now = 8.0
    stage.history.take()
    first, second = stage.history
    assert first._asdict() | {"p50": None, "p99": None} == {
        "at": 7.0, "in_flight": 1, "queued": 0, "slots": 8, "workers": 2, "ended": 3, "failed": 2,
        "retried": 2, "p50": None, "p99": None,
    }  # fmt: skip
    assert (second.in_flight, second.ended, second.failed, second.retried) == (0, 1, 0, 1)
    assert stage.history.since(7.0) == [second]
    assert stage.history.since(8.0) == []


def test_with_several_replicas_a_row_tells_what_all_of_them_have() -> None:
    stage = Stage()
    history = History(stage.pool, stage.stats, lambda: 0, load=lambda: (7, 3))
    history.take()
    (row,) = history
    assert (row.in_flight, row.queued, row.slots) == (7, 3, 8)


def test_without_requests_there_are_no_times_and_without_a_cap_no_slots() -> None:
    stage = Stage(cap=None)
    assert stage.history.last == 0.0
    stage.history.take()
    (row,) = stage.history
    assert (row.p50, row.p99, row.slots) == (None, None, None)


def test_ten_minutes_are_kept() -> None:
    stage = Stage()
    for second in range(KEPT + 5):
        stage.now = float(second)
        stage.history.take()
    rows = list(stage.history)
    assert len(rows) == KEPT
    assert rows[0].at == 5.0


def test_the_latency_of_workers_that_left_is_forgotten() -> None:
    stage = Stage()
    stage.stats.ended(Ended(worker="a"))
    stage.stats.ended(Ended(worker="left"))
    stage.history.take()
    assert set(stage.stats.latency) == {"a"}


@given(st.lists(st.floats(0, 400), min_size=1), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(
    durations: list[float], share: float
) -> None:
    stats = RequestStats()
    for seconds in durations:
        stats.ended(Ended(arrived=0.0, ended_at=seconds))
    found = quantile(stats.duration.counts, share)
    rank = next(
        n for n, _ in enumerate(durations) if n + 1 >= share * len(durations)
    )  # nearest rank
    true = sorted(durations)[rank]
    low = max((bound for bound in BOUNDS if bound < true), default=0.0)
    high = min((bound for bound in BOUNDS if bound >= true), default=BOUNDS[-1])
    assert found is not None
    assert low - 1e-4 <= found <= high + 1e-4


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 2.5), (1.0, 3.0)])
def test_within_a_bucket_they_lie_evenly(share: float, seconds: float) -> None:
    stats = RequestStats()
    for _ in range(10):
        stats.ended(Ended(arrived=0.0, ended_at=3.0))
    assert quantile(stats.duration.counts, share) == seconds
