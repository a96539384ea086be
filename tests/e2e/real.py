"""The chart on a real cluster, through kubectl and helm.

It is installed into a namespace of its own, which is deleted at the end. The load is a Job in it,
which sends through the balancers' Service, or to the pod of one of them; see `loadgen`.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Any

import yaml

from tests.e2e.diagnosis import diagnose
from tests.e2e.interface import (
    POOL,
    WORKERS,
    Election,
    PodView,
    Workers,
    reached,
    read_lease,
    take_in,
)
from tests.e2e.kubectl import CommandError, Kubectl
from tests.e2e.real_host import ROOT, Host
from tests.e2e.real_load import RealLoad, job

CHART = ROOT / "charts" / "lb"
RELEASE = "lb"
TASK_SECONDS = 2.0
BALANCERS = 2
"""What the chart has by default."""

READ_WORKERS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9000/workers", timeout=5).read().decode())
"""

SIGNAL = """
import os, pathlib
found = []
for entry in pathlib.Path("{proc}").glob("[0-9]*"):
    try:
        words = (entry / "cmdline").read_bytes().split(bytes(1))
    except OSError:
        continue
    if b"{role}" in words and int(entry.name) != os.getpid():
        found.append(int(entry.name))
if not found or 1 in found:
    raise SystemExit("no process `{role}`, or PID 1, which no signal from here reaches: is it"
                     " a pod without shareProcessNamespace? " + str(found))
for number in found:
    os.kill(number, {number})
"""
"""`python -m app worker` or `leastwise serve`: the word is an argument of its own. Not PID 1, as
the chart lets the containers of a pod share their processes."""


