"""Balancers that act as one: which part each plays, clients of each, and what holds after a fault.

The workers of these scenarios do not refuse: a cap that was passed shows in their own journal.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, time
from typing import Any

from tests.e2e.interface import CAP, POOL, Request, until
from tests.e2e.scenario import everything_in_rotation
from tests.e2e.simulated import SimulatedCluster, SimulatedLoad

REPLICAS = 3
WORKERS = 5
TASK_SECONDS = 0.4
"""Longer than a takeover where the arbiter says goodbye, or its death is seen: what ran before is
still running, and a new arbiter that did not know of it would give its slots again."""

UNREFUSED = POOL | {"retry": {"nonIdempotent": True}}
"""The scenario's pool, of whose workers none refuses."""

CLIENTS = 14
"""Of each replica: those of two fill all slots and a queue, and so would find any that is free."""

_WORD = re.compile(r"^(\S+ \S+) .*peers: (\w+), term (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Word:
    """What a balancer's log says of its part. `at` is in seconds of the epoch."""

    at: float
    pod: str
    role: str
    term: int


class Replicas:
    """The balancers of a simulated cluster."""

    def __init__(self, sim: SimulatedCluster) -> None:
        self.sim = sim

    # --- who decides

    def words(self, pod: str = "lb-*") -> list[Word]:
        """Return what that balancer's processes, or all that ever were, have said of their part."""
        return [
            Word(datetime.fromisoformat(at.replace(",", ".")).timestamp(), name, role, int(term))
            for name, log in self.sim.logs_of(pod).items()
            for at, role, term in _WORD.findall(log)
        ]

    async def names(self) -> list[str]:
        """Return the balancers that are not about to go."""
        return [pod.name for pod in (await self.sim.pods("lb")).values() if not pod.terminating]

    async def others(self, name: str) -> list[str]:
        """Return all but this one."""
        return [other for other in await self.names() if other != name]

    async def arbiter(self) -> str:
        """Wait until exactly one decides, and all others follow; return it."""

        async def one() -> str:
            names = await self.names()
            roles = {name: _last(self.words(name)) for name in names}
            deciding = [name for name in names if roles[name] == "deciding"]
            others = {roles[name] for name in names if name not in deciding}
            return deciding[0] if len(deciding) == 1 and others <= {"following"} else ""

        return await until("one decides and the others follow", one)

    async def decides(self, others: Collection[str], since: float) -> Word:
        """Wait until one of these has begun to decide since then; return how it said so."""

        async def word() -> Word | None:
            words = [word for name in others for word in self.words(name)]
            return next((w for w in words if w.role == "deciding" and w.at >= since), None)

        found = await until(f"one of {others} decides", word, pause=0.02)
        assert found is not None
        return found

    async def is_now(self, pod: str, role: str, since: float) -> None:
        """Wait until that balancer has said, since then, that it plays this part."""

        async def said() -> bool:
            return any(word.role == role and word.at >= since for word in self.words(pod))

        await until(f"{pod} is {role}", said)

    def gaps(self, since: float) -> list[float]:
        """Return how long there was no arbiter, each time since then that one has stepped down.

        In seconds, to the 50 ms in which a replica looks at what it is: 0 where the next one has
        said that it decides before the last one has said that it does not.
        """
        decides, gaps, alone = "", [], 0.0
        for word in sorted(self.words(), key=lambda word: (word.at, word.term)):
            if word.role == "deciding":
                if word.at >= since and (decides or alone):
                    gaps.append(0.0 if decides else word.at - alone)
                decides, alone = word.pod, 0.0
            elif word.pod == decides:
                decides, alone = "", word.at
        return gaps

    # --- what all say of the workers

    async def views(self) -> list[dict[str, Any]]:
        """Return the /workers of each."""
        views = await self.sim.views()
        return views if len(views) == len(await self.names()) else []

    async def whole(self, count: int = REPLICAS) -> None:
        """Wait until all are there and ready, one decides, and nothing is counted any more."""
        await everything_in_rotation(self.sim, WORKERS)
        assert len(await self.names()) == count
        await self.arbiter()

        async def quiet() -> bool:
            views = await self.views()
            counts = [view[field] for view in views for field in ("in_flight", "queued")]
            counts += [worker["in_flight"] for view in views for worker in view["workers"]]
            return bool(views) and not any(counts)

        await until("all counts are zero", quiet)

    async def queue_exists(self, *names: str) -> None:
        """Wait until requests wait at each of these."""
        targets = [await self.target(name) for name in names]

        async def waiting() -> bool:
            return all([(await self.sim.view(target))["queued"] for target in targets])

        await until(f"requests wait at {', '.join(names)}", waiting)

    async def target(self, name: str) -> str:
        """Return that balancer's host:port, whether it is ready or not."""
        port = self.sim.targets()[0].rpartition(":")[2]
        return f"{(await self.sim.pods('lb'))[name].address}:{port}"


def _last(words: list[Word]) -> str:
    return words[-1].role if words else ""


class Clients:
    """Clients that stay with the replica that they were given, as none does behind a Service."""

    def __init__(self, replicas: Replicas, stack: AsyncExitStack) -> None:
        self._replicas, self._stack = replicas, stack
        self.loads: dict[str, SimulatedLoad] = {}

    async def begin(self) -> None:
        """Let them send, if they do not yet."""
        if self.loads:
            return
        sim = self._replicas.sim
        for name in await self._replicas.names():
            sim.name_target(f"only-{name}", await self._replicas.target(name))
            load = sim.load(CLIENTS, targets=f"only-{name}")
            self.loads[name] = await self._stack.enter_async_context(load)

    async def served(self, *names: str) -> None:
        """Wait for as many answers of these (of all, without a name) as each has clients."""
        before = {name: await self._answers(name) for name in names or self.loads}

        async def more() -> bool:
            return all([await self._answers(name) >= had + CLIENTS for name, had in before.items()])

        await until(f"requests to {', '.join(before)} are answered", more)

    async def _answers(self, name: str) -> int:
        return sum(not request.error for request in await self.loads[name].requests())

    async def stop(self) -> dict[str, list[Request]]:
        """Let the last requests end; return all, by replica."""
        stopped = await asyncio.gather(*(load.stop() for load in self.loads.values()))
        return dict(zip(self.loads, stopped, strict=True))


@asynccontextmanager
async def faulted(replicas: Replicas, *, busy: bool, killed: str = "") -> AsyncIterator[Clients]:
    """Send requests to all replicas, from before the fault on or (not `busy`) when told to.

    At the end each has its answer, but those that were on the way to the replica that was killed,
    no worker had too many, and all is as before.
    """
    since, pods = monotonic(), await replicas.sim.pods("lb")

    async def whole() -> bool:
        now = await replicas.sim.pods("lb")
        again = not killed or now[killed].restarts > pods[killed].restarts
        return again and await replicas.sim.settled()

    async with AsyncExitStack() as stack:
        clients = Clients(replicas, stack)
        if busy:
            await clients.begin()
            await clients.served()
            await replicas.queue_exists(*clients.loads)
        yield clients
        await clients.begin()
        await until("all are ready", whole, limit=replicas.sim.patience)
        whole_again = time()
        await clients.served()
        requests = await clients.stop()
    if killed:
        ended = [request for request in requests.pop(killed) if request.error]
        assert ended
        assert {request.status for request in ended} == {0}, ended[:5]  # nothing but connections
        assert max(request.began for request in ended) < whole_again
        print(f"{len(ended)} requests to {killed} met its end, or nobody")
    await check(replicas, [r for answered in requests.values() for r in answered], since)
    await replicas.whole()


async def check(replicas: Replicas, requests: list[Request], since: float) -> None:
    """See that all were answered, and that no worker has had too many since then."""
    failed = [request for request in requests if request.error]
    assert not failed, f"{len(failed)} of {len(requests)} failed: {failed[:5]}"
    worst = await replicas.sim.worst_count(since)
    assert worst <= CAP, f"a worker had {worst} tasks at once"
    slowest = max(request.seconds for request in requests)
    print(f"{len(requests)} requests, 0 failed, slowest {slowest:.2f} s, {worst} at once at most")
