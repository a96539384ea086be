"""A list-watch beside the model of its server, while a script plays."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from app.discovery.list_watch import Limits, ListWatch
from tests.unit.discovery.model import Checked, Server
from tests.unit.discovery.paused import run_paused


class _Longest(Random):
    """Pauses are the longest, watches the shortest."""

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float) -> float:
        return b


class Rig:
    def __init__(self, server: Server, limits: Limits | None = None) -> None:
        self.server = server
        self.store = Checked(server)
        self.list_watch = ListWatch(
            server, self.store, name="things", limits=limits, random=_Longest()
        )
        self.condition = self.list_watch.condition


Script = Callable[[Rig], Awaitable[None]]


def play(server: Server, script: Script, limits: Limits | None = None) -> Rig:
    """Run the list-watch beside the script, and end both with it."""

    async def main() -> Rig:
        rig = Rig(server, limits)
        task = asyncio.create_task(rig.list_watch.run())
        await script(rig)
        assert not task.done() or task.result() is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return rig

    return run_paused(main())


def wait(seconds: float) -> Script:
    async def script(_: Rig) -> None:
        await asyncio.sleep(seconds)

    return script


def server(*names: str, **faults: object) -> Server:
    made = Server(**faults)  # type: ignore[arg-type]
    for name in names:
        made.put(name)
    return made
