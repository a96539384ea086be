"""The two ends of a very large body: who sends it and who takes it, each able to stand still.

The body is a pattern whose period is no power of two, so that a byte lost, doubled or displaced is
seen. Framing is read by httptools, which shares no code with the balancer.
"""

import asyncio
from math import inf
from typing import Any, cast

import httptools

_PERIOD = 1_000_003
_PATTERN = bytes(n * n % 251 for n in range(_PERIOD)) * 2
PIECE = 256 * 1024


def piece(position: int, size: int) -> bytes:
    """Return a part of the body; `size` at most the period."""
    start = position % _PERIOD
    return _PATTERN[start : start + size]


class Source:
    """Sends a body as fast as its transport takes it."""

    def __init__(self, size: int, *, chunked: bool) -> None:
        self.sent = 0
        """Bytes given to the transport, which itself holds little."""

        self._size = size
        self._chunked = chunked
        self._flowing = asyncio.Event()
        self._flowing.set()

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    async def run(self, transport: asyncio.Transport) -> None:
        while self.sent < self._size and not transport.is_closing():
            part = piece(self.sent, min(PIECE, self._size - self.sent))
            if self._chunked:
                transport.writelines([b"%x\r\n" % len(part), part, b"\r\n"])
            else:
                transport.write(part)
            self.sent += len(part)
            await self._flowing.wait()
            await asyncio.sleep(0)  # the other end lives in this process, too
        if self._chunked:
            transport.write(b"0\r\n\r\n")


class Sink:
    """Takes a body, checks it, and stands still when it has taken `allowed` bytes."""

    def __init__(self) -> None:
        self.taken = 0
        self.wrong_at: int | None = None
        self.complete = False
        self._allowed = 0.0
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def allow(self, more: float = inf) -> None:
        """Take so many more bytes, roughly."""
        self._allowed = self.taken + more
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def attach(self, transport: asyncio.Transport) -> None:
        """Take from this connection: the first piece in any case, to have begun."""
        self._transport = transport

    # --- called by httptools

    def on_body(self, part: bytes) -> None:
        if self.wrong_at is None and piece(self.taken, len(part)) != part:
            self.wrong_at = self.taken
        self.taken += len(part)
        self._look()

    def on_message_complete(self) -> None:
        self.complete = True

    def _look(self) -> None:
        if self.taken >= self._allowed and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()


class _End(asyncio.Protocol):
    """One end of a connection: what comes goes to a parser, what goes comes from a source."""

    transport: asyncio.Transport

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.parser: Any = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()

    def pause_writing(self) -> None:
        if self.source is not None:
            self.source.pause()

    def resume_writing(self) -> None:
        if self.source is not None:
            self.source.resume()

    def begin(self, head: bytes) -> None:
        self.transport.write(head)
        if self.source is not None:
            task = asyncio.get_running_loop().create_task(self.source.run(self.transport))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


class SlowWorker(_End):
    """A worker for one request: takes its body as it is allowed to, then sends its answer."""

    def __init__(self, sink: Sink, head: bytes, source: Source | None) -> None:
        super().__init__(source)
        self.on_body = sink.on_body
        self.parser = httptools.HttpRequestParser(self)  # asks for the callbacks here
        self._sink = sink
        self._head = head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sink.attach(self.transport)

    def on_message_complete(self) -> None:
        self._sink.on_message_complete()
        self.begin(self._head)


class SlowClient(_End):
    """A client with one request."""

    def __init__(self, head: bytes, sink: Sink, source: Source | None) -> None:
        super().__init__(source)
        self.parser = httptools.HttpResponseParser(sink)
        self._sink = sink
        self._head = head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sink.attach(self.transport)
        self.begin(self._head)
