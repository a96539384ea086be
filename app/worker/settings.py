"""What one worker process is told at its start; nothing changes it afterwards.

The CLI makes a `WorkerSettings` from its flags, `server.run` and `api.create_app` read it. A
`WorkerSettings` that exists is valid. All durations are in seconds.
"""

import math
import socket
from dataclasses import dataclass, field
from pathlib import Path

_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of one worker. Raises ValueError, saying what is wrong and what is allowed."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod is reached on whichever address it was given
    """The address or name to listen on."""

    port: int = 8080
    """The port to listen on; 0 lets the kernel choose one, which the listening line tells."""

    task_seconds: float = 15.0
    """How long each task takes whose request does not say it."""

    max_in_flight: int | None = None
    """Most tasks at once: one more is refused with 503. None means no limit."""

    history: int = 1000
    """Most ended tasks that are kept to be looked up; running ones are always kept."""

    name: str = field(default_factory=socket.gethostname)
    """How the worker calls itself in `/status`; on Kubernetes the hostname is the pod's name."""

    drain_seconds: float = 1.0
    """How long after SIGTERM new requests are still taken, while `/readyz` says 503: the time for
    balancers to hear of it, a few hundred milliseconds on a healthy cluster. What runs at its end
    is finished, however long that takes."""

    keep_alive_seconds: int = 5
    """How long an idle connection is kept, as by uvicorn's own default. Clients that reuse
    connections should give them up earlier, or a request may meet the closing."""

    journal: Path | None = None
    """The file to append each change of the worker's count to; see `app.worker.journal`."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty: give an address to listen on, such as 0.0.0.0")
        if not 0 <= self.port <= _HIGHEST_PORT:
            raise ValueError(
                f"port is {self.port}: give 1 to {_HIGHEST_PORT}, or 0 to have one chosen"
            )
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ValueError(
                f"max_in_flight is {self.max_in_flight}: give 1 or more, or none for no limit"
            )
        if self.history < 0:
            raise ValueError(f"history is {self.history}: give the number of ended tasks to keep")
        if not self.name:
            raise ValueError("name is empty: give the worker a name, or leave it to the hostname")
        if self.keep_alive_seconds < 1:
            raise ValueError(
                f"keep_alive_seconds is {self.keep_alive_seconds}: give 1 or more whole seconds"
            )
        _check_duration("task_seconds", self.task_seconds)
        _check_duration("drain_seconds", self.drain_seconds)


def _check_duration(name: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{name} is {seconds}: give a finite number of seconds, 0 or more")
