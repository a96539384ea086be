"""The simulated cluster, driven through its control port. See `tests.e2e.sim`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e import loadgen
from tests.e2e.interface import (
    POOL,
    WORKERS,
    Election,
    PodView,
    Request,
    parse_load,
    read_lease,
    until,
)
from tests.e2e.sim.templates import NAMESPACE

ROOT = Path(__file__).parents[2]
TASK_SECONDS = 0.5

WATCH_TIMEOUT = 2.0
"""Seconds of silence that the balancers bear, in place of 75: bookmarks come each second."""


@contextmanager
def running_simulator(folder: Path) -> Iterator[dict[str, str]]:
    """Run the simulator's process; yield what it announces."""
    with (folder / "sim.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.sim", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            process_group=0,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "sim.log").read_text()
        yield json.loads(line)
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):  # what it left behind, in its process group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


class SimulatedLoad:
    """The load generator as a process of this machine."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process, self._output = process, output

    async def requests(self) -> list[Request]:
        return parse_load(self._output.read_text())[0]

    async def stop(self) -> list[Request]:
        if self._process.returncode is None:
            self._process.terminate()
        async with asyncio.timeout(130):
            code = await self._process.wait()
        assert code == 0, self._output.with_suffix(".errors").read_text()
        return await self.requests()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class SimulatedCluster:
    """`Cluster`, and the faults that only a simulated one can have."""

    simulated = True
    patience = 30.0
    pause = 0.05

    def __init__(self, folder: Path, client: httpx.AsyncClient) -> None:
        self._folder, self._client = folder, client
        self._loads = 0
        self._balancers = 0

    @classmethod
    @asynccontextmanager
    async def started(cls, folder: Path) -> AsyncIterator["SimulatedCluster"]:
        """Start one with nothing installed."""
        with running_simulator(folder) as told:
            async with httpx.AsyncClient(
                base_url=told["control"], timeout=30, trust_env=False, verify=False
            ) as client:
                yield cls(folder, client)

    async def install(
        self,
        *,
        workers: int = WORKERS,
        balancers: int = 1,
        environment: Mapping[str, str] | None = None,
        pool: Mapping[str, Any] = POOL,
        task_seconds: float = TASK_SECONDS,
        peers: bool = False,
        fronted: bool = False,
        refusing: bool = True,
    ) -> None:
        """`helm install`; see `tests.e2e.sim.cluster.Cluster.install`."""
        self._balancers = balancers
        await self.operate(
            "install",
            pool=dict(pool),
            workers=workers,
            balancers=balancers,
            task_seconds=task_seconds,
            environment=dict(environment or {}),
            peers=peers,
            fronted=fronted,
            refusing=refusing,
        )

    async def operate(self, operation: str, **arguments: Any) -> Any:
        """Do one of `tests.e2e.sim.cluster.OPERATIONS`."""
        answer = await self._client.post(f"/{operation}", json=arguments)
        assert answer.is_success, f"{operation}: {answer.text}"
        return answer.json()

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = await self.operate("state")
        return state

    # --- what every cluster can

    async def pods(self, role: str) -> dict[str, PodView]:
        pods = (await self.state())["pods"]
        shown = ("uid", "ready", "terminating", "restarts", "address")
        return {
            name: PodView(name, **{field: pod[field] for field in shown})
            for name, pod in pods.items()
            if pod["role"] == role
        }

    async def views(self) -> list[dict[str, Any]]:
        views, targets = [], self.targets()
        for name, pod in (await self.pods("lb")).items():
            if targets and self._target(pod) in targets:
                with suppress(httpx.TransportError):
                    views.append(await self._ask(name, pod))
        return views

    async def view(self, pod: str) -> dict[str, Any]:
        return await self._ask(pod, (await self.pods("lb"))[pod])

    async def _ask(self, name: str, pod: PodView) -> dict[str, Any]:
        host, _, port = self._target(pod).rpartition(":")
        answer = await self._client.get(f"http://{host}:{int(port) + 1}/workers")
        view: dict[str, Any] = answer.json() | {"balancer": name}
        return view

    async def election(self) -> Election:
        server = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        path = f"apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/lb"
        answer = await self._client.get(f"{server}/{path}")
        return read_lease(answer.raise_for_status().json())

    async def settled(self) -> bool:
        return all((await self.state())["settled"].values())

    async def delete_pod(self, name: str, *, force: bool = False) -> None:
        await self.operate("delete_pod", name=name, force=force)

    async def signal(self, name: str, number: signal.Signals, **more: float) -> None:
        """`more`: `restart_after` in seconds, if it is to end the process."""
        assert await self.operate("kill", name=name, number=number, **more), f"{name} does not run"

    async def fail_readiness(self, name: str, *, fails: bool) -> None:
        await self.operate("fail_probe", name=name, fails=fails)

    async def scale(self, role: str, replicas: int) -> None:
        await self.operate("scale", name=role, replicas=replicas)

    async def restart(self, role: str) -> None:
        await self.operate("restart", name=role)

    async def upgrade(self, pool: Mapping[str, Any]) -> None:
        await self.operate("upgrade", pool=dict(pool), environment={})
        await until("the upgrade is rolled out", self.settled, limit=4 * self.patience)

    async def change_service(self, *, dual_stack: bool, publish_not_ready: bool) -> None:
        await self.operate("service", dual_stack=dual_stack, publish_not_ready=publish_not_ready)

    async def reset(self) -> None:
        await self.operate("faults")
        await self.operate("heal")
        await self.operate("reset", workers=WORKERS)
        await self.scale("lb", self._balancers)

    @asynccontextmanager
    async def load(
        self,
        clients: int = 12,
        *,
        pod: str = "",
        targets: str = "targets",
        host: str = "",
        path: str = "/compute",
    ) -> AsyncIterator[SimulatedLoad]:
        """`targets`: the file of those that new connections go to."""
        if pod:
            targets = f"only-{pod}"
            target = self._target((await self.pods("lb"))[pod])
            (self._folder / targets).write_text(f"{target}\n")
        self._loads += 1
        output = self._folder / f"load-{self._loads}.jsonl"
        with output.open("wb") as out, output.with_suffix(".errors").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                loadgen.__file__,
                *("--targets", str(self._folder / targets), "--clients", str(clients)),
                *("--host", host, "--path", path),
                stdout=out,
                stderr=errors,
            )
        load = SimulatedLoad(process, output)
        try:
            yield load
        finally:
            await load.kill()

    @asynccontextmanager
    async def partitioned(
        self, name: str, others: Sequence[str] | None = None
    ) -> AsyncIterator[None]:
        """Cut a balancer off from these of its peers, or from all, meanwhile."""
        await self.operate("partition", name=name, others=None if others is None else list(others))
        try:
            yield
        finally:
            await self.operate("heal")

    async def worst_count(self, since: float = 0.0) -> int:
        counts = (e["in_flight"] for e in self._journal() if e["monotonic"] >= since)
        return max(counts, default=0)

    async def refusals(self) -> int:
        return sum(event["event"] == "refused" for event in self._journal())

    # --- what only this one can

    @property
    def kubeconfig(self) -> Path:
        """The way to its API server."""
        return self._folder / "kubeconfig"

    def targets(self, name: str = "targets") -> list[str]:
        """The balancers that new connections go to."""
        file = self._folder / name
        return file.read_text().split() if file.exists() else []

    def _target(self, pod: PodView) -> str:
        """Return a balancer's host:port; the port is the same for all, as in a cluster."""
        return f"{pod.address}:{self.targets()[0].rpartition(':')[2]}"

    @asynccontextmanager
    async def faults(self, **faults: Any) -> AsyncIterator[None]:
        """Let the API server have these faults (`tests.e2e.sim.faults`) meanwhile."""
        await self.operate("faults", **faults)
        try:
            yield
        finally:
            await self.operate("faults")

    async def cut_off(self, seconds: float) -> None:
        """Wait until no balancer has heard the API server for so long; see that all are ready."""

        async def check() -> bool:
            for target in self.targets():
                host, _, port = target.rpartition(":")
                answer = await self._client.get(f"http://{host}:{int(port) + 1}/readyz?verbose")
                assert answer.is_success, answer.text
                watches = answer.json()["discovery"]
                if not watches or any(
                    watch["watching"] or watch["last_contact_seconds_ago"] < seconds
                    for watch in watches
                ):
                    return False
            return bool(self.targets())

        await until(f"the balancers are cut off for {seconds:g} s", check, limit=self.patience)

    def logs(self) -> str:
        """The balancers' logs, for a test that failed."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text()}" for log in sorted(self._folder.glob("l?-*.log"))
        )

    def _journal(self) -> Iterator[dict[str, Any]]:
        for journal in self._folder.glob("*.journal"):
            for line in journal.read_text().splitlines():
                yield json.loads(line)
