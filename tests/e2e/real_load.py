"""The load on a real cluster: a Job that runs `loadgen`, and tells in its log."""

from pathlib import Path
from typing import Any

from tests.e2e.interface import Request, Workers, parse_load
from tests.e2e.kubectl import Kubectl

_ENOUGH = "import os, signal; os.kill(1, signal.SIGTERM)"


class RealLoad:
    """`Load`, as the Job of that name."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl, self._name = kubectl, name
        self.workers: Workers = {}

    async def begin(self, the_job: dict[str, Any]) -> None:
        """Apply the Job, and the ConfigMap with what it runs."""
        script = (Path(__file__).parent / "loadgen.py").read_text()
        metadata, data = {"name": self._name}, {"loadgen.py": script}
        await self._kubectl.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
        await self._kubectl.apply(the_job)

    def look(self) -> str:
        """Return how the Job is and the end of what it told, for a test that failed. Blocks."""
        name = f"job/{self._name}"
        pods = f"--selector=batch.kubernetes.io/job-name={self._name}"
        commands = (("describe", name), ("describe", "pods", pods), ("logs", name, "--tail=2000"))
        return "\n".join(self._kubectl.look(*command) for command in commands)

    async def runs(self) -> bool:
        """Whether its pod has started. Fails if it has ended."""
        status = (await self._kubectl.get("job", self._name))["status"]
        assert not status.get("failed"), await self._kubectl("logs", f"job/{self._name}")
        return bool(status.get("ready"))

    async def requests(self) -> list[Request]:
        log = await self._kubectl("logs", f"job/{self._name}", "--tail=-1")
        requests, workers = parse_load(log)
        self.workers = workers
        return requests

    async def stop(self) -> list[Request]:
        pods = await self._kubectl.get(
            "pods", f"--selector=batch.kubernetes.io/job-name={self._name}"
        )
        await self._kubectl.python(pods["items"][0]["metadata"]["name"], _ENOUGH)
        await self._kubectl(
            "wait", "--for=condition=complete", f"job/{self._name}", "--timeout=150s", limit=180
        )
        return await self.requests()


def job(name: str, image: str, arguments: list[str]) -> dict[str, Any]:
    """Return the Job, fit for a namespace that enforces the restricted profile."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "load",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-u", "/load/loadgen.py", *arguments],
        "securityContext": security,
        "volumeMounts": [{"name": "load", "mountPath": "/load", "readOnly": True}],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "load", "configMap": {"name": name}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
