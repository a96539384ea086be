"""One connection to a worker: writes requests, reads responses, one exchange at a time.

Opened and kept by `connections`, used by one `Exchange` or one `Tunnel` at a time; between uses
both are None and anything that comes from the worker spoils the connection. How a response ends
is told to the exchange exactly once: with its last bytes, or by `Exchange.upstream_lost`.
"""

import asyncio
import contextlib
import select
import socket
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from app.balancing.endpoint import Endpoint
from app.balancing.lease import Outcome
from app.http1.bodies import ChunkedDecoder, CloseDecoder, Decoder, LengthDecoder
from app.http1.errors import ProtocolError
from app.http1.fields import NO_NAMES, head_end, without
from app.http1.responses import ResponseHead, parse_response, read_response
from app.proxy.tunnel import Tunnel, join
from app.telemetry.timing import worker_line

if TYPE_CHECKING:
    from app.proxy.connections import Connections
    from app.proxy.exchange import Exchange

_MAX_HEAD: Final = 64 * 1024
_MAX_INTERIM: Final = 32
_READ: Final = 256 * 1024
_WHOLE: Final = 64 * 1024
"""Bytes of a body, by its declared length, up to which an answer is passed on in one piece."""

_SWITCHING: Final = 101
_FINAL: Final = 200
_BODYLESS: Final = frozenset({204, 304})


