"""Runs the real programs as processes, and ends them whatever happens.

A test gets a `Programs` from its fixture (conftest.py), starts balancers and workers with it, and
asks them over their own ports; `until` is the only way to wait. Each worker has an address of
127.0.0.0/8 to itself, so that it can come back on its old port while connections that went
elsewhere use the same number. Stdout and stderr go to files: nothing blocks on a full pipe, and a
test that failed shows them.
"""

import asyncio
import inspect
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from random import randrange
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

LIMIT = 30.0
"""Seconds that anything may take: a guard against hanging, far above what it takes when busy."""

_LISTENING = re.compile(r"data on port (\d+), admin on port (\d+)")


async def until(
    what: str, check: Callable[[], object], *, limit: float = LIMIT, pause: float = 0.02
) -> None:
    """Ask `check`, a function or a coroutine function, again and again until it says yes."""
    deadline = monotonic() + limit
    while True:
        answer = check()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert monotonic() < deadline, f"not within {limit:g} s: {what}"
        await asyncio.sleep(pause)


def free_host() -> str:
    """Return an address of this machine that nothing else uses."""
    return f"127.{randrange(1, 255)}.{randrange(256)}.{randrange(1, 255)}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server((host, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Program:
    """One process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.name = name
        self.process = process
        self._stdout, self._stderr = folder / f"{name}.stdout", folder / f"{name}.stderr"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def stdout(self) -> str:
        return self._stdout.read_text()

    def stderr(self) -> str:
        return self._stderr.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, limit: float = LIMIT) -> int:
        """Wait for the exit; return its code, negative for a signal's number."""
        try:
            async with asyncio.timeout(limit):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} still runs after {limit:g} s") from None

    async def kill(self) -> None:
        """Kill it as the kernel does for want of memory, and wait until it is gone."""
        if self.running:
            self.process.kill()
        await self.process.wait()

    def alive(self) -> None:
        """Fail, with what it said, if it has ended."""
        assert self.running, f"{self.name} ended with {self.process.returncode}: {self.stderr()}"

    def peak_memory(self) -> int:
        """Return the most bytes that were resident since `forget_peak_memory`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def forget_peak_memory(self) -> int:
        """Begin to look for the peak anew; return what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.peak_memory()


class Worker(Program):
    """`leastwise worker`."""

    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def listens(self) -> bool:
        self.alive()
        return '"listening"' in self.stdout()

    async def status(self) -> dict[str, Any]:
        return await _get_json(f"http://{self.address}/status")


class Balancer(Program):
    """`leastwise serve`."""

    config: Path
    port: int
    admin_port: int

    def read_ports(self) -> bool:
        """Take the ports from the log; return whether they were there."""
        self.alive()
        match = _LISTENING.search(self.stderr())
        if match is not None:
            self.port, self.admin_port = int(match[1]), int(match[2])
        return match is not None

    async def ask(self, path: str, token: str | None = None) -> httpx.Response:
        """Ask the admin port."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LIMIT) as client:
            url = f"http://127.0.0.1:{self.admin_port}{path}"
            return await client.get(url, headers=headers)

    async def view(self) -> dict[str, Any]:
        """Return `/workers`."""
        return await _get_json(f"http://127.0.0.1:{self.admin_port}/workers")

    async def worker(self, address: str) -> dict[str, Any]:
        """Return what `/workers` says of one; empty if it says nothing."""
        found = [w for w in (await self.view())["workers"] if w["address"] == address]
        return found[0] if found else {}

    async def sees(self, what: str, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until `check` of `/workers` is true; return what it was asked."""
        view: dict[str, Any] = {}

        async def is_seen() -> bool:
            nonlocal view
            view = await self.view()
            return check(view)

        await until(f"{self.name} sees {what}", is_seen)
        return view

    async def rotates(self, *addresses: str) -> None:
        """Wait until these workers are in rotation, and no others."""
        wanted = sorted(addresses)
        await self.sees(f"{wanted} in rotation", lambda view: in_rotation(view) == wanted)

    def messages(self) -> list[str]:
        """Return what it has logged, line by line."""
        lines = self.stderr().splitlines()
        return [json.loads(line)["message"] for line in lines if line.startswith("{")]

    def configure(self, spec: dict[str, Any]) -> None:
        """Write the pool's file anew, all at once."""
        write_pool(self.config, spec)


