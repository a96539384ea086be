from math import inf
from pathlib import Path

import pytest

from app.demo.records import (
    Changed,
    Granted,
    Queued,
    Record,
    Recording,
    Released,
    Retried,
    Sent,
    from_line,
    read_journal,
    to_line,
)
from app.demo.replay import (
    attempts,
    full_intervals,
    in_flight,
    lengths,
    out_of_rotation,
    overlap,
    peak,
)
from app.worker.journal import Journal, TaskEvent


@pytest.mark.parametrize(
    "record",
    [
        Changed(1.5, 1.4, "worker1", "ejected", False, "died: reset"),
        Granted(1.5, "worker1", {"worker1": 1, "worker2": 0}, ["worker1", "worker2"]),
        Released(1.5, "worker1", 0, "answered"),
        Sent(1.5, "worker1", "id", 1, 1.4),
        Retried(1.5, "id", 1, "connection died"),
        Queued(1.5, 3),
    ],
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    line = to_line(record)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert from_line(line) == record


@pytest.mark.parametrize("line", ["", "[", '["other", 1]', '["queued", 1, 2, 3]', "3"])
def test_what_is_no_record_is_an_error(line: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_line(line)


def test_a_workers_journal_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert read_journal(path) == []
    journal = Journal(path)
    journal.note(TaskEvent.BEGUN, 1)
    journal.note(TaskEvent.REFUSED, 1)
    journal.close()
    with path.open("a") as file:
        file.write('{"monotonic": 1')
    assert [(c.event, c.in_flight) for c in read_journal(path)] == [("begun", 1), ("refused", 1)]


def ready(t: float, worker: str, *, choosable: bool = True) -> Changed:
    return Changed(t, t, worker, "ready" if choosable else "ejected", choosable, "")


def test_full_is_when_no_worker_in_rotation_has_a_free_slot() -> None:
    records: list[Record] = [
        ready(0, "a"),
        ready(1, "b"),
        Granted(2, "a", {"a": 1, "b": 0}, ["a", "b"]),
        Granted(3, "b", {"a": 1, "b": 1}, ["a", "b"]),
        Released(4, "b", 0, "answered"),
        ready(5, "b", choosable=False),
        Released(6, "a", 0, "answered"),
        ready(7, "a", choosable=False),
    ]
    assert full_intervals(records, cap=1) == [(3, 4), (5, 6), (7, inf)]
    assert full_intervals(records, cap=2) == [(7, inf)]


def test_overlap() -> None:
    intervals = [(1.0, 2.0), (3.0, inf)]
    assert overlap(intervals, 0, 1) == 0
    assert overlap(intervals, 1.5, 4) == 1.5
    assert overlap(intervals, 5, 6) == 1
    assert overlap([], 0, 9) == 0


def test_a_wait_ends_with_the_grant_though_the_grant_fills_the_last_slot() -> None:
    records: list[Record] = [
        ready(0, "a"),
        Granted(1, "a", {"a": 1}, ["a"]),
        Sent(1.25, "a", "x", 1, 0.5),
        Released(4, "a", 0, "answered"),
        Granted(4.5, "a", {"a": 1}, ["a"]),
        Sent(5, "a", "y", 1, 2),
    ]
    first, second = attempts(records, full_intervals(records, cap=1))
    assert (first.waited, first.dispatch) == (0, 0.75)
    assert (second.waited, second.dispatch) == (2, 1)
    assert lengths([first, second]) == [(2, 1), (4, 0)]


def test_each_attempt_has_its_own_grant_and_knows_where_it_was_before() -> None:
    one = Granted(1, "a", {"a": 1, "b": 0}, ["a", "b"])
    two = Granted(1.1, "a", {"a": 2, "b": 0}, ["a", "b"])
    again = Granted(3, "b", {"a": 1, "b": 1}, ["b"])
    records: list[Record] = [
        one,
        two,
        Sent(1.2, "a", "x", 1, 0.9),
        Sent(1.3, "a", "y", 1, 1.05),
        again,
        Sent(3.1, "b", "x", 2, 2.9),
        Sent(4, "b", "z", 1, 3.9),
    ]
    found = attempts(records, [])
    assert [attempt.grant for attempt in found] == [one, two, again, None]
    assert [attempt.tried for attempt in found] == [set(), set(), {"a"}, set()]


def test_the_counts_of_the_balancer() -> None:
    records: list[Record] = [
        Granted(1, "a", {"a": 1, "b": 0}, ["a", "b"]),
        Released(2, "a", 0, "answered"),
    ]
    assert in_flight(records, ["a", "b"]) == {"a": [(1, 1), (2, 0)], "b": []}


def test_out_of_rotation_is_from_the_way_out_to_the_return() -> None:
    changes = [
        ready(0, "a"),
        ready(1, "a", choosable=False),
        ready(2, "a", choosable=False),
        ready(3, "a"),
        ready(4, "a", choosable=False),
    ]
    assert out_of_rotation(changes) == [(1, 3), (4, inf)]


def test_a_peak_takes_in_what_it_begins_with() -> None:
    steps = [(1.0, 1), (2.0, 3), (4.0, 0)]
    assert peak(steps, 0, 1) is None
    assert peak(steps, 0, 1.5) == 1
    assert peak(steps, 3, 9) == 3
    assert peak(steps, 4, 9) == 0
    assert peak([], 0, 9) is None


def test_scenario_time(killed: Recording) -> None:
    assert killed.scenario_time(killed.started) == 0
    assert killed.scenario_time(killed.fault_at) == 100
