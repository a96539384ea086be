"""The workers of a chaos run, as processes, and what is done to them.

`Fleet.torment` keeps some of them in trouble, never more than half but for a moment now and
then, so that every request can be served. A worker in trouble is left alone until that is over.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from tests.chaos.worker import NORMAL, REFUSING, RESETTING, SILENT, SLOW, Journal
from tests.integration.process.harness import free_host, until

_SCRIPT = Path(__file__).with_name("worker.py")
_PORT = 8080
_OUTAGES = 0.01
"""How often all workers that are well are killed at once: requests wait until some are back."""

Fault = Callable[["Member"], Awaitable[None]]


class Member:
    """One worker: an address, and the processes that live there one after the other."""

    def __init__(self, folder: Path, number: int, limit: int) -> None:
        self.host = free_host()
        self.limit = limit
        self.once = folder / f"once{number}"
        self.journals: list[Journal] = []
        """Of all its lives, the present one last."""

        self.troubled = False
        self.listed = True
        """Whether it is to be in the pool."""

        self._folder, self._number = folder, number
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{_PORT}"

    @property
    def journal(self) -> Journal:
        return self.journals[-1]

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        path = self._folder / f"journal{self._number}.{len(self.journals)}"
        self.journals.append(Journal(path))
        self.journal["limit"] = self.limit
        arguments = (self.host, str(_PORT), str(path), str(self.once))
        with (self._folder / f"worker{self._number}.stderr").open("a") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_SCRIPT), *arguments), stderr=stderr
            )

    async def listens(self) -> None:
        """Wait until connects are accepted."""

        async def accepted() -> bool:
            try:
                _, writer = await asyncio.open_connection(self.host, _PORT)
            except OSError:
                return False
            writer.close()
            return True

        await until(f"{self.address} listens", accepted)

    def signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def end(self) -> None:
        """Kill it, also if it is stopped."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self._process.wait()


class Fleet:
    """All workers of a run."""

    def __init__(
        self, folder: Path, size: int, limit: int, chance: Random, *, pace: float = 1.0
    ) -> None:
        """`pace`: as how long as usual troubles last."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when another set of workers is to be in the pool."""

        self.members = [Member(folder, number, limit) for number in range(size)]
        self.faults: Counter[str] = Counter()
        """What was done, by kind."""

        self._chance = chance
        self._pace = pace
        self._faults: dict[str, Fault] = {
            "kill": self._kill,
            "terminate": self._terminate,
            "stop": self._stop,
            "slow": self._mode(SLOW),
            "silent": self._mode(SILENT),
            "reset": self._mode(RESETTING),
            "refuse": self._mode(REFUSING),
            "remove": self._remove,
        }

    @property
    def addresses(self) -> list[str]:
        """The workers that are to be in the pool."""
        return [member.address for member in self.members if member.listed]

    async def start(self) -> None:
        for member in self.members:
            await member.start()
        for member in self.members:
            await member.listens()

    async def torment(self) -> None:
        """Bring one worker after the other into trouble; when cancelled, wait till all are well."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await asyncio.sleep(self._chance.uniform(0.05, 0.5))
                    kind = self._chance.choice(list(self._faults))
                    victims = self._victims()
                    if self._chance.random() < _OUTAGES:
                        kind, victims = "kill", [m for m in self.members if not m.troubled]
                    for member in victims:
                        self.faults[kind] += 1
                        member.troubled = True
                        group.create_task(self._trouble(member, kind))
            except asyncio.CancelledError:
                pass  # what has begun is brought to its end

    async def end(self) -> None:
        for member in self.members:
            await member.end()

    def _victims(self) -> list[Member]:
        """Choose whom it hits: one worker, or all that may be hit, as when a node goes."""
        well = [member for member in self.members if not member.troubled]
        room = max(0, len(well) - len(self.members) // 2)
        number = room if self._chance.random() < 0.1 else min(1, room)
        return self._chance.sample(well, number)

    async def _trouble(self, member: Member, kind: str) -> None:
        await self._faults[kind](member)
        await member.listens()
        member.troubled = False

    async def _pause(self, longest: float) -> None:
        await asyncio.sleep(self._pace * self._chance.uniform(0.05, longest))

    async def _kill(self, member: Member) -> None:
        await member.end()
        await self._pause(1.5)
        await member.start()

    async def _terminate(self, member: Member) -> None:
        member.signal(signal.SIGTERM)
        await member.process.wait()
        await self._pause(1.0)
        await member.start()

    async def _stop(self, member: Member) -> None:
        member.signal(signal.SIGSTOP)
        await self._pause(4.0)
        member.signal(signal.SIGCONT)

    async def _remove(self, member: Member) -> None:
        """Take it out of the pool's file, and put it back; the file is looked at each second."""
        member.listed = False
        self.on_change()
        await self._pause(3.0)
        member.listed = True
        self.on_change()

    def _mode(self, mode: int) -> Fault:
        async def misbehave(member: Member) -> None:
            member.journal["mode"] = mode
            await self._pause(3.0)
            member.journal["mode"] = NORMAL

        return misbehave


def memory(pid: int) -> int:
    """Return the bytes of memory that are a process's alone (USS)."""
    private = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean", "Private_Dirty")):
            private += int(line.split()[1]) * 1024
    return private


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counted, not walked
