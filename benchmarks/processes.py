"""Servers as child processes, and what the kernel says of them: CPU time and memory.

A server's figures are those of its whole process tree, so that nginx's master counts with its
worker.
"""

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic, sleep

from benchmarks.machine import on_cores

_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time that was spent, in seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.system

    def since(self, before: "Cpu") -> "Cpu":
        """Return what was spent since `before`."""
        return Cpu(self.user - before.user, self.system - before.system)

    def scaled(self, by: float) -> "Cpu":
        """Return it in another unit, or shared out."""
        return Cpu(self.user * by, self.system * by)

    def fitted(self, total: float) -> "Cpu":
        """Return the same split of another total: ticks are coarse, the scheduler's clock is not.

        The kernel's user and system times are sampled in ticks of 10 ms; how long a process ran
        at all is known to the nanosecond.
        """
        share = self.user / self.total if self.total else 0.5
        return Cpu(total * share, total * (1 - share))


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server that listens on a port of the loopback interface."""

    name: str
    command: list[str]
    port: int
    environ: Mapping[str, str] | None = None
    admin_port: int = 0
    """Of leastwise."""


class Process:
    """A running server."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        return [self._pid, *map(int, children)]

    def cpu(self) -> tuple[Cpu, float]:
        """Return the CPU time by the ticks, and the time it ran by the scheduler's clock."""
        user = system = ran = 0.0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11]) / _TICKS
            system += int(fields[12]) / _TICKS
            for task in Path(f"/proc/{pid}/task").iterdir():
                ran += int((task / "schedstat").read_text().split()[0]) / 1e9
        return Cpu(user, system), ran

    def rss(self) -> int:
        """Return the resident memory, in bytes. The kernel's own is not in it."""
        return sum(_kib(f"/proc/{pid}/smaps_rollup", "Rss") for pid in self._pids()) * 1024

    def forget_peak(self) -> None:
        """Count the peak anew from now on."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_rss(self) -> int:
        """Return the most resident memory since `forget_peak`, in bytes."""
        return sum(_kib(f"/proc/{pid}/status", "VmHWM") for pid in self._pids()) * 1024


def _kib(path: str, key: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"{path} has no {key}")


class Meter:
    """CPU time of a process from the meter's beginning on."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._before, self._ran = process.cpu()

    def read(self) -> Cpu:
        """Return what was spent since the beginning."""
        now, ran = self._process.cpu()
        return now.since(self._before).fitted(ran - self._ran)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    """Say whether somebody listens on a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(server: Server, cores: AbstractSet[int]) -> Iterator[Process]:
    """Run a server on `cores` until the end of the block. Raises RuntimeError if it fails."""
    environ = None if server.environ is None else os.environ | server.environ
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        with on_cores(cores):
            process = subprocess.Popen(server.command, stdout=log, stderr=log, env=environ)
        try:
            _await(server, process)
            yield Process(process.pid)
        except BaseException as error:
            log.seek(0)
            if said := log.read()[-2000:]:
                error.add_note(f"{server.name} said: {said}")
            raise
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await(server: Server, process: "subprocess.Popen[bytes]") -> None:
    deadline = monotonic() + _START_SECONDS
    while not answers(server.port):
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} ended with code {process.returncode}")
        if monotonic() > deadline:
            raise RuntimeError(f"{server.name} does not listen after {_START_SECONDS:g} s")
        sleep(0.02)
