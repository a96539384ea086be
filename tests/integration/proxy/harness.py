"""A balancer on real sockets, with workers and clients that do what the test says.

A `Scene` runs a real `Balancer` in the test's loop. A test reads as a script for all sides: the
client sends, the worker takes the request from its connection and answers, the client reads. At
its end everything must be back to nothing: counts, queue, connections, deadlines.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from app.balancing.endpoint import Endpoint
from app.balancing.pool import Pool
from app.config.addresses import AddressPort
from app.config.loading import load_pool
from app.config.settings import Settings
from app.proxy.downstream import Downstream
from app.proxy.proxy import Proxy
from app.runtime import balancer as runtime
from app.runtime.balancer import Balancer
from tests.integration.proxy.wire import Wire
from tests.integration.proxy.workers import ScriptedWorker
from tests.integration.waiting import LIMIT, eventually

T = TypeVar("T")
ANYWHERE = AddressPort("127.0.0.1", 0)


def narrow(downstream: Downstream) -> None:
    """Let the kernel hold little of what is written to the client, so that our buffer has to."""
    sock = downstream.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


async def hold_back(client: Wire, downstream: Downstream) -> None:
    """Send until the balancer reads no more: the worker reads nothing."""

    def held_back() -> bool:
        client.push(bytes(65536))
        return downstream._paused

    await eventually(held_back, "the client is held back")


class Scene:
    """A running balancer, its workers and its clients."""

    def __init__(self, balancer: Balancer, workers: list[ScriptedWorker]) -> None:
        self.balancer = balancer
        self.workers = workers
        self.clients: list[Wire] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def worker(self) -> ScriptedWorker:
        """The only worker."""
        (worker,) = self.workers
        return worker

    @property
    def pool(self) -> Pool:
        return self.balancer.pool

    @property
    def proxy(self) -> Proxy:
        return self.balancer.proxy

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.balancer.ports[0]

    def endpoint(self, worker: ScriptedWorker | None = None) -> Endpoint:
        return self.pool.endpoints[(worker or self.worker).address]

    async def client(self, *, receive_buffer: int | None = None) -> Wire:
        """Connect a client."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wire = Wire(sock)
        self.clients.append(wire)
        async with asyncio.timeout(LIMIT):
            await asyncio.get_running_loop().sock_connect(sock, self.address)
        return wire

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something beside the test, which is to wait for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        return task

    async def chosen(self) -> ScriptedWorker:
        """Wait until one of the workers has a new connection with a request."""
        await eventually(lambda: any(worker.waiting for worker in self.workers), "a connection")
        (chosen,) = (worker for worker in self.workers if worker.waiting)
        return chosen

    async def downstream(self) -> Downstream:
        """Wait for the only client's connection, as the balancer has it."""
        await self.accepted(1)
        (downstream,) = self.proxy.downstreams
        return downstream

    async def accepted(self, count: int) -> None:
        """Wait until so many clients are connected, as the balancer sees it."""
        await eventually(lambda: len(self.proxy.downstreams) == count, f"{count} clients")

    async def queued(self, count: int) -> None:
        """Wait until so many requests are in the queue."""
        await eventually(lambda: self.pool.queued == count, f"{count} in the queue")

    async def in_flight(self, count: int) -> None:
        """Wait until so many requests hold a slot."""
        await eventually(lambda: self.pool.in_flight == count, f"{count} in flight")

    def healthy(self) -> bool:
        """Whether nothing that happened is held against a worker."""
        return all(
            endpoint.failed == endpoint.connect_errors == endpoint.health.failures == 0
            for endpoint in self.pool.endpoints.values()
        )

    async def empty(self) -> None:
        """Wait until no request and no client is left."""
        await self.queued(0)
        await self.in_flight(0)
        await self.accepted(0)
        assert all(endpoint.in_flight == 0 for endpoint in self.pool.endpoints.values())
        connections = self.proxy.backend.connections
        await eventually(
            lambda: connections.open == sum(map(len, connections._idle.values())),
            "only idle worker connections",
        )
        assert not self.proxy.hangups._callbacks
        assert self.proxy.replays.held == 0

    async def clear(self, running: asyncio.Task[None]) -> None:
        """Close everything, whatever state it is in."""
        for task in self.tasks | {running}:
            task.cancel()
        await asyncio.gather(*self.tasks, running, return_exceptions=True)
        for client in self.clients:
            client.close()
        async with AsyncExitStack() as workers:
            for worker in self.workers:
                workers.push_async_callback(worker.aclose)


class Stage:
    """Sets scenes: `async with stage(workers=2, maxInFlight=1) as scene`.

    Keywords are those of the pool's spec; `settings` those of the process.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = directory / "pool.yaml"
        monkeypatch.setattr(runtime, "create_app", lambda view: None)
        monkeypatch.setattr(runtime, "AdminServer", NoAdmin)

    @asynccontextmanager
    async def __call__(
        self,
        workers: int | list[ScriptedWorker] = 1,
        *,
        settings: dict[str, Any] | None = None,
        **spec: Any,
    ) -> AsyncIterator[Scene]:
        ours = [ScriptedWorker() for _ in range(workers)] if isinstance(workers, int) else workers
        # Idle connections are kept for longer than any test, so that none goes by itself.
        spec["timeouts"] = {"idle": "600s"} | spec.get("timeouts", {})
        pool = {"endpoints": [worker.address for worker in ours]} | spec
        self._file.write_text(yaml.safe_dump({"spec": pool}))
        given = {"listen": ANYWHERE, "admin_listen": ANYWHERE} | (settings or {})
        balancer = Balancer(Settings(config=self._file, **given), load_pool(self._file))
        running = asyncio.get_running_loop().create_task(balancer.run())
        scene = Scene(balancer, ours)
        try:
            await eventually(lambda: running.done() or not balancer.unready(), "readiness")
            yield scene
            for client in scene.clients:
                client.close()
            await scene.empty()
            balancer.stop()
            async with asyncio.timeout(LIMIT):
                await running
            connections = scene.proxy.backend.connections
            await eventually(lambda: connections.open == 0, "no worker connection")
            assert not any(scene.proxy.deadlines._slots.values()), "nothing waits for its deadline"
        finally:
            await scene.clear(running)


class NoAdmin:
    """In the admin server's place: nobody asks it here, and uvicorn takes a while to stop."""

    def __init__(self, app: object) -> None:
        del app
        self._stop = asyncio.Event()

    async def serve(self, sockets: list[socket.socket]) -> None:
        try:
            await self._stop.wait()
        finally:
            for sock in sockets:
                sock.close()

    @property
    def should_exit(self) -> bool:
        return self._stop.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        assert value
        self._stop.set()
