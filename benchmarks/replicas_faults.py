"""How long there is no arbiter: when it stops gracefully, when it is killed, when it falls silent.

Each of the replicas that live is sent one small request after the other. From the fault on, the
Lease comes to name another, and what waits for that is granted: of a replica's requests that were
sent until then and got to a worker later, the one that waited longest tells when it had an arbiter
again. The last replica counts. The pool has no cap, so that the slots of the one that is gone,
which count as held until its death is proved, hold nobody up: this is about who decides, and not
about what is free.
"""

import asyncio
import json
import signal
from contextlib import suppress
from statistics import median
from time import monotonic
from typing import Any, NamedTuple

from app.peers import record
from benchmarks.replicas_cluster import PATIENCE, REPLICAS, THREE, LightCluster, pool, started
from benchmarks.run import Run
from benchmarks.stats import spread
from tests.e2e.interface import until
from tests.e2e.sim.pods import Pod
from tests.e2e.sim.templates import NAMESPACE

FAULTS = {
    "graceful": signal.SIGTERM,
    "killed": signal.SIGKILL,
    "silent": signal.SIGSTOP,
}
"""What is done to the arbiter."""

_PAUSE = 0.002
"""Seconds between an answer and the next request."""

_BEFORE, _AFTER = 0.3, 0.5
"""Seconds of requests before a fault, and after another was named."""

_HANDOVER = 0.1
"""Seconds in which an arbiter that hands over hears that its successor is named."""


class Sent(NamedTuple):
    """One request: when it was sent, and when its worker had it."""

    at: float
    began: float


class Asking:
    """Sends one request after the other to one replica. Raises from `ended` what went wrong."""

    def __init__(self, pod: Pod) -> None:
        self.sent: list[Sent] = []
        self._host, self._port = pod.address, pod.port
        self._task = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        body = '{"payload": "x", "seconds": 0}'
        head = f"POST /compute HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json"
        request = f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        try:
            while True:
                at = monotonic()
                writer.write(request)
                answered = await reader.readuntil(b"\r\n\r\n")
                if not answered.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"answered {answered!r}")
                length = answered.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                told = json.loads(await reader.readexactly(int(length)))
                self.sent.append(Sent(at, told["began"]))
                await asyncio.sleep(_PAUSE)
        finally:
            writer.close()

    async def begun_after(self, moment: float) -> None:
        """Wait until a request got to its worker after that. Raises TimeoutError."""

        async def begun() -> bool:
            if self._task.done():
                self._task.result()
            return bool(self.sent) and self.sent[-1].began > moment

        await until("a request got to a worker", begun, limit=PATIENCE)

    async def end(self) -> None:
        """Send no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


def regained(sent: list[Sent], named: float) -> float:
    """Return when the request began that waited longest for the arbiter that was named then.

    One that hands over grants for a moment longer, until it hears that its successor is named.
    """
    concerned = (one for one in sent if one.began > named and one.at < named + _HANDOVER)
    return max(concerned, key=lambda one: one.began - one.at).began


async def _whole(cluster: LightCluster) -> None:
    """Wait until three replicas are members and each gets its requests granted."""
    await cluster.until_settled()

    async def all_joined() -> bool:
        lease = cluster.store.get("leases", NAMESPACE, "lb")
        return lease is not None and len(record.read(lease)[0].members) == REPLICAS

    await until("the dead have left the Lease, and all others joined", all_joined, limit=PATIENCE)
    asking = [Asking(pod) for pod in cluster.pods(THREE)]
    for one in asking:
        await one.begun_after(monotonic())
    for one in asking:
        await one.end()


async def _one_fault(cluster: LightCluster, number: signal.Signals) -> dict[str, float]:
    """Do one fault to the arbiter; return the milliseconds from then on."""
    await _whole(cluster)
    arbiter = cluster.arbiter
    restarts = arbiter.restarts
    asking = [Asking(pod) for pod in cluster.pods(THREE) if pod is not arbiter]
    await asyncio.sleep(_BEFORE)
    for one in asking:
        await one.begun_after(monotonic())
    cluster.renamed.clear()
    fault = monotonic()
    cluster.kill(arbiter.name, number, restart_after=0.0)
    try:
        async with asyncio.timeout(PATIENCE):
            await cluster.renamed.wait()
        named = cluster.renamed_at
        for one in asking:
            await one.begun_after(named + _AFTER)
    finally:
        if number is signal.SIGSTOP:
            arbiter.kill(signal.SIGCONT)
    for one in asking:
        await one.end()
    if number is not signal.SIGSTOP:

        async def restarted() -> bool:
            return arbiter.restarts > restarts

        await until("the pod knows that its process has ended", restarted, limit=PATIENCE)
    again = sorted(regained(one.sent, named) for one in asking)
    waited = max(each.began - each.at for one in asking for each in one.sent)
    return {
        "named_ms": 1e3 * (named - fault),
        "first_ms": 1e3 * (again[0] - fault),
        "last_ms": 1e3 * (again[-1] - fault),
        "longest_wait_ms": 1e3 * waited,
    }


async def without_arbiter(run: Run) -> dict[str, Any]:
    """Do each fault some times, in turns."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in FAULTS}
    async with started(pool(None)) as cluster:
        for _ in range(run.either(5, 1)):
            for name, number in FAULTS.items():
                rounds[name].append(await _one_fault(cluster, number))
    keys = next(iter(rounds.values()))[0]
    return {
        "without_arbiter_ms": {
            name: max(one["last_ms"] for one in those) for name, those in rounds.items()
        },
        "faults": {
            name: {
                "rounds": len(those),
                "median_ms": median(one["last_ms"] for one in those),
                **{key: spread(one[key] for one in those).as_json() for key in keys},
            }
            for name, those in rounds.items()
        },
    }
