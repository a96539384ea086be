"""The worker's own count as it changes, kept in a file: proof that outlives a SIGKILL.

`server.run` opens one if it is told to, `TaskRegistry` writes it. Each change is one line of JSON,
written whole and at once, so that what was written is there whatever becomes of the process:

    {"monotonic": 81234.5, "event": "begun", "in_flight": 3}

`monotonic` is in seconds, of the system's clock that all processes of one machine share; `event`
is begun, ended or refused; `in_flight` is the count after it.
"""

import json
import os
import time
from enum import StrEnum
from pathlib import Path


class TaskEvent(StrEnum):
    """What happened to the count."""

    BEGUN = "begun"
    ENDED = "ended"
    REFUSED = "refused"
    """A request was turned away: the count stayed as it was."""


class Journal:
    """Appends to the file at `path`, which is made if need be. Raises OSError if it cannot."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def note(self, event: TaskEvent, in_flight: int) -> None:
        """Write one change down. Raises OSError."""
        line = {"monotonic": time.monotonic(), "event": event, "in_flight": in_flight}
        os.write(self._file, (json.dumps(line) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
