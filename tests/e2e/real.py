"""A real cluster, through kubectl and helm: one that kind makes, or the one of KUBECONFIG.

The chart is installed into a namespace of its own, which is deleted at the end. The load is a Job
in there, which goes through the balancer's Service; see `loadgen`.
"""

import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.interface import POOL, WORKERS, PodView, until
from tests.e2e.kubectl import CommandError, Kubectl, run
from tests.e2e.real_load import RealLoad, job

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "lb"
RELEASE = "lb"
TASK_SECONDS = 2.0

_READ_WORKERS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9000/workers", timeout=5).read().decode())
"""

_SIGNAL_WORKER = """
import os, pathlib
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        words = (entry / "cmdline").read_bytes().split(bytes(1))
    except OSError:
        continue
    if b"worker" in words and int(entry.name) != os.getpid():
        os.kill(int(entry.name), {number})
"""
"""`python -m app worker` or `leastwise worker`: the word is an argument of its own. Not PID 1, as
the chart lets the containers of the pod share their processes."""


class RealCluster:
    """`Cluster` on the API of a real one."""

    simulated = False
    patience = 180.0

    def __init__(self, kubectl: Kubectl, image: str, folder: Path) -> None:
        self._kubectl, self._image, self._folder = kubectl, image, folder
        self._loads = 0
        self._peaks: dict[tuple[str, int], dict[str, Any]] = {}

    @classmethod
    @asynccontextmanager
    async def started(
        cls, folder: Path, *, kind: str, image: str | None
    ) -> AsyncIterator["RealCluster"]:
        """Install the chart, on a cluster that kind makes meanwhile or on the current one."""
        namespace = f"leastwise-e2e-{secrets.token_hex(3)}"
        if kind == "current":
            assert image, "--cluster=current needs --image"
            async with cls._installed(Kubectl(namespace, None), image, folder) as cluster:
                yield cluster
            return
        async with _kind_cluster(namespace, folder) as kubeconfig:
            built = image or "leastwise:e2e"
            await _load_image(built, namespace, folder, build=image is None)
            async with cls._installed(Kubectl(namespace, kubeconfig), built, folder) as cluster:
                yield cluster

    @classmethod
    @asynccontextmanager
    async def _installed(
        cls, kubectl: Kubectl, image: str, folder: Path
    ) -> AsyncIterator["RealCluster"]:
        cluster = cls(kubectl, image, folder)
        await kubectl("create", "namespace", kubectl.namespace)
        try:
            await kubectl(
                "label", "namespace", kubectl.namespace,
                "pod-security.kubernetes.io/enforce=restricted",
            )  # fmt: skip
            values = cluster._values(POOL, WORKERS)
            await kubectl.helm(
                "install", RELEASE, str(CHART), "--values", values, "--wait", "--timeout", "5m"
            )
            yield cluster
        finally:
            with suppress(CommandError):  # its end is no part of the test
                await kubectl("delete", "namespace", kubectl.namespace, "--timeout=5m", limit=330)

    def _values(self, pool: Mapping[str, Any], workers: int | None) -> str:
        """Write the chart's values; return the file's path."""
        repository, _, tag = self._image.rpartition(":")
        assert repository, f"the image is {self._image}: give repository:tag"
        settings = {key: value for key, value in pool.items() if key != "service"}
        values = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
            "pool": settings,
            # The scenarios are about one balancer, as on the simulated cluster.
            "replicas": 1,
            # A change of the pool alone is taken up by the running pods; this replaces them.
            "podAnnotations": {"leastwise.io/e2e": secrets.token_hex(3)},
            "worker": {"replicas": workers, "taskSeconds": TASK_SECONDS},
        }
        file = self._folder / f"values-{secrets.token_hex(3)}.yaml"
        file.write_text(yaml.safe_dump(values))
        return str(file)

    # --- what is there

    async def pods(self, role: str) -> dict[str, PodView]:
        return {p["metadata"]["name"]: _view(p) for p in await self._kubectl.pods_of(role)}

    async def views(self) -> list[dict[str, Any]]:
        views = []
        for pod in (await self.pods("lb")).values():
            if pod.ready and not pod.terminating:
                with suppress(CommandError):  # it has ended meanwhile
                    view = json.loads(await self._kubectl.python(pod.name, _READ_WORKERS))
                    views.append(view | {"balancer": pod.name})
        return views

    async def settled(self) -> bool:
        for kind, name in (("statefulset", "worker"), ("deployment", "lb")):
            found = await self._kubectl.get(kind, name)
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

    async def delete_worker(self, name: str, *, force: bool = False) -> None:
        how = ("--force", "--grace-period=0") if force else ()
        await self._kubectl("delete", "pod", name, "--wait=false", *how)

    async def kill_container(self, name: str) -> None:
        await self._signal(name, "SIGKILL")

    async def fail_readiness(self, name: str, *, fails: bool) -> None:
        await self._signal(name, "SIGSTOP" if fails else "SIGCONT")

    async def _signal(self, name: str, signal: str) -> None:
        code = _SIGNAL_WORKER.format(number=f"__import__('signal').{signal}")
        try:
            await self._kubectl.python(name, code)
        except CommandError as error:
            # The container may end before the answer is through: 137 then.
            if signal != "SIGKILL" or "137" not in str(error):
                raise

    async def scale_workers(self, replicas: int) -> None:
        await self._kubectl("scale", "statefulset/worker", f"--replicas={replicas}")

    async def restart(self, role: str) -> None:
        kind = "statefulset" if role == "worker" else "deployment"
        await self._kubectl("rollout", "restart", f"{kind}/{role}")

    async def upgrade(self, pool: Mapping[str, Any]) -> None:
        # After `kubectl scale` the number is another's: to render it would be a conflict.
        replicas = (await self._kubectl.get("statefulset", "worker"))["spec"]["replicas"]
        values = self._values(pool, WORKERS if replicas == WORKERS else None)
        await self._kubectl.helm(
            "upgrade", RELEASE, str(CHART), "--values", values, "--wait", "--timeout", "5m"
        )
        await self._kubectl("rollout", "status", "deployment/lb", "--timeout=5m", limit=330)
        await until("the upgrade is rolled out", self.settled, limit=self.patience)

    async def change_service(self, *, dual_stack: bool, publish_not_ready: bool) -> None:
        # On a cluster of one family PreferDualStack changes nothing, and the scenario still holds.
        spec = {
            "publishNotReadyAddresses": publish_not_ready,
            "ipFamilyPolicy": "PreferDualStack" if dual_stack else "SingleStack",
        }
        if not dual_stack:
            service = await self._kubectl.get("service", "worker")
            spec["ipFamilies"] = service["spec"]["ipFamilies"][:1]
        patch = json.dumps({"spec": spec})
        await self._kubectl("patch", "service", "worker", "--type=merge", f"--patch={patch}")

    async def reset(self) -> None:
        if (await self._kubectl.get("statefulset", "worker"))["spec"]["replicas"] != WORKERS:
            await self.scale_workers(WORKERS)
        spec = (await self._kubectl.get("service", "worker"))["spec"]
        if spec.get("publishNotReadyAddresses") or len(spec["ipFamilies"]) > 1:
            await self.change_service(dual_stack=False, publish_not_ready=False)

    # --- load

    @asynccontextmanager
    async def load(self, clients: int = 12) -> AsyncIterator[RealLoad]:
        self._loads += 1
        name = f"load-{self._loads}"
        script = (Path(__file__).parent / "loadgen.py").read_text()
        await self._kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"loadgen.py": script},
            }
        )
        target = await self._kubectl.get("service", RELEASE)
        slices = await self._kubectl.get(
            "endpointslices", "--selector=kubernetes.io/service-name=worker"
        )
        arguments = [
            f"--target={RELEASE}:{target['spec']['ports'][0]['port']}",
            f"--workers=worker:{slices['items'][0]['ports'][0]['port']}",
            f"--clients={clients}",
        ]
        load = RealLoad(self._kubectl, name)
        try:
            await self._kubectl.apply(job(name, self._image, arguments))
            await until("the load runs", load.runs, limit=self.patience, pause=0.5)
            yield load
        finally:
            self._peaks |= load.workers
            await self._kubectl(
                "delete", "job,configmap", name, "--ignore-not-found", "--wait=false"
            )

    async def worst_count(self) -> int:
        return max((told["peak"] for told in self._peaks.values()), default=0)

    async def refusals(self) -> int:
        return sum(told["refused"] for told in self._peaks.values())


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


@asynccontextmanager
async def _kind_cluster(name: str, folder: Path) -> AsyncIterator[Path]:
    """Make a cluster as kind-config.yaml has it, without its ports on this machine; delete it."""
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    for node in config.get("nodes", ()):
        node.pop("extraPortMappings", None)
    file, kubeconfig = folder / "kind.yaml", folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        await run(
            "kind", "create", "cluster", "--name", name, "--config", str(file),
            "--kubeconfig", str(kubeconfig), "--wait", "3m",
            limit=900,
        )  # fmt: skip
        yield kubeconfig
    finally:
        with suppress(CommandError):
            await run("kind", "delete", "cluster", "--name", name, "--kubeconfig", str(kubeconfig))


async def _load_image(image: str, cluster: str, folder: Path, *, build: bool) -> None:
    """Build the image if it is ours, and bring it to the nodes of the kind cluster."""
    if build:
        await run("docker", "build", "--tag", image, str(ROOT), limit=1200)
    try:
        await run("kind", "load", "docker-image", image, "--name", cluster, limit=600)
    except CommandError:  # as with Docker 29, whose images hold other platforms' parts by name
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
        archive = str(folder / "image.tar")
        platform = f"--platform=linux/{machine}"
        await run("docker", "save", platform, "--output", archive, image, limit=600)
        await run("kind", "load", "image-archive", archive, "--name", cluster, limit=600)
