"""The scenario: who does what, when, in *scenario seconds*; `speed` of them pass in one second.

Read by every other module of the demo; frozen. What is not divided by the speed is what a kernel
or a network sets: how often workers are probed, and how long a probe may take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What happens to the victim."""

    KILL = "kill"
    """SIGKILL; later a new process on the same port."""

    HANG = "hang"
    """SIGSTOP; later SIGCONT. Its kernel goes on accepting connections all the while."""


PROBE = {"path": "/readyz", "interval": "500ms", "timeout": "200ms", "failures": 3}
"""In wall time, whatever the speed."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The numbers of one run. All times in scenario seconds."""

    speed: float = 10.0
    fault: Fault = Fault.KILL
    workers: int = 5
    cap: int = 4
    requests: int = 250
    """More are sent if the victim is late, until its settled state has been seen for a while."""

    most_requests: int = 400
    interval: float = 1.0
    """Between two requests; the first one is sent at 0."""

    task: float = 15.0
    fault_at: float = 100.0
    return_at: float = 200.0
    first_byte: float = 20.0
    request: float = 60.0

    @property
    def names(self) -> list[str]:
        """What the workers are called, the victim first."""
        return [f"worker{number}" for number in range(1, self.workers + 1)]

    @property
    def victim(self) -> str:
        """The worker that the fault happens to."""
        return self.names[0]

    @property
    def settling(self) -> float:
        """How long after an event the spread is not looked at: two task times."""
        return 2 * self.task

    @property
    def looked_at(self) -> float:
        """How long the spread is looked at after the return, at the least."""
        return 10 * self.interval

    @property
    def length(self) -> float:
        """When the last request is answered, if it need not wait."""
        return (self.requests - 1) * self.interval + self.task

    def wall(self, seconds: float) -> float:
        """Return how many seconds of wall time so many scenario seconds are."""
        return seconds / self.speed

    def pool(self, endpoints: Sequence[str]) -> dict[str, Any]:
        """Return the WorkerPool of the run, as its file holds it."""
        return {
            "metadata": {"name": "demo"},
            "spec": {
                "endpoints": list(endpoints),
                "maxInFlight": self.cap,
                "timeouts": {
                    "firstByte": self.wall(self.first_byte),
                    "request": self.wall(self.request),
                },
                "retry": {"nonIdempotent": True, "onTimeout": True, "refusedStatuses": [503]},
                "health": {"probe": dict(PROBE)},
            },
        }
