"""A worker in the test's own process, which does what no well-behaved one would."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.integration.process.harness import free_host

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

EVENT = b"data: tick\n\n"


@asynccontextmanager
async def stub(behave: Behave) -> AsyncIterator[str]:
    """Serve each connection with `behave`; yields the address."""
    host = free_host()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await behave(reader, writer)
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass  # the balancer was first, or the test is over
        finally:
            serving.discard(task)
            writer.close()

    async with await asyncio.start_server(serve, host, 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield f"{host}:{port}"
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


async def events_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with server-sent events until the connection ends."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        writer.write(EVENT)
        await writer.drain()
        await asyncio.sleep(0.02)
