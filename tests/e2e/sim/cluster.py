"""The simulated cluster put together: what `helm install` leaves, and what kubectl does to it.

Each public coroutine or method of `Cluster` named in `OPERATIONS` can be called through the
control port (`__main__`), with JSON arguments and a JSON answer.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.sim.apiserver import ApiServer
from tests.e2e.sim.crowd import Crowd
from tests.e2e.sim.faults import Faults
from tests.e2e.sim.links import Links
from tests.e2e.sim.pods import Pod, Template
from tests.e2e.sim.slices import Member, Service
from tests.e2e.sim.store import Change, Object, Store
from tests.e2e.sim.templates import (
    CAP,
    NAMESPACE,
    Peers,
    as_object,
    balancer,
    following_balancer,
    operator,
    unused_port,
    worker,
)
from tests.e2e.sim.workloads import Deployment, StatefulSet, Workload

PROXY_LAG = 0.05
"""Seconds until every node sends new connections where the Service's ready endpoints are."""

OPERATIONS = frozenset(
    {
        "install", "state", "scale", "restart", "upgrade", "delete_pod", "kill", "fail_probe",
        "faults", "compact", "service", "move", "crowd", "seen", "expected", "reset", "release",
        "writes", "partition", "heal", "held",
    }
)  # fmt: skip


