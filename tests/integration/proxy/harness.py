"""A balancer on real sockets, with workers and clients that do what the test says.

A `Scene` runs a real `Balancer` in the test's loop. A test reads as a script for all sides: the
client sends, the worker takes the request from its connection and answers, the client reads. At
its end everything must be back to nothing: counts, queue, connections, deadlines.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
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
from tests.integration.proxy.wire import LIMIT, Request, Truncated, Wire

T = TypeVar("T")
ANYWHERE = AddressPort("127.0.0.1", 0)
Handler = Callable[[Wire, Request], Awaitable[None]]


async def eventually(predicate: Callable[[], object], what: str = "") -> None:
    """Wait until `predicate` is true."""
    try:
        async with asyncio.timeout(LIMIT):
            while not predicate():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT:g} s: {what or predicate}") from None


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


class ScriptedWorker:
    """A listening socket, and the connections on which something came.

    The balancer's own checks connect, say nothing and leave: they are only counted.
    """

    def __init__(self, host: str = "127.0.0.1", *, receive_buffer: int | None = None) -> None:
        self.host, self._receive_buffer = host, receive_buffer
        self.port = 0
        self.accepted = 0
        """TCP connections, checks included."""

        self.spoken = 0
        """Connections on which a request came."""

        self._wires: list[Wire] = []
        self._ready: asyncio.Queue[Wire] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.listen()

    def listen(self) -> None:
        """Listen; after `refuse`, on the same port."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        listening.bind((self.host, self.port))
        listening.listen(1024)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._accepting = self._spawn(self._accept(listening))

    async def refuse(self) -> None:
        """Stop listening: connects are refused from now on."""
        self._accepting.cancel()
        await asyncio.wait({self._accepting})
        self._listening.close()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def waiting(self) -> int:
        """How many connections with a request nobody has taken up."""
        return self._ready.qsize()

    async def connection(self) -> Wire:
        """Wait for the next connection on which something comes."""
        async with asyncio.timeout(LIMIT):
            return await self._ready.get()

    async def request(self) -> tuple[Wire, Request]:
        """Wait for the next connection and read its first request."""
        wire = await self.connection()
        return wire, await wire.request()

    def serve(self, handler: Handler) -> None:
        """Give each request on each connection to `handler`, instead of to the test."""
        self._spawn(self._serve(handler))

    async def aclose(self) -> None:
        """Close everything. Raises what a handler raised."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listening.close()
        for wire in self._wires:
            wire.close()
        errors = [error for error in ended if isinstance(error, Exception)]
        if errors:
            raise ExceptionGroup("in a worker", errors)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listening)
            self.accepted += 1
            wire = Wire(sock)
            self._wires.append(wire)
            self._spawn(self._listen_to(wire))

    async def _listen_to(self, wire: Wire) -> None:
        readable = asyncio.Event()
        loop, descriptor = asyncio.get_running_loop(), wire.sock.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        with contextlib.suppress(ConnectionResetError):
            if wire.sock.recv(1, socket.MSG_PEEK):
                self.spoken += 1
                self._ready.put_nowait(wire)

    async def _serve(self, handler: Handler) -> None:
        while True:
            self._spawn(self._serve_one(await self._ready.get(), handler))

    async def _serve_one(self, wire: Wire, handler: Handler) -> None:
        with contextlib.suppress(ConnectionError, Truncated, TimeoutError):
            while wire.sock.fileno() >= 0 and (wire.held or await wire.more()):
                await handler(wire, await wire.request())
        wire.close()


@asynccontextmanager
async def silent(worker: ScriptedWorker) -> AsyncIterator[None]:
    """Let connects to the worker get no answer: its backlog is full."""
    await worker.refuse()
    with socket.socket() as listening, socket.socket() as filler:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((worker.host, worker.port))
        listening.listen(0)  # room for one
        filler.connect(listening.getsockname())
        yield


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
        connections = self.proxy.connections
        await eventually(
            lambda: connections.open == sum(map(len, connections._idle.values())),
            "only idle worker connections",
        )
        assert not self.proxy.hangups._callbacks

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
            await eventually(lambda: scene.proxy.connections.open == 0, "no worker connection")
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
