"""What goes to the log about other replicas, and about whoever knocks at the port."""

import logging
from time import monotonic
from typing import Final

log = logging.getLogger(__name__)

COMPLAINTS: Final = 60.0
"""Seconds for which the same complaint is not logged again."""

MOST_COMPLAINTS: Final = 100
"""Different complaints in that time; more are not logged."""


class Complaints:
    """Logs each text once a minute at the most: anybody can knock at the port."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        """What was logged, and when."""

    def say(self, text: str, level: int = logging.WARNING) -> None:
        """Log it, or not."""
        now = monotonic()
        self._said = {t: at for t, at in self._said.items() if now - at < COMPLAINTS}
        if text not in self._said and len(self._said) < MOST_COMPLAINTS:
            self._said[text] = now
            log.log(level, "peers: %s", text)
