"""The demo's processes: started, told apart, and all gone at the end.

`Fleet` starts them into one process group with a warden in it (see `warden`). Leaving its `with`
kills what is left of them, also after Ctrl-C and after any error. A process that ends unasked is
an error: `watch` raises it with what the process had to say.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import app

PATIENCE = 30.0
"""Seconds that a process may take to listen, or to end, on a machine that is busy."""

_LOOK = 0.25
_TAIL = 2000
_PORTS = range(20_000, 30_000)
"""Below the ports that kernels give to clients: nobody takes a dead worker's meanwhile, and a
connect to it cannot meet itself."""


class ProcessFailedError(Exception):
    """A process of the demo did not start, or ended unasked."""


@dataclass(eq=False)
class Child:
    """One process."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    ended: bool = False
    """Whether its end was asked for."""

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; after one that ends it, its end is no error."""
        self.ended = self.ended or number in {signal.SIGKILL, signal.SIGTERM}
        self.process.send_signal(number)

    async def listening(self) -> dict[str, Any]:
        """Wait for the line that tells it listens. Raises ProcessFailedError."""
        stdout = self.process.stdout
        if stdout is None:
            raise AssertionError
        try:
            async with asyncio.timeout(PATIENCE):
                line = await asyncio.to_thread(stdout.readline)
        except TimeoutError:
            raise ProcessFailedError(f"{self.name} does not listen. {self._said()}") from None
        if not line:
            raise ProcessFailedError(f"{self.name} did not start. {self._said()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def check(self) -> None:
        """See that it runs, unless its end was asked for. Raises ProcessFailedError."""
        code = self.process.poll()
        if code is not None and not self.ended:
            raise ProcessFailedError(f"{self.name} has ended with {code}. {self._said()}")

    def _said(self) -> str:
        text = self.log.read_text(errors="replace")[-_TAIL:].strip()
        return f"It said:\n{text}" if text else "It said nothing."


class Fleet:
    """All processes of one run. Their logs go to files in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []
        self._warden: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._warden = self._open("warden", "app.demo.warden", [], group=0)
        stdout = self._warden.stdout
        if stdout is None or stdout.readline() != "ready\n":
            self._end()
            raise ProcessFailedError("the warden did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        """Start `python -m module arguments`."""
        if self._warden is None:
            raise AssertionError
        process = self._open(name, module, arguments, group=self._warden.pid)
        child = Child(name, process, self._log(name))
        self._children.append(child)
        return child

    async def watch(self) -> None:
        """Look after the processes until cancelled. Raises ProcessFailedError."""
        while True:
            for child in self._children:
                child.check()
            await asyncio.sleep(_LOOK)

    async def stop(self, *names: str) -> None:
        """Ask those of these names to end, and wait for it. Raises ProcessFailedError."""
        ending = [child for child in self._children if child.name in names and child.runs]
        for child in ending:
            child.signal(signal.SIGTERM)
        deadline = monotonic() + PATIENCE
        while remaining := [child.name for child in ending if child.runs]:
            if monotonic() > deadline:
                raise ProcessFailedError(f"{', '.join(remaining)} did not end")
            await asyncio.sleep(0.02)

    # --- inside

    def _open(
        self, name: str, module: str, arguments: Sequence[str], *, group: int
    ) -> subprocess.Popen[str]:
        # -P and PYTHONPATH: this very package, whatever lies in the working directory.
        root = str(Path(app.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        ours = {k: v for k, v in os.environ.items() if not k.upper().startswith("LEASTWISE_")}
        with self._log(name).open("a") as log:
            return subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE if group == 0 else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=ours | {"PYTHONPATH": path},
                process_group=group,
            )

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _end(self) -> None:
        """Kill what is left: the warden's stdin ends, and it kills its group."""
        warden = self._warden
        if warden is None:
            return
        if warden.stdin is not None:
            warden.stdin.close()
        for process in (warden, *(child.process for child in self._children)):
            if process is not warden:
                process.kill()  # so that it does not hang on the warden alone
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def free_addresses(count: int) -> list[tuple[str, int]]:
    """Choose an address for each worker: of its own where the system has them, as on Linux."""
    chosen: list[tuple[str, int]] = []
    for number in range(count):
        host = f"127.0.0.{number + 2}"
        if not _free(host, 0):
            host = "127.0.0.1"
        ports = random.sample(_PORTS, len(_PORTS))
        port = next((p for p in ports if (host, p) not in chosen and _free(host, p)), None)
        if port is None:
            raise ProcessFailedError(f"no free port on {host}")
        chosen.append((host, port))
    return chosen


def _free(host: str, port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((host, port))
        except OSError:
            return False
        return True
