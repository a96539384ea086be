"""The kubelet's part: a pod is one process on an address of its own.

`Pod.run` is the pod's whole life, from its first start to its removal. What always holds, as in
Kubernetes: a container that ends is started again, at once the first time and then after growing
pauses, and keeps the pod's UID and address; a pod that is deleted is terminating in the API at
once, then comes preStop, then SIGTERM, then the end or SIGKILL, and only then it leaves the API;
one that is deleted with force leaves the API first. The end of a container is noticed with a
delay, and its readiness is what the last probe said.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PROBE_TIMEOUT = 1.0
_PARTING = 0.05
"""Between a container's end and its pod's removal from the API."""

_FORCED = 0.1
"""How long a process outlives its pod after a forced deletion."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a pod runs, and when it is what. All durations are in seconds."""

    role: str
    """The label `app`, which the Service selects by."""

    arguments: Callable[["Pod"], Sequence[str]]
    """For `python`."""

    port: int
    probe_port: int
    probe_path: str
    pre_stop: float
    grace: float
    """From the deletion to SIGKILL, preStop included."""

    environment: Mapping[str, str] = field(default_factory=dict)
    downward: Callable[["Pod"], Mapping[str, str]] | None = None
    """The variables that say something of the pod itself; `environment` wins over them."""

    probe_period: float = 0.25
    notice: float = 0.3
    """From a container's end to its being told; 270 to 390 ms were seen on a real cluster."""

    backoff: float = 0.5
    """Before the second restart, doubled for each further one."""

    backoff_max: float = 4.0
    revision: int = 1


class Pod:
    """One pod. `on_change` is called after each change that the API shows."""

    def __init__(
        self,
        name: str,
        template: Template,
        address: str,
        folder: Path,
        on_change: Callable[["Pod"], None],
    ) -> None:
        self.name = name
        self.uid = str(uuid.uuid4())
        self.template = template
        self.address = address
        self.address6 = ""
        self.ready = False
        self.terminating = False
        self.removed = False
        """Whether it has left the API."""

        self.restarts = 0
        self.probe_fails = False
        """Set by the tests: the readiness probe is taken for failed, whatever it says."""

        self.restart_after: float | None = None
        """Set by the tests: seconds from the notice of a container's end to its next start, in
        place of the backoff; for one time."""

        self.process: asyncio.subprocess.Process | None = None
        self._folder = folder
        self._on_change = on_change
        self._deleted = asyncio.Event()
        self._forced = False

    @property
    def port(self) -> int:
        return self.template.port

    @property
    def pid(self) -> int | None:
        """The process id, while the process runs."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def journal(self) -> Path:
        """Where its present container writes down its counts."""
        return self._folder / f"{self.name}.{self.uid[:8]}.{self.restarts}.journal"

    def delete(self, *, force: bool) -> None:
        """Begin its end."""
        if force:
            self._forced = self.removed = True
        self._deleted.set()
        if not self.terminating:
            self.terminating = True
            self._on_change(self)

    def kill(self, number: signal.Signals) -> bool:
        """Send its process a signal; return whether there was one."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended, and we are about to be told
            return False
        return True

    async def run(self) -> None:
        """Live until deleted and gone."""
        containers = asyncio.create_task(self._containers())
        probes = asyncio.create_task(self._probes())
        try:
            await self._deleted.wait()
            if self._forced:
                await asyncio.sleep(_FORCED)
            else:
                await self._stop()
        finally:
            containers.cancel()
            self.kill(signal.SIGKILL)
            await asyncio.wait((containers,))
            probes.cancel()
            await asyncio.wait((probes,))
            if not self.removed:
                self._set_ready(ready=False)
                await asyncio.sleep(_PARTING)
                self.removed = True
                self._on_change(self)

    # --- inside

    async def _stop(self) -> None:
        """Run preStop and the process's own way out, as long as the grace lasts."""
        try:
            async with asyncio.timeout(self.template.grace):
                await self._unless_forced(self.template.pre_stop)
                self.kill(signal.SIGTERM)
                while self.pid is not None and not self._forced:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass

    async def _unless_forced(self, seconds: float) -> None:
        """Sleep, in steps: a deletion with force may come while this one runs."""
        for _ in range(round(seconds / 0.05)):
            if not self._forced and self.pid is not None:
                await asyncio.sleep(0.05)

    async def _containers(self) -> None:
        """Start the process, and again whenever it ends."""
        while True:
            log = self._folder / f"{self.name}.{self.uid[:8]}.log"
            with log.open("ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *self.template.arguments(self),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment(),
                )
            try:
                await self.process.wait()
            except asyncio.CancelledError:
                self.kill(signal.SIGKILL)
                await self.process.wait()
                raise
            await asyncio.sleep(self.template.notice)
            self._set_ready(ready=False)
            if self.terminating:
                return
            await asyncio.sleep(self._pause())
            self.restarts += 1
            self._on_change(self)

    def _environment(self) -> dict[str, str]:
        downward = self.template.downward
        return {**(downward(self) if downward else {}), **self.template.environment}

    def _pause(self) -> float:
        """Return the seconds until the container is started again."""
        wanted, self.restart_after = self.restart_after, None
        if wanted is not None:
            return wanted
        if not self.restarts:
            return 0.0
        return min(self.template.backoff * 2.0 ** (self.restarts - 1), self.template.backoff_max)

    async def _probes(self) -> None:
        """Ask for its readiness, with a threshold of 1 either way."""
        while True:
            if self.pid is not None:
                # The answer of a container that has ended meanwhile is void.
                ready = not self.probe_fails and await self._passes()
                self._set_ready(ready=ready and self.pid is not None)
            await asyncio.sleep(self.template.probe_period)

    async def _passes(self) -> bool:
        template = self.template
        request = f"GET {template.probe_path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                reader, writer = await asyncio.open_connection(self.address, template.probe_port)
                try:
                    writer.write(request.encode())
                    head = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return head.startswith(b"HTTP/1.1 2")

    def _set_ready(self, *, ready: bool) -> None:
        if self.ready != ready and not self.removed:
            self.ready = ready
            self._on_change(self)