class Upstream:
    """A connection to one worker."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_connections",
        "_decoder",
        "_due",
        "_head",
        "_interim",
        "_keep_alive",
        "_named",
        "_paused",
        "_poll",
        "_reusable",
        "armed",
        "blocked",
        "endpoint",
        "exchange",
        "idle_for",
        "idle_since",
        "spec",
        "transport",
        "tunnel",
        "worker_line",
    )

    transport: asyncio.Transport

    def __init__(self, connections: "Connections", endpoint: Endpoint) -> None:
        self._connections = connections
        self.endpoint = endpoint
        self.spec = endpoint.spec
        self.worker_line = worker_line(endpoint.name)
        """What an answer says of its worker."""

        self.exchange: Exchange | None = None
        self.tunnel: Tunnel | None = None
        self.idle_since = 0.0
        self.idle_for = inf
        """How long it may be kept idle, in seconds, by the worker's own word."""

        self.blocked = False
        """Whether the worker takes less than we have for it."""

        self.armed = inf
        self._due = inf
        self._closed: asyncio.Future[None] | None = None
        self._buffer = b""
        """Bytes read and not passed on yet: a part of a head, or a part of a short body."""

        self._head: ResponseHead | None = None
        """A short answer's, while the rest of it is awaited. Nothing of it has gone to the client:
        should the worker die now, the request can still be sent to another."""

        self._decoder: Decoder | None = None
        """Follows a response's body that is passed on as it comes."""

        self._interim = 0
        self._keep_alive = False
        self._named = NO_NAMES
        self._paused = False
        self._poll: select.poll | None = None
        self._reusable = False
        """Whether the response was read to its end, and the connection is good for another."""

    # --- used by the exchange

    def begin(self, exchange: "Exchange", data: bytes, now: float) -> None:
        """Take on an exchange and write the first bytes of its request."""
        self.exchange = exchange
        self._interim = 0
        self._reusable = False
        due = exchange.deadline
        if exchange.body.complete:  # else `request_sent` will follow
            limit = self._connections.pool.policy.timeouts.first_byte
            if limit is not None and now + limit < due:
                due = now + limit
        self._due = due
        if due < self.armed:
            self._connections.deadlines.arm(self, due)
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Write more of the request."""
        self.transport.write(data)

    def request_sent(self, now: float) -> None:
        """Begin to wait for the first byte: the request is written to its end."""
        self._reckon(now)

    def pause(self) -> None:
        """Read no more until `resume`: the client is slow."""
        if not self._paused:
            self._paused = True
            self._reckon(monotonic())
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._reckon(monotonic())
            self.transport.resume_reading()

    def detach(self) -> bool:
        """Part from the exchange, whatever its state; return whether another may follow."""
        self.exchange = None
        self._decoder = None
        self._due = inf
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return self._reusable

    def has_news(self) -> bool:
        """Tell whether something lies unread on the socket: bytes, a FIN or a reset."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close after what was written; a worker that does not take it is cut off in time."""
        self.exchange = self.tunnel = None
        self.idle_since = monotonic()
        self.transport.close()
        due = self.idle_since + self._connections.pool.policy.timeouts.idle
        self._connections.deadlines.arm(self, due)

    def abort(self) -> None:
        """Close at once, unsent bytes and all."""
        self.exchange = self.tunnel = None
        self.transport.abort()

    async def closed(self) -> None:
        """Wait until the loop has closed the socket, after `abort`."""
        self._closed = asyncio.get_running_loop().create_future()
        await self._closed

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read on in the response."""
        exchange = self.exchange
        if exchange is None:
            if self.tunnel is not None:
                self.tunnel.from_worker(data)
            else:
                self._connections.spoiled(self)  # nobody asked: the next response is not its own
            return
        try:
            if self._decoder is not None:
                self._read_body(exchange, self._decoder, data)
                return
            if self._head is not None:
                self._begin_response(exchange, self._head, self._buffer + data)
                return
            head = None if self._buffer else read_response(data)
            if head is not None and head.status >= _FINAL and head.size <= _MAX_HEAD:
                self._begin_response(exchange, head, data[head.size :])
            else:
                self._read_head(data)
        except ProtocolError as error:
            self._lost(Outcome.GARBLED, error.detail)

    def eof_received(self) -> bool:
        """Take the worker's FIN: the end of some bodies, and of the connection."""
        exchange, decoder = self.exchange, self._decoder
        if self.tunnel is not None:
            self.tunnel.worker_lost()
        elif exchange is not None and decoder is not None and decoder.eof():
            exchange.response_data(b"", done=True, trailers=b"")
        elif exchange is not None:
            self._lost(Outcome.DIED, "closed")  # now: what is unsent could keep it from closing
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whom it concerns."""
        if exc is not None and self.exchange is not None:
            self._hear_out()
        if self.tunnel is not None:
            self.tunnel.worker_lost()
        elif self.exchange is not None:
            self._lost(Outcome.DIED, "reset" if exc else "closed")
        self._connections.lost(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)  # whoever waits goes on in the loop's next turn

    def pause_writing(self) -> None:
        """Hold the client back: the worker reads slowly."""
        self.blocked = True
        if self.exchange is not None:
            self._reckon(monotonic())
            self.exchange.upstream_blocked()
        elif self.tunnel is not None:
            self.tunnel.worker_blocked()

    def resume_writing(self) -> None:
        """Let the client go on."""
        self.blocked = False
        if self.exchange is not None:
            self._reckon(monotonic())
            self.exchange.upstream_unblocked()
        elif self.tunnel is not None:
            self.tunnel.worker_unblocked()

    def expire(self, now: float) -> float | None:
        """End what has taken too long; see `deadlines`."""
        if self.exchange is None and self.tunnel is None:
            return self._connections.expire(self, now)
        due = self._due
        if now < due:
            return None if due == inf else due
        exchange = self.exchange
        if exchange is None:
            return None
        if now >= exchange.deadline:
            self._lost(Outcome.EXPIRED, "")
        elif self._decoder is None and exchange.body.complete and not self.blocked:
            self._lost(Outcome.TIMED_OUT, "")
        else:
            self._lost(Outcome.STALLED, "")
        return None

    # --- inside

    def _read_head(self, data: bytes) -> None:
        """Read the heads that are in `data`, up to the final one: interim, split, or garbage."""
        searched = len(self._buffer)
        self._buffer = data = self._buffer + data
        exchange = self.exchange
        while exchange is not None:
            end = head_end(data, _MAX_HEAD, searched)
            if end < 0:
                return
            head = parse_response(data[:end])
            self._buffer = data = data[end:]
            searched = 0
            if head.status >= _FINAL:
                self._begin_response(exchange, head, data)
                return
            if head.status == _SWITCHING:
                if not join(exchange, self, head, data):
                    raise ProtocolError("101 without having been asked to switch")
                return
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise ProtocolError("too many interim responses")
            exchange.interim(head)
            exchange = self.exchange  # None if the client was lost over it

    def _begin_response(self, exchange: "Exchange", head: ResponseHead, data: bytes) -> None:
        """Find the body's framing, and pass head and first bytes on together; if short, all."""
        self._buffer = b""
        if head.keep_alive_timeout is not None:
            self.idle_for = max(0.0, head.keep_alive_timeout - 1.0)
        length = head.content_length
        if head.status in _BODYLESS or exchange.head.method == b"HEAD":
            length = 0
        if length is not None and len(data) >= length:  # all of it is here, which is usual
            self._head = None
            self._reusable = head.keep_alive and len(data) == length
            exchange.response(head, data[:length], done=True, trailers=b"")
            return
        refused = self._connections.pool.policy.retry.refused_statuses
        if (
            length is not None
            and length <= _WHOLE
            and exchange.body.complete
            and head.status not in refused  # its head says all
        ):
            self._head, self._buffer = head, data
            self._reckon(monotonic())
            return
        decoder: Decoder
        if length is not None:
            decoder = LengthDecoder(length)
        elif head.chunked:
            decoder = ChunkedDecoder()
        else:
            decoder = CloseDecoder()
            head.keep_alive = False
        self._decoder = decoder
        self._named = head.named
        payload, rest = decoder.feed(data) if data else (b"", b"")
        if decoder.done:
            self._reusable = head.keep_alive and not rest
        else:
            self._keep_alive = head.keep_alive
            self._reckon(monotonic())
        exchange.response(head, payload, done=decoder.done, trailers=self._trailers(decoder))

    def _read_body(self, exchange: "Exchange", decoder: Decoder, data: bytes) -> None:
        payload, rest = decoder.feed(data)
        if decoder.done:
            self._reusable = self._keep_alive and not rest
        else:
            self._reckon(monotonic())
        exchange.response_data(payload, done=decoder.done, trailers=self._trailers(decoder))

    def _hear_out(self) -> None:
        """Read what the worker said before it closed on us.

        One that answers early and closes, the request unread, makes our next write fail; the event
        loop then ends the connection, though the answer may lie in the kernel unread.
        """
        pseudo = self.transport.get_extra_info("socket")
        with (
            contextlib.suppress(OSError),
            socket.fromfd(pseudo.fileno(), pseudo.family, pseudo.type) as sock,
        ):
            while self.exchange is not None and (data := sock.recv(_READ, socket.MSG_DONTWAIT)):
                self.data_received(data)

    def _trailers(self, decoder: Decoder) -> bytes:
        """Return the trailer fields to pass on, once the body is complete."""
        return without(decoder.trailers, self._named) if type(decoder) is ChunkedDecoder else b""

    def _reckon(self, now: float) -> None:
        """Set the deadline anew, by whose turn it is: the client may take its own time."""
        timeouts, exchange = self._connections.pool.policy.timeouts, self.exchange
        if exchange is None:
            return
        limit = None
        if not self._paused:
            if self.blocked or self._decoder is not None or self._head is not None:
                limit = timeouts.between_bytes
            elif exchange.body.complete:
                limit = timeouts.first_byte
        self._await(inf if limit is None else now + limit)

    def _await(self, due: float) -> None:
        """Set the deadline, the request's own at the latest."""
        if self.exchange is not None:
            due = min(due, self.exchange.deadline)
        self._due = due
        if due < self.armed:
            self._connections.deadlines.arm(self, due)

    def _lost(self, outcome: Outcome, detail: str) -> None:
        """Break the connection off in the middle of an exchange."""
        exchange = self.exchange
        self.exchange = None
        self.transport.abort()
        if exchange is not None:
            exchange.upstream_lost(outcome, detail)