def in_rotation(view: dict[str, Any]) -> list[str]:
    """Return the addresses that `/workers` says are in rotation."""
    return sorted(worker["address"] for worker in view["workers"] if worker["in_rotation"])


def write_pool(path: Path, spec: dict[str, Any]) -> None:
    """Write a pool's file so that no reader sees half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(yaml.safe_dump({"metadata": {"name": "test"}, "spec": spec}))
    beside.replace(path)


async def _get_json(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LIMIT) as client:
        answer = await client.get(url)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


class Programs:
    """The processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        """Variables of the processes, beside those of the tests that are no setting."""

        self.tracebacks = False
        """Whether the log may hold some: those of errors that are handled, at level debug."""

        self._all: list[Program] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for program in self._all:
            await program.kill()
        for program in self._all:  # pytest shows this if the test failed
            print(f"--- {program.name}\n{program.stdout()}{program.stderr()}")
        for program in self._all:
            clean = self.tracebacks or "Traceback" not in program.stderr()
            assert clean, f"{program.name} had an exception"

    async def workers(self, number: int, **flags: object) -> list[Worker]:
        """Start several; `balancer` waits for them, so that all start at once."""
        return [await self._start_new(flags) for _ in range(number)]

    def living(self, address: str) -> list[Worker]:
        """Return the running worker of that address, if there is one."""
        return [
            program
            for program in self._all
            if isinstance(program, Worker) and program.address == address and program.running
        ]

    async def _start_new(self, flags: dict[str, object]) -> Worker:
        host = free_host()
        return await self._start_worker(flags, host, free_port(host))

    async def _start_worker(self, flags: dict[str, object], host: str, port: int) -> Worker:
        given = {"host": host, "port": port, "drain_seconds": 0} | flags
        name = f"worker{len(self._all)}"
        worker = Worker(name, await self._start(name, "worker", *_as_flags(given)), self.folder)
        worker.host, worker.port = host, port
        self._all.append(worker)
        return worker

    async def again(self, worker: Worker, **flags: object) -> Worker:
        """Start a worker anew where one was that has ended."""
        assert not worker.running
        anew = await self._start_worker(flags, worker.host, worker.port)
        await until(f"{anew.name} listens", anew.listens)
        return anew

    async def balancer(self, spec: dict[str, Any], **flags: object) -> Balancer:
        """Start a balancer of this pool; wait until it listens, and the workers started so far."""
        config = self.folder / f"pool{len(self._all)}.yaml"
        write_pool(config, spec)
        balancer = await self.start_balancer(config, **flags)
        await until("the balancer listens", balancer.read_ports)
        for program in self._all:
            if isinstance(program, Worker) and program.running:
                await until(f"{program.name} listens", program.listens)
        return balancer

    async def start_balancer(self, config: Path, *args: str, **flags: object) -> Balancer:
        """Start a balancer, whatever becomes of it."""
        given = {
            "config": config,
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "log_format": "json",
        } | flags
        name = f"balancer{len(self._all)}"
        process = await self._start(name, "serve", *_as_flags(given), *args)
        balancer = Balancer(name, process, self.folder)
        balancer.config = config
        self._all.append(balancer)
        return balancer

    async def _start(self, name: str, *args: str) -> asyncio.subprocess.Process:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LEASTWISE_")}
        with (
            (self.folder / f"{name}.stdout").open("w") as stdout,
            (self.folder / f"{name}.stderr").open("w") as stderr,
        ):
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", "app", *args),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment | self.environment,
            )


def _as_flags(given: dict[str, object]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
