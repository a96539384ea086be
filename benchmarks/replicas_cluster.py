"""What the replicas are measured on: the simulated cluster with light workers, and a lone balancer.

Three balancers that act as one by a Lease, and beside them a single one that knows of no others, in
front of the same workers. Only one of the two is under load at a time. The balancers are those of
the compiled build, if there is one.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from benchmarks import builds
from benchmarks.machine import ALL_CORES, busy_seconds
from benchmarks.processes import Process
from benchmarks.replicas_load import Answer, Call, read, write
from tests.e2e.interface import until
from tests.e2e.sim.cluster import Cluster
from tests.e2e.sim.pods import Pod, Template
from tests.e2e.sim.store import Change
from tests.e2e.sim.templates import CAP
from tests.e2e.sim.workloads import Deployment

REPLICAS, WORKERS = 3, 5
ONE, THREE = "one", "three"
"""One balancer, or three that act as one."""

PATIENCE = 60.0
"""Seconds that the cluster may take to be as it should."""

_SOLO = "solo"
_PROBES = 1.0
"""Seconds between two probes by the kubelet: fewer than the tests need, since they cost CPU."""

_QUIET = {"LEASTWISE_LOG_LEVEL": "warning", "LEASTWISE_ACCESS_LOG": "false"}


def pool(cap: int | None = CAP) -> dict[str, Any]:
    """Return the pool's spec; without a cap, any number of requests may be on a worker."""
    spec: dict[str, Any] = {
        "service": {"name": "worker", "port": "http"},
        "queue": {"size": 5000, "timeout": "60s"},
        "timeouts": {"request": "120s"},
    }
    return spec if cap is None else {**spec, "maxInFlight": cap}


class LightCluster(Cluster):
    """A cluster whose workers are light, with three balancers, and one for itself."""

    def __init__(self, folder: Path, *, compiled: bool) -> None:
        super().__init__(folder)
        self._compiled = compiled
        self.holder = ""
        """The id of the arbiter that the Lease names."""

        self.renamed_at = 0.0
        """When the Lease last came to name another, by the monotonic clock."""

        self.renamed = asyncio.Event()
        self.store.observers.append(self._see)

    def begin(self, spec: Mapping[str, Any]) -> None:
        """Start all pods."""
        self.install(dict(spec), WORKERS, REPLICAS, 0.0, _QUIET, peers=True, refusing=False)
        self._peers = None
        template = replace(self._balancer_template(), role=_SOLO)
        self.workloads[_SOLO] = Deployment(_SOLO, template, 1, self._spawn)
        self.workloads[_SOLO].reconcile()

    def pods(self, who: str) -> list[Pod]:
        """Return the balancers of one kind, or with "worker" the workers."""
        return self._pods_of({ONE: _SOLO, THREE: "lb"}.get(who, who))

    @property
    def arbiter(self) -> Pod:
        """The pod that the Lease names. Raises StopIteration if it names none that is here."""
        return next(pod for pod in self.pods(THREE) if self.holder.startswith(f"{pod.uid}."))

    async def until_settled(self) -> None:
        """Wait until all pods are ready, and one decides. Raises TimeoutError."""

        async def settled() -> bool:
            return bool(self.holder) and all(one.settled for one in self.workloads.values())

        await until("all pods are ready", settled, limit=PATIENCE)

    def _see(self, change: Change) -> None:
        if change.resource == "leases":
            holder = change.object["spec"].get("holderIdentity") or ""
            if holder != self.holder:
                self.holder, self.renamed_at = holder, monotonic()
                self.renamed.set()

    # --- what the pods run

    def _worker_template(self) -> Template:
        def arguments(pod: Pod) -> Sequence[str]:
            return ["-m", "benchmarks.replicas_worker", pod.address, str(self._port)]

        return replace(super()._worker_template(), arguments=arguments, probe_period=_PROBES)

    def _balancer_template(self) -> Template:
        template = super()._balancer_template()
        command, build = builds.program(compiled=self._compiled)
        prefix = command[1 : command.index("-m")]

        def arguments(pod: Pod) -> Sequence[str]:
            return [*prefix, *template.arguments(pod)]

        environment = {**template.environment, **build}
        return replace(template, arguments=arguments, environment=environment, probe_period=_PROBES)


def _said(folder: Path) -> list[str]:
    """Return what each process said last."""
    logs = [(log.stem, log.read_text()[-1000:]) for log in folder.glob("*.log")]
    return [f"{name} said: {said}" for name, said in logs if said]


@asynccontextmanager
async def started(spec: Mapping[str, Any]) -> AsyncIterator[LightCluster]:
    """Start a cluster with that pool; end it with the block."""
    with TemporaryDirectory() as folder:
        cluster = LightCluster(Path(folder), compiled=builds.has_compiled())
        await cluster.start()
        try:
            cluster.begin(spec)
            await cluster.until_settled()
            yield cluster
        except BaseException as error:
            for note in _said(Path(folder)):
                error.add_note(note)
            raise
        finally:
            await cluster.stop()


async def run_load(cluster: LightCluster, who: str, calls: Sequence[Call]) -> list[Answer]:
    """Send the calls to one balancer, or each to one of three, by a process of its own."""
    targets = [(pod.address, pod.port) for pod in cluster.pods(who)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.replicas_load",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, errors = await process.communicate(write(targets, calls))
    if process.returncode:
        raise RuntimeError(f"the load on {who} failed: {errors.decode()[-2000:]}")
    return read(printed, calls)


async def status(pod: Pod) -> dict[str, int]:
    """Return what a worker tells of itself."""
    reader, writer = await asyncio.open_connection(pod.address, pod.port)
    try:
        writer.write(b"GET /status HTTP/1.1\r\nHost: worker\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        told: dict[str, int] = json.loads(await reader.readexactly(length))
        return told
    finally:
        writer.close()
        await writer.wait_closed()


async def peak(cluster: LightCluster) -> int:
    """Return the most requests that any worker ever had at once, by its own count."""
    told = await asyncio.gather(*(status(pod) for pod in cluster.pods("worker")))
    return max(one["peak"] for one in told)


class Busy:
    """How much CPU time goes where, in cores, from now on."""

    def __init__(self, cluster: LightCluster, who: str) -> None:
        pods = {"balancers": cluster.pods(who), "workers": cluster.pods("worker")}
        self._groups = {
            name: [Process(pod.pid) for pod in those if pod.pid is not None]
            for name, those in pods.items()
        }
        self._before = self._spent()
        self._machine, self._at = busy_seconds(), monotonic()

    def _spent(self) -> dict[str, float]:
        return {
            name: sum((ran for _, ran in (process.cpu() for process in those)), 0.0)
            for name, those in self._groups.items()
        }

    def read(self) -> dict[str, float]:
        """Return it: of the balancers under load, of the workers, and of the whole machine."""
        took = monotonic() - self._at
        spent = {name: (now - self._before[name]) / took for name, now in self._spent().items()}
        machine = (busy_seconds() - self._machine) / took
        return {**spent, "machine": machine, "of": float(len(ALL_CORES))}