class Cluster:
    """The store with its API server, the workers, the balancers and their Services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store()
        self.faults_now = Faults()
        self.api = ApiServer(self.store, self.faults_now, on_delete_pod=self._delete_by_api)
        self.crowd_now = Crowd(task_seconds=0.3, cap=CAP)
        self.workloads: dict[str, Workload] = {}
        self._services = {
            "worker": Service(self.store, NAMESPACE, "worker", "http"),
            "lb": Service(self.store, NAMESPACE, "lb", "http"),
        }
        self._admin: dict[str, Service] = {}
        """The admin Services of balancers that follow WorkerPools, by the balancer."""

        self._links = Links()
        self._peers: Peers | None = None
        self._refusing = True
        self._lives: set[asyncio.Task[None]] = set()
        self._port = unused_port()
        self._addresses = 0
        self._pool: Object = {}
        self._task_seconds = 0.5
        self._environment: dict[str, str] = {}
        self._program = "app"
        self._stopping = False
        self.store.observers.append(self._proxy)

    # --- its life

    async def start(self) -> None:
        await self.crowd_now.start()
        await self.api.start()
        user = {"name": "sim", "user": {"token": "sim"}}
        cluster = {"name": "sim", "cluster": {"server": f"http://127.0.0.1:{self.api.port}"}}
        context = {"cluster": "sim", "user": "sim", "namespace": NAMESPACE}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sim",
            "clusters": [cluster],
            "users": [user],
            "contexts": [{"name": "sim", "context": context}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig))

    async def stop(self) -> None:
        """Kill every process."""
        self._stopping = True
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self.api.stop()
        await self.crowd_now.stop()

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def targets(self) -> Path:
        """The file that holds the balancers that new connections go to."""
        return self.folder / "targets"

    # --- operations

    def install(
        self,
        pool: Object,
        workers: int,
        balancers: int,
        task_seconds: float,
        environment: Mapping[str, str],
        *,
        peers: bool = False,
        fronted: bool = False,
        refusing: bool = True,
    ) -> None:
        """Start the workers and the balancers; `environment` is for the latter.

        `peers`: the balancers act as one, by Lease lb. `fronted`: what they say to each other goes
        through the simulator, so that `partition` can cut it. `refusing`: whether the workers
        refuse what is beyond the cap, or count it.
        """
        self._pool, self._task_seconds = pool, task_seconds
        self._environment, self._refusing = dict(environment), refusing
        if peers:
            secret = self.folder / "peer-secret"
            secret.write_text(secrets.token_hex(20))
            self._peers = Peers("lb", secret, self._port + 2, fronted)
        for name in self._services:
            self._create_service(name, name, "http", {"app": name})
        self.workloads = {
            "worker": StatefulSet("worker", self._worker_template(), workers, self._spawn),
            "lb": Deployment("lb", self._balancer_template(), balancers, self._spawn),
        }
        for workload in self.workloads.values():
            workload.reconcile()

    def release(
        self, name: str, workers: Mapping[str, int], balancers: int, task_seconds: float
    ) -> None:
        """Install a balancer that follows WorkerPools, with its operator, and sets of workers."""
        environment = {"KUBECONFIG": str(self.kubeconfig), "LEASTWISE_NAMESPACE": NAMESPACE}
        label = {"leastwise.io/balancer": name}
        self._admin[name] = Service(self.store, NAMESPACE, f"{name}-admin", "admin", offset=1)
        self._create_service(f"{name}-admin", name, "admin", label)
        for service in (name, *workers):
            self._services[service] = Service(self.store, NAMESPACE, service, "http")
            self._create_service(service, service, "http", {})
        for role, count in workers.items():
            template = worker(self._port, task_seconds, role)
            self.workloads[role] = StatefulSet(role, template, count, self._spawn)
        template = following_balancer(name, self._port, environment)
        self.workloads[name] = Deployment(name, template, balancers, self._spawn)
        watcher = f"{name}-operator"
        template = operator(name, self._port, environment)
        self.workloads[watcher] = Deployment(watcher, template, 1, self._spawn)
        for workload in (*workers, name, watcher):
            self.workloads[workload].reconcile()

    def _create_service(self, name: str, role: str, port: str, labels: Mapping[str, str]) -> None:
        metadata = {"name": name, "namespace": NAMESPACE, "labels": dict(labels)}
        ports = [{"name": port, "port": self._port, "protocol": "TCP"}]
        spec = {
            "clusterIP": "None",
            "selector": {"app": role},
            "ports": ports,
            "ipFamilies": ["IPv4"],
        }
        self.store.create("services", {"metadata": metadata, "spec": spec})

    def writes(self) -> list[str]:
        """Return what was written through the API server: verb and resource each."""
        return self.api.writes

    def state(self) -> Object:
        """Say how all pods are."""
        pods = {
            pod.name: {
                "uid": pod.uid,
                "role": pod.template.role,
                "ready": pod.ready,
                "terminating": pod.terminating,
                "restarts": pod.restarts,
                "address": pod.address,
                "pid": pod.pid,
            }
            for pod in self._pods()
        }
        slices = self.store.list("endpointslices", NAMESPACE, _of("worker"))
        return {
            "pods": pods,
            "settled": {name: self._settled(name) for name in self.workloads},
            "replicas": {name: workload.replicas for name, workload in self.workloads.items()},
            "crowd": {
                "size": len(self.crowd_now.members),
                "peak": self.crowd_now.peak,
                "refused": self.crowd_now.refused,
                "served": len(self.crowd_now.served),
            },
            "slices": len(slices),
            "entries": sum(len(one["endpoints"]) for one in slices),
        }

    def scale(self, name: str, replicas: int) -> None:
        self.workloads[name].scale(replicas)

    def restart(self, name: str) -> None:
        self.workloads[name].restart()

    def upgrade(self, pool: Object, environment: Mapping[str, str], program: str = "app") -> None:
        """Roll the balancers out with another pool, and these variables besides the old ones.

        `program`: the module that they run, for another release.
        """
        self._pool, self._program = pool, program
        self._environment |= environment
        self.workloads["lb"].restart(self._balancer_template())

    def delete_pod(self, name: str, force: bool = False) -> None:
        self._pod(name).delete(force=force)

    def kill(
        self, name: str, number: int = signal.SIGKILL, restart_after: float | None = None
    ) -> bool:
        """Signal a pod's process; return whether there was one.

        A killed container keeps its pod. `restart_after`: seconds from the notice of its end to
        its next start, if not as the kubelet has it.
        """
        pod = self._pod(name)
        pod.restart_after = restart_after
        return pod.kill(signal.Signals(number))

    def partition(self, name: str, others: Sequence[str] | None = None) -> None:
        """Cut the peer ports of a pod and of these off from each other; None: of all others."""
        role = self._pod(name).template.role
        peers = [self._pod(other) for other in others or ()]
        if others is None:
            peers = [pod for pod in self._pods_of(role) if pod.name != name]
        self._links.cut(self._pod(name).address, [pod.address for pod in peers])

    def heal(self) -> None:
        """Undo every partition."""
        self._links.heal()

    def held(self) -> int:
        """Return how many pieces of what replicas say to each other a partition holds up."""
        return self._links.held

    def fail_probe(self, name: str, fails: bool) -> None:
        self._pod(name).probe_fails = fails

    async def faults(self, **values: Any) -> None:
        self.faults_now.set(values)
        await self.api.obey()

    def compact(self) -> None:
        self.store.compact()

    def service(self, **values: Any) -> None:
        """Change what the workers' Service is: dual_stack, publish_not_ready, slice_size."""
        for name, value in values.items():
            setattr(self._services["worker"], name, value)
        self._sync("worker")

    def move(self, end: bool = False) -> None:
        """Move the workers to other slices: they stand in both until it is ended."""
        if end:
            self._services["worker"].end_move()
        else:
            self._services["worker"].begin_move(self._members())

    def crowd(self, join: int = 0, leave: int = 0, terminate: int = 0) -> None:
        """Let so many of the crowd join, so many be terminating, and so many of the oldest go."""
        crowd = self.crowd_now
        for name in list(crowd.members)[:leave]:
            del crowd.members[name]
        staying = [member for member in crowd.members.values() if not member.terminating]
        for member in staying[:terminate]:
            member.terminating = True
        crowd.add(join)
        self._sync("worker")

    def expected(self) -> list[str]:
        """Return the names that should be in rotation now."""
        return sorted(m.name for m in self._members() if m.ready and not m.terminating)

    def reset(self, workers: int) -> None:
        """Set back what tests change, but the pool."""
        self.crowd_now.members.clear()
        for pod in self._pods():
            pod.probe_fails = False
        self._services["worker"].end_move()
        self.service(dual_stack=False, publish_not_ready=False, slice_size=100)
        self.scale("worker", workers)

    def seen(self) -> dict[str, int]:
        """Return how many lists and watches the API server was asked for."""
        return dict(self.api.seen)

    # --- pods

    def _pods(self) -> list[Pod]:
        return [pod for workload in self.workloads.values() for pod in workload.pods.values()]

    def _pods_of(self, name: str) -> list[Pod]:
        return list(self.workloads[name].pods.values()) if name in self.workloads else []

    def _pod(self, name: str) -> Pod:
        return next(pod for pod in self._pods() if pod.name == name)

    def _delete_by_api(self, name: str, grace: int) -> None:
        self._pod(name).delete(force=grace == 0)

    def _spawn(self, name: str, template: Template, on_change: Any) -> Pod:
        def changed(pod: Pod) -> None:
            if not self._stopping:
                self._publish(pod)
                on_change(pod)
                self._sync(template.role)

        self._addresses += 1
        number, process = self._addresses, os.getpid()
        address = f"127.{1 + process // 256 % 120}.{process % 256}.{number % 254 + 1}"
        pod = Pod(name, template, address, self.folder, changed)
        pod.address6 = f"fd00::{number:x}"
        self.store.create("pods", as_object(pod))
        asyncio.get_running_loop().call_soon(self._sync, template.role)
        life = asyncio.get_running_loop().create_task(self._live(pod), name=name)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return pod

    async def _live(self, pod: Pod) -> None:
        """Run a pod; a balancer with its forwarder."""
        peers = self._peers
        if peers is not None and peers.fronted and pod.template.role == "lb":
            async with self._links.fronting(pod.address, peers.port):
                await pod.run()
        else:
            await pod.run()

    def _publish(self, pod: Pod) -> None:
        present = self.store.get("pods", NAMESPACE, pod.name)
        if present is None or present["metadata"]["uid"] != pod.uid:
            return
        if pod.removed:
            self.store.delete("pods", NAMESPACE, pod.name)
        else:
            self.store.update("pods", as_object(pod))

    def _members(self) -> list[Member]:
        """All who stand behind the workers' Service."""
        return [*self._pods_of("worker"), *self.crowd_now.members.values()]

    def _sync(self, name: str) -> None:
        members = self._members() if name == "worker" else self._pods_of(name)
        for service in (self._services.get(name), self._admin.get(name)):
            if service is not None:
                service.sync(members)

    def _proxy(self, change: Change) -> None:
        """Be kube-proxy: follow the slices of the balancers' Service."""
        if change.resource != "endpointslices":
            return
        service = change.object["metadata"]["labels"]["kubernetes.io/service-name"]
        if service == "lb" or service in self._admin:
            asyncio.get_running_loop().call_later(PROXY_LAG, self._write_targets, service)

    def _write_targets(self, name: str) -> None:
        targets = self._targets_of(name)
        new = targets.with_suffix(".new")
        new.write_text(self._ready_targets(name))
        new.replace(targets)

    def _targets_of(self, name: str) -> Path:
        return self.targets if name == "lb" else self.folder / f"targets-{name}"

    def _ready_targets(self, name: str) -> str:
        ready = [pod for pod in self._pods_of(name) if pod.ready and not pod.terminating]
        return "".join(f"{pod.address}:{pod.port}\n" for pod in ready)

    def _settled(self, name: str) -> bool:
        """Whether a workload is as wanted; a balancer, once new connections find it, too."""
        if not self.workloads[name].settled:
            return False
        if name != "lb" and name not in self._admin:
            return True
        targets = self._targets_of(name)
        found = targets.read_text() if targets.exists() else ""
        return found == self._ready_targets(name)

    # --- templates

    def _worker_template(self) -> Template:
        return worker(self._port, self._task_seconds, refuses=self._refusing)

    def _balancer_template(self) -> Template:
        environment = self._environment | {
            "KUBECONFIG": str(self.kubeconfig),
            "LEASTWISE_NAMESPACE": NAMESPACE,
        }
        return balancer(
            self._port, self.folder, self._pool, environment, self._peers, self._program
        )


def _of(service: str) -> dict[str, str]:
    return {"kubernetes.io/service-name": service}
