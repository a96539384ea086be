"""What is counted of requests that are over."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.balancing.lease import Outcome
from app.telemetry.endings import BY_OUTCOME, WHERE, WHY, ending, explain
from app.telemetry.requests import BOUNDS, EndedRequest, Histogram, RequestStats
from tests.unit.telemetry.requests_made import Ended, refused


def bucket(histogram: Histogram) -> float | None:
    """Return the bound of the bucket in which the one duration lies; None beyond them all."""
    (place,) = (place for place, count in enumerate(histogram.counts) if count)
    assert histogram.counts[place] == 1
    return BOUNDS[place] if place < len(BOUNDS) else None


def test_each_duration_goes_into_its_bucket() -> None:
    stats = RequestStats()
    stats.ended(Ended())
    assert bucket(stats.duration) == 17.5
    assert bucket(stats.waiting) == 2
    assert bucket(stats.first_byte) == 17.5
    assert stats.duration.total == 17.5
    assert stats.waiting.total == 2
    assert stats.first_byte.total == 17.25
    assert stats.classes[2] == 1


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(0.0, 0.001), (0.001, 0.001), (0.0011, 0.005), (15.0, 15.0), (240.0, 240.0), (240.1, None)],
)
def test_a_bound_belongs_to_its_bucket(seconds: float, bound: float | None) -> None:
    stats = RequestStats()
    stats.ended(Ended(arrived=0.0, ended_at=seconds))
    assert bucket(stats.duration) == bound


BESIDE_BOUNDS = st.sampled_from([*BOUNDS, *(bound * 1.001 for bound in BOUNDS), 0.0])
SECONDS = BESIDE_BOUNDS | st.floats(0, 300)


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1))
def test_whatever_the_times_each_lies_in_the_bucket_of_its_bounds(
    ways: list[tuple[float, float, float]],
) -> None:
    stats = RequestStats()
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for waited, answered, body in ways:
        arrived, ready = 1000.0, 1000.5
        request = Ended(
            arrived=arrived, ready_at=ready, granted_at=ready + waited,
            answered_at=arrived + answered, ended_at=arrived + answered + body,
        )  # fmt: skip
        stats.ended(request)
        found[0].append(request.ended_at - arrived)
        found[1].append(request.granted_at - ready)
        found[2].append(request.answered_at - arrived)
    for histogram, those in zip(
        (stats.duration, stats.waiting, stats.first_byte), found, strict=True
    ):
        assert histogram.cumulated() == [
            *(sum(seconds <= bound for seconds in those) for bound in BOUNDS), len(those)
        ]  # fmt: skip
        assert histogram.total == pytest.approx(sum(those))


def test_one_without_a_slot_waited_to_its_end() -> None:
    stats = RequestStats()
    stats.ended(refused())
    assert bucket(stats.waiting) == 60
    assert bucket(stats.first_byte) == 60
    assert stats.latency == {}
    assert stats.classes[5] == 1


def test_one_that_was_not_even_complete_did_not_wait() -> None:
    stats = RequestStats()
    stats.ended(refused(status=0, ready_at=0.0, answered_at=0.0, ending="CR"))
    assert stats.waiting.count == stats.first_byte.count == 0
    assert stats.duration.count == 1
    assert stats.classes[0] == 1


def test_latency_follows_the_answers_of_each_worker() -> None:
    stats = RequestStats()
    for _ in range(50):
        stats.ended(Ended(worker="slow"))
        stats.ended(Ended(worker="quick", answered_at=102.5))
    assert stats.latency["slow"] == pytest.approx(15)
    assert stats.latency["quick"] == pytest.approx(0.25)
    for _ in range(50):
        stats.ended(Ended(worker="slow", answered_at=103.25))
    assert 1 < stats.latency["slow"] < 1.1
    stats.forget({"quick", "new"})
    assert set(stats.latency) == {"quick"}


def test_an_answer_of_ours_is_not_the_workers_latency() -> None:
    stats = RequestStats()
    stats.ended(Ended(status=502, ending="SH"))
    assert stats.latency == {}


def test_the_log_is_told_when_there_is_one() -> None:
    told: list[EndedRequest] = []

    class Log:
        def ended(self, request: EndedRequest) -> None:
            told.append(request)

    request = Ended()
    RequestStats(Log()).ended(request)
    assert told == [request]


@given(st.lists(st.floats(0, 1000)))
def test_buckets_hold_what_they_say(durations: list[float]) -> None:
    stats = RequestStats()
    for seconds in durations:
        stats.ended(Ended(arrived=0.0, ended_at=seconds))
    cumulated = stats.duration.cumulated()
    for bound, count in zip(BOUNDS, cumulated, strict=False):
        assert count == sum(seconds <= bound for seconds in durations)
    assert cumulated[-1] == stats.duration.count == len(durations)
    assert all(low < high for low, high in pairwise(BOUNDS))


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("where", WHERE)
def test_every_outcome_has_letters_and_words(outcome: Outcome, where: str) -> None:
    letters = ending(outcome, where)
    assert len(letters) == 2
    if outcome in {Outcome.ANSWERED, Outcome.REFUSED}:
        assert letters == "--"
        assert explain(letters) == "complete"
    else:
        assert letters == BY_OUTCOME[outcome] + where
        assert explain(letters) == f"{WHY[letters[0]]} while it was {WHERE[where]}"
