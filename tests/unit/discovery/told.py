"""Waiting for what a discovery tells."""

import asyncio
from collections.abc import Callable, Sequence

from app.balancing.endpoint import EndpointSpec
from app.discovery.list_watch import Limits

QUICK = Limits(pause=0.001, pause_max=0.01, spacing=0.0)


class Told:
    """What was applied, one after the other."""

    def __init__(self) -> None:
        self.snapshots: list[list[str]] = []
        self._changed = asyncio.Event()

    def __call__(self, endpoints: Sequence[EndpointSpec]) -> None:
        self.snapshots.append(sorted(f"{spec.name} {spec.host}" for spec in endpoints))
        self._changed.set()

    @property
    def last(self) -> list[str] | None:
        return self.snapshots[-1] if self.snapshots else None

    async def until(self, *wanted: str) -> None:
        """Wait until this was told last."""
        while self.last != sorted(wanted):
            self._changed.clear()
            await self._changed.wait()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)
