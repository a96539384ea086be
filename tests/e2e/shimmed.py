"""A folder of the PATH with `shim` under each program's name, and what it answers for kubectl."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.e2e import shim
from tests.e2e.interface import WORKERS

SELECTOR = {"app": "x"}


def pod(name: str) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"restartCount": 1}],
        "podIP": "10.0.0.1",
    }
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": status}


def workload(replicas: int, port: int = 8080) -> dict[str, Any]:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), replicas)
    ports = [{"name": "other", "containerPort": 1}, {"name": "http", "containerPort": port}]
    containers = [{"name": "x", "ports": ports}]
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
        "status": {"observedGeneration": 2, **counts},
    }


def service(port: int) -> dict[str, Any]:
    ports = [{"name": "http", "port": port, "targetPort": "http"}]
    return {"spec": {"selector": SELECTOR, "ipFamilies": ["IPv4"], "ports": ports}}


MEMBERS = [
    {"id": "one", "pod": "lb-1", "uid": "uid-lb-1", "address": "10.0.0.1:9001"},
    {"id": "two", "pod": "lb-2", "uid": "uid-lb-2", "address": "10.0.0.2:9001"},
]
LEASE = {
    "metadata": {"annotations": {"leastwise.io/members": json.dumps(MEMBERS)}},
    "spec": {"holderIdentity": "two", "leaseTransitions": 7},
}
REQUEST = {"client": 0, "kept": True, "began": 1.0, "seconds": 0.5, "status": 200, "error": ""}
TOLD = {"name": "worker-0", "pid": 7, "peak": 3, "refused": 2}
BEFORE = TOLD | {"peak": 4, "refused": 9}
"""The pod of that name before, whose process had the same id."""


class Shim:
    """The folder with the programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("kubectl", "helm", "kind", "docker"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -IS\n{Path(shim.__file__).read_text()}")
            program.chmod(0o755)
        (folder / "calls").touch()
        self.fail()
        self.answers = {
            "service worker --output=json": service(8080),
            "service lb --output=json": service(80),
            "lease lb --output=json": LEASE,
            "secret lb-peers --output=json": {"data": {"token": "c2VjcmV0"}},
            "pods --selector=app=x --output=json": {
                "items": [pod(f"worker-{n}") for n in range(WORKERS)]
            },
            "statefulset worker --output=json": workload(WORKERS),
            # The pods' answer is one for both.
            "deployment lb --output=json": workload(WORKERS, port=8000),
            "workers": {"workers": []},
            "log": [REQUEST, {"worker": BEFORE}, {"worker": TOLD}],
        }
        for load in ("load-1", "load-2"):
            pods = f"pods --selector=batch.kubernetes.io/job-name={load} --output=json"
            self.answers[f"job {load} --output=json"] = {"status": {"ready": 1}}
            self.answers[pods] = {"items": [pod(f"{load}-abc")]}
        self.answer()

    def fail(self, *commands: str, code: int = 1) -> None:
        """Let calls that begin so, namespaces left out, fail with this code, and no others."""
        (self.folder / "fail").write_text("\n".join(commands))
        (self.folder / "code").write_text(str(code))

    def answer(self, **more: Any) -> None:
        (self.folder / "answers").write_text(json.dumps(self.answers | more))

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def said(self) -> list[str]:
        """The calls in short: paths and namespaces left out."""
        return [
            re.sub(r"--namespace \S+ |leastwise-e2e-[0-9a-f]{6}|(?<=[ =])/\S+/", "", line)
            for line in (" ".join(call["words"]) for call in self.calls())
        ]
