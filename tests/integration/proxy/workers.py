"""Workers that do what the test says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.integration.proxy.wire import Request, Truncated, Wire
from tests.integration.waiting import LIMIT

Handler = Callable[[Wire, Request], Awaitable[None]]


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

    @contextmanager
    def not_accepting(self) -> Iterator[None]:
        """Leave who connects meanwhile to the kernel."""
        self._accepting.cancel()
        try:
            yield
        finally:
            self._accepting = self._spawn(self._accept(self._listening))

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
