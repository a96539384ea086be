from contextlib import ExitStack
from uuid import uuid4

import pytest

from app.worker.tasks import AtCapacityError, TaskRegistry, TaskStatus


def registry(max_in_flight: int | None = None, history: int = 1000) -> TaskRegistry:
    return TaskRegistry(max_in_flight=max_in_flight, history=history)


def run_one(tasks: TaskRegistry, payload: str) -> None:
    with tasks.running(payload) as task:
        task.result = payload.upper()


def test_a_task_runs_inside_the_block_and_is_done_after_it() -> None:
    tasks = registry()
    with tasks.running("a") as task:
        assert (tasks.in_flight, task.status, task.result) == (1, TaskStatus.RUNNING, None)
        task.result = "A"
    assert (tasks.in_flight, task.status, task.result) == (0, TaskStatus.DONE, "A")
    assert (tasks.completed, tasks.cancelled, tasks.refused) == (1, 0, 0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_task_that_raises_is_cancelled_and_its_slot_free(error: type[BaseException]) -> None:
    tasks = registry(max_in_flight=1)
    with pytest.raises(error), tasks.running("a") as task:
        raise error
    assert (tasks.in_flight, task.status, task.result) == (0, TaskStatus.CANCELLED, None)
    assert (tasks.completed, tasks.cancelled) == (0, 1)
    run_one(tasks, "b")


def test_at_the_cap_a_task_is_refused_and_leaves_no_trace() -> None:
    tasks = registry(max_in_flight=2)
    with tasks.running("a"), tasks.running("b"):
        with pytest.raises(AtCapacityError, match="2 of 2 tasks are running"):
            run_one(tasks, "c")
        assert tasks.in_flight == 2
        assert [task.payload for task in tasks.newest_first()] == ["b", "a"]
    assert (tasks.refused, tasks.completed, tasks.cancelled, tasks.peak) == (1, 2, 0, 2)
    run_one(tasks, "c")


def test_the_peak_is_the_most_that_ever_ran_at_once() -> None:
    tasks = registry()
    with ExitStack() as three:
        for payload in "abc":
            three.enter_context(tasks.running(payload))
    run_one(tasks, "d")
    assert (tasks.in_flight, tasks.peak) == (0, 3)


def test_only_the_last_ended_tasks_are_kept() -> None:
    tasks = registry(history=3)
    for payload in "abcde":
        run_one(tasks, payload)
    assert [task.payload for task in tasks.newest_first()] == ["e", "d", "c"]


def test_running_tasks_are_kept_however_many_ended() -> None:
    tasks = registry(history=2)
    with tasks.running("long") as long:
        for payload in "abc":
            run_one(tasks, payload)
        assert tasks.find(long.uuid) is long
        assert [task.payload for task in tasks.newest_first()] == ["c", "b", "long"]
    assert [task.payload for task in tasks.newest_first()] == ["c", "long"]


def test_no_history_keeps_nothing() -> None:
    tasks = registry(history=0)
    run_one(tasks, "a")
    assert tasks.newest_first() == []
    assert tasks.completed == 1


def test_an_unknown_task_is_not_found() -> None:
    assert registry().find(uuid4()) is None
