"""kubectl, helm, kind and docker as subprocesses, each under a time limit."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any


class CommandError(AssertionError):
    """A command failed; the message is what it said. `code`: its exit code, if it came to one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


async def run(
    *command: str, stdin: str = "", limit: float = 120.0, environment: dict[str, str] | None = None
) -> str:
    """Run a command to its end and return its stdout. Raises `CommandError`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    try:
        async with asyncio.timeout(limit):
            out, errors = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandError(f"not within {limit:g} s: {' '.join(command)}") from None
    if process.returncode:
        said = errors.decode(errors="replace").strip()
        message = f"{' '.join(command)}\nended with {process.returncode}: {said}"
        raise CommandError(message, process.returncode)
    return out.decode()


class Kubectl:
    """kubectl and helm in one namespace of one cluster."""

    def __init__(self, namespace: str, kubeconfig: Path | None) -> None:
        self.namespace = namespace
        self._environment = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}

    async def __call__(self, *arguments: str, stdin: str = "", limit: float = 120.0) -> str:
        """Run `kubectl`."""
        command = ("kubectl", "--namespace", self.namespace, *arguments)
        return await run(*command, stdin=stdin, limit=limit, environment=self._environment)

    def look(self, *arguments: str, limit: float = 60.0) -> str:
        """Run `kubectl`, and return what it said, also of what went wrong. Blocks; never raises."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(
                command,
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command)}: {error}\n"
        return done.stdout.decode(errors="replace")

    async def helm(self, *arguments: str, limit: float = 600.0) -> str:
        """Run `helm`."""
        command = ("helm", "--namespace", self.namespace, *arguments)
        return await run(*command, limit=limit, environment=self._environment)

    async def get(self, *what: str) -> dict[str, Any]:
        """Return an object, or a List."""
        found: dict[str, Any] = json.loads(await self("get", *what, "--output=json"))
        return found

    async def apply(self, obj: dict[str, Any]) -> None:
        """Create or change an object."""
        await self("apply", "--server-side", "--filename=-", stdin=json.dumps(obj))

    async def python(self, pod: str, code: str, limit: float = 30.0) -> str:
        """Run some Python in the pod's first container; the image has it, and little else."""
        return await self("exec", pod, "--", "python", "-c", code, limit=limit)

    async def pods_of(self, service: str) -> list[dict[str, Any]]:
        """Return the pods that a Service selects, whatever labels the chart gives them."""
        selector = (await self.get("service", service))["spec"]["selector"]
        terms = ",".join(f"{key}={value}" for key, value in selector.items())
        items: list[dict[str, Any]] = (await self.get("pods", f"--selector={terms}"))["items"]
        return items
