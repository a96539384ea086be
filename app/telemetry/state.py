"""All that one balancer remembers for people: made by the composition root, read by the admin port.

Nothing of it decides anything: a balancer without it would balance the same.
"""

import asyncio
import time
from collections.abc import Callable

from app.balancing.pool import Pool
from app.telemetry.events import Events
from app.telemetry.history import History
from app.telemetry.requests import RequestLog, RequestStats
from app.telemetry.ring import Ring


class Telemetry:
    """The requests, events and last minutes of one pool."""

    def __init__(
        self,
        pool: Pool,
        retries: Callable[[], int],
        log: RequestLog | None = None,
        ring: Ring | None = None,
        load: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """Observe `pool`; `retries` tells how many attempts were sent again since the start.

        `ring` is the balancer's; without one it has its own. `load` is the history's.
        """
        self.requests = RequestStats(log)
        self.events = Events(pool, ring or Ring())
        self.history = History(pool, self.requests, retries, load=load)
        self.boot = self.events.instance
        """Another in each process: a page that sees it change knows of the restart."""

        self.started_at = time.time()
        self.endpoint_updates = 0
        """Snapshots taken in from discovery."""

        self.config_generation = 1
        """Configurations that came into force."""

        self.closed = asyncio.Event()
        """Set when the process ends: whoever follows it stops."""

        self.config_ok = True
        """Whether the pool's newest spec is in force; else the last good one is."""
