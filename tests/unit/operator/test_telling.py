"""A few Events for many things alike."""

from app.config.resource import Identity
from app.operator.telling import DISTINCT, FORGET, SPACING, Notice, Teller, shorten

POOL = Identity("n", "p", "uid-p", 1, "")


def ejected(worker: str) -> Notice:
    return Notice(POOL, "WorkerEjected", f"{worker} is out.", True, worker)


def written(teller: Teller, now: float) -> list[tuple[str, int]]:
    """Write what is due; return its subject and count."""
    due = teller.due(now)
    for series in due:
        teller.wrote(series, now)
    return [(series.notice.subject, series.count) for series in due]


def test_the_first_and_the_second_time_are_told_at_once_then_now_and_then() -> None:
    teller = Teller()
    teller.note(ejected("w-0"), 1.0)
    assert written(teller, 1.0) == [("w-0", 1)]
    assert written(teller, 1.0) == []
    teller.note(ejected("w-0"), 2.0)
    assert written(teller, 2.0) == [("w-0", 2)]
    for second in range(3, 30):
        teller.note(ejected("w-0"), float(second))
        assert written(teller, float(second)) == []
    assert written(teller, 2.0 + SPACING) == [("w-0", 29)]


def test_a_worker_that_flaps_for_an_hour() -> None:
    teller, names, writes = Teller(), set(), 0
    for second in range(3600):
        teller.note(ejected("w-0"), float(second))
        for series in teller.due(float(second)):
            names.add(series.name)
            writes += 1
            teller.wrote(series, float(second))
        teller.forget(["uid-p"], float(second))
    assert len(names) == 1
    assert writes <= 3600 / SPACING + 2


def test_many_workers_share_one_event() -> None:
    teller = Teller()
    for number in range(500):
        teller.note(ejected(f"w-{number}"), 1.0)
    due = teller.due(1.0)
    assert len(due) == DISTINCT + 1
    assert due[-1].count == 500 - DISTINCT
    assert due[-1].notice.note == f"Further workers, among them w-{DISTINCT}: w-{DISTINCT} is out."
    assert len({series.name for series in due}) == DISTINCT + 1


def test_a_series_ends_when_it_is_quiet_or_its_pool_is_gone() -> None:
    teller = Teller()
    teller.note(ejected("w-0"), 1.0)
    teller.forget(["uid-p"], 1.0 + 2 * FORGET)
    [first] = teller.due(1.0)  # what was not written yet is not forgotten
    teller.wrote(first, 1.0)
    teller.forget(["uid-p"], 1.0 + FORGET)
    teller.note(ejected("w-0"), 2.0 + FORGET)
    [second] = teller.due(2.0 + FORGET)
    assert (second.count, second.name != first.name) == (1, True)
    teller.forget([], 2.0 + FORGET)
    assert teller.due(2.0 + FORGET) == []


def test_a_long_note_is_cut() -> None:
    assert shorten("x" * 1024) == "x" * 1024
    assert len(shorten("x" * 1025)) == 1024