class RealCluster:
    """`Cluster` on the API of a real one. `balancers`: None for the chart's default."""

    simulated = False
    patience = 180.0
    pause = 0.5

    def __init__(
        self,
        kubectl: Kubectl,
        host: Host,
        *,
        pool: Mapping[str, Any] = POOL,
        balancers: int | None = None,
        refusing: bool = True,
    ) -> None:
        self.kubectl, self._host = kubectl, host
        self._pool, self._balancers, self._refusing = pool, balancers, refusing
        self._loads = 0
        self._workers: Workers = {}

    @classmethod
    @asynccontextmanager
    async def installed(
        cls,
        host: Host,
        *,
        pool: Mapping[str, Any] = POOL,
        balancers: int | None = None,
        refusing: bool = True,
    ) -> AsyncIterator["RealCluster"]:
        """Install the chart meanwhile. `refusing`: whether workers refuse what is beyond the cap.

        If that fails, what can be learnt of it is in the diagnostics, and in the error's notes.
        """
        namespace = f"leastwise-e2e-{secrets.token_hex(3)}"
        kubectl = Kubectl(namespace, host.kubeconfig)
        cluster = cls(kubectl, host, pool=pool, balancers=balancers, refusing=refusing)
        await kubectl("create", "namespace", namespace)
        if host.keep:
            host.kept.append(f"namespace {namespace} is kept: kubectl --namespace {namespace} ...")
            host.kept.append(f"  to delete it: kubectl delete namespace {namespace}")
        try:
            try:
                await cluster._install()
            except CommandError as error:
                error.add_note(cluster.diagnose(f"install-{namespace}"))
                raise
            yield cluster
        finally:
            if not host.keep:
                with suppress(CommandError):  # its end is no part of the test
                    await kubectl("delete", "namespace", namespace, "--timeout=5m", limit=330)

    async def _install(self) -> None:
        await self.kubectl(
            "label", "namespace", self.kubectl.namespace,
            "pod-security.kubernetes.io/enforce=restricted",
        )  # fmt: skip
        values = self.values(self._pool, WORKERS, self._balancers)
        await self.kubectl.helm(
            "install", RELEASE, str(CHART), "--values", values, "--wait", "--timeout", "5m"
        )

    def diagnose(self, what: str) -> str:
        """Write down what is to be read after a failure; return the gist. Blocks."""
        return diagnose(self.kubectl, self._host.diagnostics / what)

    def values(self, pool: Mapping[str, Any], workers: int | None, balancers: int | None) -> str:
        """Write the chart's values; return the file's path."""
        repository, _, tag = self._host.image.rpartition(":")
        assert repository, f"the image is {self._host.image}: give repository:tag"
        settings = {key: value for key, value in pool.items() if key != "service"}
        worker: dict[str, Any] = {"replicas": workers, "taskSeconds": TASK_SECONDS}
        values: dict[str, Any] = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
            "pool": settings,
            # A change of the pool alone is taken up by the running pods; this replaces them.
            "podAnnotations": {"leastwise.io/e2e": secrets.token_hex(3)},
            "worker": worker if self._refusing else worker | {"maxInFlight": None},
        }
        if self._balancers is not None:
            values["replicas"] = balancers
        file = self._host.folder / f"values-{secrets.token_hex(3)}.yaml"
        file.write_text(yaml.safe_dump(values))
        return str(file)

    # --- what is there

    async def pods(self, role: str) -> dict[str, PodView]:
        return {p["metadata"]["name"]: _view(p) for p in await self.kubectl.pods_of(role)}

    async def views(self) -> list[dict[str, Any]]:
        pods = (await self.pods("lb")).values()
        ready = [pod.name for pod in pods if pod.ready and not pod.terminating]
        return [view for view in await asyncio.gather(*map(self._view, ready)) if view]

    async def view(self, pod: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(await self.kubectl.python(pod, READ_WORKERS))
        return said | {"balancer": pod}

    async def _view(self, pod: str) -> dict[str, Any] | None:
        with suppress(CommandError):  # it has ended meanwhile
            return await self.view(pod)
        return None

    async def election(self) -> Election:
        return read_lease(await self.kubectl.get("lease", RELEASE))

    async def peer_secret(self) -> str:
        """Return the secret that the chart has made for the replicas, encoded."""
        secret = await self.kubectl.get("secret", f"{RELEASE}-peers")
        return str(secret["data"]["token"])

    async def settled(self) -> bool:
        for kind, name in (("statefulset", "worker"), ("deployment", "lb")):
            found = await self.kubectl.get(kind, name)
            wanted, status = found["spec"]["replicas"], found["status"]
            counts = {status.get(f, 0) for f in ("replicas", "updatedReplicas", "readyReplicas")}
            pods = await self.pods(name)
            if (
                status.get("observedGeneration") != found["metadata"]["generation"]
                or counts != {wanted}
                or len(pods) != wanted
                or any(pod.terminating or not pod.ready for pod in pods.values())
            ):
                return False
        return True

    # --- what is done to it

    async def delete_pod(self, name: str, *, force: bool = False) -> None:
        how = ("--force", "--grace-period=0") if force else ()
        await self.kubectl("delete", "pod", name, "--wait=false", *how)

    async def signal(self, name: str, number: Signals) -> None:
        role = "worker" if name.startswith("worker-") else "serve"
        code = SIGNAL.format(proc="/proc", role=role, number=int(number))
        try:
            await self.kubectl.python(name, code)
        except CommandError as error:
            # What ran in the container may end with it, before the answer is through.
            if number != SIGKILL or error.code != 128 + SIGKILL:
                raise

    async def fail_readiness(self, name: str, *, fails: bool) -> None:
        await self.signal(name, SIGSTOP if fails else SIGCONT)

    async def scale(self, role: str, replicas: int) -> None:
        kind = "statefulset" if role == "worker" else "deployment"
        await self.kubectl("scale", f"{kind}/{role}", f"--replicas={replicas}")

    async def restart(self, role: str) -> None:
        kind = "statefulset" if role == "worker" else "deployment"
        await self.kubectl("rollout", "restart", f"{kind}/{role}")

    async def upgrade(self, pool: Mapping[str, Any]) -> None:
        # After `kubectl scale` a number is another's: to render one that differs is a conflict.
        workers, balancers = await self._replicas("worker"), await self._replicas("lb")
        values = self.values(
            pool,
            WORKERS if workers == WORKERS else None,
            self._balancers if balancers == self._balancers else None,
        )
        await self.kubectl.helm(
            "upgrade", RELEASE, str(CHART), "--values", values, "--wait", "--timeout", "5m"
        )
        await self.kubectl("rollout", "status", "deployment/lb", "--timeout=5m", limit=330)
        await reached(self, "the upgrade is rolled out", self.settled)

    async def _replicas(self, role: str) -> int:
        kind = "statefulset" if role == "worker" else "deployment"
        return int((await self.kubectl.get(kind, role))["spec"]["replicas"])

    async def change_service(self, *, dual_stack: bool, publish_not_ready: bool) -> None:
        # On a cluster of one family PreferDualStack changes nothing, and the scenario still holds.
        spec = {
            "publishNotReadyAddresses": publish_not_ready,
            "ipFamilyPolicy": "PreferDualStack" if dual_stack else "SingleStack",
        }
        if not dual_stack:
            service = await self.kubectl.get("service", "worker")
            spec["ipFamilies"] = service["spec"]["ipFamilies"][:1]
        patch = json.dumps({"spec": spec})
        await self.kubectl("patch", "service", "worker", "--type=merge", f"--patch={patch}")

    async def reset(self) -> None:
        for role, count in (("worker", WORKERS), ("lb", self._balancers or BALANCERS)):
            if await self._replicas(role) != count:
                await self.scale(role, count)
        spec = (await self.kubectl.get("service", "worker"))["spec"]
        if spec.get("publishNotReadyAddresses") or len(spec["ipFamilies"]) > 1:
            await self.change_service(dual_stack=False, publish_not_ready=False)

    # --- requests

    @asynccontextmanager
    async def load(self, clients: int = 12, *, pod: str = "") -> AsyncIterator[RealLoad]:
        self._loads += 1
        name = f"load-{self._loads}"
        if pod:
            address = (await self.pods("lb"))[pod].address
            host = f"[{address}]" if ":" in address else address
            target = f"{host}:{await self._container_port(RELEASE)}"
        else:
            service = await self.kubectl.get("service", RELEASE)
            target = f"{RELEASE}:{service['spec']['ports'][0]['port']}"
        arguments = [
            f"--target={target}",
            f"--workers=worker:{await self._container_port('worker')}",
            f"--clients={clients}",
        ]
        load = RealLoad(self.kubectl, name)
        try:
            await load.begin(job(name, self._host.image, arguments))
            await reached(self, "the load runs", load.runs)
            yield load
        except Exception:
            folder = self._host.diagnostics / self.kubectl.namespace
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.txt").write_text(load.look())
            raise
        finally:
            for told in load.workers.values():
                take_in(self._workers, told)
            await self.kubectl(
                "delete", "job,configmap", name, "--ignore-not-found", "--wait=false"
            )

    async def _container_port(self, role: str) -> int:
        """Return what a Service's first port is on its pods, which DNS says nothing of."""
        port = (await self.kubectl.get("service", role))["spec"]["ports"][0]
        target = port.get("targetPort", port["port"])
        if isinstance(target, int):
            return target
        kind = "statefulset" if role == "worker" else "deployment"
        template = (await self.kubectl.get(kind, role))["spec"]["template"]["spec"]
        ports = [each for c in template["containers"] for each in c.get("ports", ())]
        return next(int(each["containerPort"]) for each in ports if each.get("name") == target)

    async def worst_count(self, since: float = 0.0) -> int:
        del since  # the workers tell no times
        return max((told["peak"] for told in self._workers.values()), default=0)

    async def refusals(self) -> int:
        return sum(told["refused"] for told in self._workers.values())


def _view(pod: dict[str, Any]) -> PodView:
    metadata, status = pod["metadata"], pod["status"]
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in metadata,
        restarts=sum(c["restartCount"] for c in status.get("containerStatuses", ())),
        address=status.get("podIP", ""),
    )
