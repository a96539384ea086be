"""What the pods of the simulated cluster run: the chart's pods, with their times scaled down."""

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.e2e.sim.links import behind
from tests.e2e.sim.pods import Pod, Template
from tests.e2e.sim.slices import NODE
from tests.e2e.sim.store import Object

NAMESPACE = "leastwise"
CAP = 4


def worker(
    port: int, task_seconds: float, role: str = "worker", *, refuses: bool = True
) -> Template:
    """Return the chart's worker: preStop is its delay, and its grace is a task's time and more.

    One that does not refuse takes whatever comes, so that a passed cap shows in its own count.
    """
    limit = ["--max-in-flight", str(CAP)] if refuses else []

    def arguments(pod: Pod) -> Sequence[str]:
        return [
            "-m", "app", "worker",
            "--host", pod.address, "--port", str(port), "--name", pod.name,
            "--task-seconds", str(task_seconds), *limit,
            "--drain-seconds", "0", "--journal", str(pod.journal),
        ]  # fmt: skip

    return Template(
        role=role,
        arguments=arguments,
        port=port,
        probe_port=port,
        probe_path="/readyz",
        pre_stop=0.5,
        grace=10.0 + task_seconds,
        environment=_environment(),
    )


@dataclass(frozen=True, slots=True)
class Peers:
    """How the balancers act as one."""

    lease: str
    secret_file: Path
    port: int
    fronted: bool
    """Whether a forwarder of `Links` has the pod's own address."""

    def variables(self, pod: Pod) -> dict[str, str]:
        """Return what the chart sets, some of it by the downward API."""
        listening = behind(pod.address) if self.fronted else pod.address
        return {
            "LEASTWISE_PEERS": self.lease,
            "LEASTWISE_PEER_LISTEN": f"{listening}:{self.port}",
            "LEASTWISE_PEER_SECRET_FILE": str(self.secret_file),
            "LEASTWISE_POD_NAME": pod.name,
            "LEASTWISE_POD_UID": pod.uid,
            "LEASTWISE_POD_IP": pod.address,
        }


def balancer(
    port: int,
    folder: Path,
    spec: Object,
    environment: Mapping[str, str],
    peers: Peers | None = None,
    program: str = "app",
) -> Template:
    """Return the chart's balancer with that pool: its only delay is its own.

    `program` is the module that is run, as in an image of another release.
    """

    def arguments(pod: Pod) -> Sequence[str]:
        config = folder / f"{pod.name}.yaml"
        config.write_text(yaml.safe_dump({"metadata": {"name": "sim"}, "spec": spec}))
        return [
            "-m", program, "serve", "--config", str(config), "--drain-delay", "0.6",
            "--listen", f"{pod.address}:{port}", "--admin-listen", f"{pod.address}:{port + 1}",
        ]  # fmt: skip

    return Template(
        role="lb",
        arguments=arguments,
        port=port,
        probe_port=port + 1,
        probe_path="/readyz",
        pre_stop=0.0,
        grace=60.0,
        environment=_environment() | dict(environment),
        downward=peers.variables if peers else None,
    )


def following_balancer(name: str, port: int, environment: Mapping[str, str]) -> Template:
    """Return the chart's balancer as it follows WorkerPools."""

    def arguments(pod: Pod) -> Sequence[str]:
        return [
            "-m", "app", "serve", "--balancer", name, "--drain-delay", "0.6",
            "--listen", f"{pod.address}:{port}", "--admin-listen", f"{pod.address}:{port + 1}",
        ]  # fmt: skip

    return Template(
        role=name,
        arguments=arguments,
        port=port,
        probe_port=port + 1,
        probe_path="/readyz",
        pre_stop=0.0,
        grace=60.0,
        environment=_environment() | dict(environment),
    )


def operator(name: str, port: int, environment: Mapping[str, str]) -> Template:
    """Return the chart's operator of that balancer."""

    def arguments(pod: Pod) -> Sequence[str]:
        liveness = f"{pod.address}:{port}"
        return ["-m", "app", "operator", "--balancer", name, "--liveness-listen", liveness]

    return Template(
        role=f"{name}-operator",
        arguments=arguments,
        port=port,
        probe_port=port,
        probe_path="/healthz",
        pre_stop=0.0,
        grace=10.0,
        environment=_environment() | dict(environment),
    )


def _environment() -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("LEASTWISE_", "KUBE"))}
    return ours | {"PYTHONUNBUFFERED": "1"}


def as_object(pod: Pod) -> Object:
    """Return the pod as the API shows it."""
    metadata: Object = {
        "name": pod.name,
        "namespace": NAMESPACE,
        "uid": pod.uid,
        "labels": {"app": pod.template.role},
    }
    if pod.terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        metadata["deletionGracePeriodSeconds"] = round(pod.template.grace)
    ready = "True" if pod.ready else "False"
    containers = [{"name": pod.template.role, "ready": pod.ready, "restartCount": pod.restarts}]
    status = {
        "phase": "Running",
        "podIP": pod.address,
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": containers,
    }
    return {"metadata": metadata, "spec": {"nodeName": NODE}, "status": status}


def unused_port() -> int:
    """Return a port that nobody has on any address, nor the two after it.

    Below the ports that kernels give to clients.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            for number in (port, port + 1, port + 2):
                with socket.socket() as sock:
                    sock.bind(("0.0.0.0", number))
        except OSError:
            continue
        return port
