"""What can be wrong with the API server, each until it is set right again.

Faults that meet requests at their beginning also break the connections that are open, so that
they are met at once.
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True)
class Faults:
    """Set by the tests through the control port. All durations are in seconds."""

    unreachable: bool = False
    """Nobody listens; open connections are reset."""

    hung: bool = False
    """Requests are taken, and neither answered nor done before it is over; watches go on."""

    silent: bool = False
    """Watches stay open and say nothing, neither events nor bookmarks."""

    gone: str = ""
    """New watches are told 410: "http" by the status, "event" by an ERROR event, as of an old
    version; empty for neither."""

    drop_deleted: bool = False
    """Watches leave out DELETED events."""

    watch_seconds: float = 0.0
    """Each watch is ended after so long; 0 for as long as the client asked for."""

    list_delay: float = 0.0
    """How long each list, and each page of one, takes."""

    error_status: int = 0
    """Each request is answered with this status (as 500, 429, 401); 0 for none."""

    @property
    def at_the_beginning(self) -> bool:
        """Whether open watches are to be begun anew, so that they meet the fault."""
        return bool(self.gone or self.list_delay or self.error_status)

    def set(self, values: dict[str, Any]) -> None:
        """Take these, and the defaults for the others. Raises `TypeError` for an unknown one."""
        given = Faults(**values)
        for field in fields(self):
            setattr(self, field.name, getattr(given, field.name))
