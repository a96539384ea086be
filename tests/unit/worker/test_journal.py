import json
import time
from pathlib import Path

import pytest

from app.worker.journal import Journal, TaskEvent
from app.worker.tasks import AtCapacityError, TaskRegistry


def changes(path: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["event"], line["in_flight"]) for line in lines]


def test_each_change_of_the_count_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    tasks = TaskRegistry(max_in_flight=2, history=0, note=journal.note)
    with tasks.running("a"):
        with tasks.running("b"):
            with pytest.raises(AtCapacityError), tasks.running("c"):
                pass
            assert changes(path) == [("begun", 1), ("begun", 2), ("refused", 2)]  # already there
        with pytest.raises(RuntimeError), tasks.running("d"):
            raise RuntimeError
    journal.close()
    assert changes(path)[3:] == [("ended", 1), ("begun", 2), ("ended", 1), ("ended", 0)]


def test_the_clock_is_the_monotonic_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    before = time.monotonic()
    journal.note(TaskEvent.BEGUN, 1)
    journal.close()
    assert before <= json.loads(path.read_text())["monotonic"] <= time.monotonic()


def test_another_life_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for count in (1, 2):
        journal = Journal(path)
        journal.note(TaskEvent.BEGUN, count)
        journal.close()
    assert changes(path) == [("begun", 1), ("begun", 2)]


def test_a_journal_that_cannot_be_written_costs_no_slot() -> None:
    def fail(_event: TaskEvent, _in_flight: int) -> None:
        raise OSError

    tasks = TaskRegistry(max_in_flight=1, history=10, note=fail)
    with pytest.raises(OSError), tasks.running("a"):  # noqa: PT011 - it carries nothing
        pass
    assert tasks.in_flight == 0


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "none" / "journal")
