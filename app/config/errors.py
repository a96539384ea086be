"""How a configuration that cannot be accepted is told to a person.

Raised by everything in `app.config`; shown as it is by `app.cli` and the log. Its text always
lists every problem that was found, one a line.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that cannot be accepted."""

    source: str
    """The file; empty for settings."""

    path: str
    """The place in the document, `spec.queue.timeout`, or the setting's name; may be empty."""

    found: str
    allowed: str
    line: int = 0
    """The line in the file, from 1; 0 if there is none."""

    column: int = 0
    """The column in that line, from 1 and in characters; 0 if there is none."""

    def __str__(self) -> str:
        """Say it in one line."""
        source = f"{self.source}:{self.line}" if self.line else self.source
        place = ": ".join(part for part in (source, self.path) if part)
        return f"{place}: found {self.found}, allowed: {self.allowed}"


class ConfigError(Exception):
    """The configuration cannot be accepted, for one reason or for several."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
