"""What the worker runs and ran: its tasks, how many run now, and the most that ever ran at once.

`TaskRegistry` owns every `Task` and is their only writer; `app.worker.api` calls it, from one
event loop. What always holds:

- `in_flight` is the number of tasks in status RUNNING, and never above `max_in_flight`;
- a task leaves RUNNING exactly once, and its slot is free from that moment on;
- a refused task leaves no trace but the count of refusals;
- every running task can be looked up, and the last `history` ended ones.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid4

from app.worker.journal import TaskEvent


class AtCapacityError(Exception):
    """As many tasks run as may: this one was not begun."""


class TaskStatus(StrEnum):
    """Where a task stands."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    """Ended without a result: its client went away, or the worker was stopped."""


@dataclass(slots=True)
class Task:
    """One computation. Its status is moved by `TaskRegistry` alone."""

    payload: str
    uuid: UUID = field(default_factory=uuid4)
    date: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it began."""

    status: TaskStatus = TaskStatus.RUNNING
    result: str | None = None
    """What was computed; None unless DONE."""


Note = Callable[[TaskEvent, int], None]
"""Told of each change of the count, and of each refusal, with the count after it."""


def untold(event: TaskEvent, in_flight: int) -> None:
    """Tell nobody: there is no journal."""


class TaskRegistry:
    """The tasks of one worker. `in_flight` and `peak` are tasks, the totals count from the start.

    `max_in_flight` None means no limit; `history` is the number of ended tasks that are kept.
    """

    def __init__(self, *, max_in_flight: int | None, history: int, note: Note = untold) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.peak = 0
        self.refused = 0
        self.completed = 0
        self.cancelled = 0
        self._history = history
        self._note = note
        self._tasks: dict[UUID, Task] = {}  # in the order of their beginning
        self._ended: deque[UUID] = deque()  # in the order of their end: the first is forgotten next

    @contextmanager
    def running(self, payload: str) -> Iterator[Task]:
        """Count a task as running inside the `with`, as ended from its end on.

        The body sets `Task.result`; one that raises, or is cancelled, leaves the task CANCELLED.
        Raises AtCapacityError, having begun nothing, if as many tasks run as may.
        """
        task = self._begin(payload)
        try:
            self._note(TaskEvent.BEGUN, self.in_flight)  # may fail: the slot is freed
            yield task
        except BaseException:
            self.cancelled += 1
            self._end(task, TaskStatus.CANCELLED)
            raise
        self.completed += 1
        self._end(task, TaskStatus.DONE)

    def newest_first(self) -> list[Task]:
        """Return the known tasks, the one begun last at the head."""
        return list(reversed(self._tasks.values()))

    def find(self, uuid: UUID) -> Task | None:
        """Return the task of that uuid, or None if it never was or is forgotten."""
        return self._tasks.get(uuid)

    def _begin(self, payload: str) -> Task:
        if self.max_in_flight is not None and self.in_flight >= self.max_in_flight:
            self.refused += 1
            self._note(TaskEvent.REFUSED, self.in_flight)
            raise AtCapacityError(f"{self.in_flight} of {self.max_in_flight} tasks are running")
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        task = Task(payload)
        self._tasks[task.uuid] = task
        return task

    def _end(self, task: Task, status: TaskStatus) -> None:
        self.in_flight -= 1
        task.status = status
        self._ended.append(task.uuid)
        if len(self._ended) > self._history:
            del self._tasks[self._ended.popleft()]
        self._note(TaskEvent.ENDED, self.in_flight)
