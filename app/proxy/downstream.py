"""One client's connection: reads its requests one after the other, and writes the answers.

A client may send its next request early (pipelining); it waits in a bounded buffer until the one
before is answered. A client's FIN means that it has gone, as in nginx: a half-closed connection
is not served to its end.

What the connection is doing, and which attributes say so:

    resting      waits for a request, with nothing in the way: `_resting`
    reading      a head that came in part: `_buffer`, and no `exchange`
    serving      `exchange`; while the request's body is still coming, `_decoder` too
    tunnelling   `tunnel`
    lingering    has had its last answer, and gets time to read it: `_lingering`
    closing      the transport is

Beside these, `blocked` says that the client takes less than we have for it, and `_paused` that we
read nothing from it.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from app.http1.bodies import ChunkedDecoder, Decoder, LengthDecoder
from app.http1.errors import ProtocolError
from app.http1.fields import head_end, without
from app.http1.requests import RequestHead, check_limits, parse_request, read_request
from app.proxy import responses
from app.proxy.client import LINGER, ClientConnection
from app.proxy.exchange import Exchange
from app.proxy.headers import new_request_id
from app.proxy.replay import Replay
from app.proxy.responses import Problem
from app.proxy.unread import Unread
from app.telemetry.endings import BAD_REQUEST, SLOW_REQUEST
from app.telemetry.timing import attempts_line

if TYPE_CHECKING:
    from app.proxy.proxy import Proxy
    from app.proxy.tunnel import Tunnel

_READ_AHEAD: Final = 64 * 1024
"""Bytes of further requests that a client may send before the first is answered."""


class Downstream(ClientConnection):
    """A connection from one client."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_in_loop",
        "_resting",
        "exchange",
        "tunnel",
    )

    def __init__(self, proxy: "Proxy") -> None:
        super().__init__(proxy)
        self.exchange: Exchange | None = None
        """The request that is being served."""

        self.tunnel: Tunnel | None = None
        self._buffer = b""
        """Bytes read and not yet understood: a part of a head, or requests read ahead."""

        self._decoder: Decoder | None = None
        """Follows the request's body until it is complete."""

        self._resting = False
        self._in_loop = False

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._open(transport)
        self._proxy.downstreams.add(self)
        self._rest(monotonic())

    def data_received(self, data: bytes) -> None:
        """Read on in the current request, or begin the next."""
        if self._resting:
            self._resting = False
            self._read_request(data)
        elif self._lingering:
            return
        elif self._decoder is not None:
            self._read_body(self._decoder, data)
        elif self.tunnel is not None:
            self.tunnel.from_client(data)
        elif self.exchange is not None or self.blocked:
            self._buffer += data
            if len(self._buffer) > _READ_AHEAD:
                self.pause()
        else:
            before = self._buffer
            self._read_requests(before + data if before else data, searched=len(before))

    def eof_received(self) -> bool:
        """Take the client's FIN: it has gone."""
        self._gone()
        self._shut()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - each end is an end
        """Free all that the client held."""
        self._gone()
        self._proxy.hangups.unwatch(self._socket)
        self._proxy.forget(self)

    def pause_writing(self) -> None:
        """Hold the worker back: the client reads slowly."""
        self.blocked = True
        if self.exchange is not None:
            self.exchange.client_blocked()
        elif self.tunnel is not None:
            self.tunnel.client_blocked()
        self._unsent = self.transport.get_write_buffer_size()
        self._wait(self._limits.body_timeout)

    def resume_writing(self) -> None:
        """Let the worker go on, or the next request begin."""
        self.blocked = False
        if self.exchange is not None:
            self.exchange.client_unblocked()
        elif self.tunnel is not None:
            self.tunnel.client_unblocked()
        else:
            self._next()

    def expire(self, now: float) -> float | None:
        """End what the client makes us wait for too long; see `deadlines`."""
        limit = self._limit()
        if limit is None:
            return None
        closing = self._lingering or self.transport.is_closing()
        if self.blocked or closing:
            self._moves(now)
        if now < self._since + limit:
            return self._since + limit
        if self.blocked or closing:
            self.abort()
        elif self.exchange is not None:
            self.exchange.abandon(responses.BODY_TIMEOUT)
        elif self._buffer:
            self._refuse(responses.HEAD_TIMEOUT)
        else:
            self._shut()
        return None

    # --- used by the exchange and the tunnel

    def finished(self, now: float, *, keep_alive: bool) -> None:
        """Go on to the next request: the response is written."""
        self.exchange = None
        if not keep_alive or self._decoder is not None:
            self._close()
        elif self._buffer or self._paused or self.blocked or self._in_loop or self._proxy.draining:
            self._next()
        else:
            self._rest(now)

    def answer(self, problem: Problem, exchange: Exchange) -> None:
        """Answer in a worker's place, and close the connection if the request is not read."""
        keep = exchange.head.keep_alive and exchange.body.complete and not self._proxy.draining
        keep = keep and exchange.head.minor == 1  # HTTP/1.0 would have to be told
        tell = self._limits.way_headers and exchange.attempts > 0
        self.transport.write(
            responses.serialise(
                problem,
                exchange.identifier,
                keep_alive=keep,
                with_body=exchange.head.method != b"HEAD",
                lines=attempts_line(exchange.attempts) if tell else b"",
            )
        )
        self.finished(monotonic(), keep_alive=keep)

    def begin_tunnel(self, tunnel: "Tunnel", data: bytes) -> None:
        """Pass bytes from now on; `data` comes first."""
        self.exchange = None
        self.tunnel = tunnel
        self.resume()
        self.transport.write(data)
        if self._buffer:
            early, self._buffer = self._buffer, b""
            tunnel.from_client(early)

    def end_tunnel(self) -> None:
        """Close the connection of a tunnel, after what was written to it."""
        self.tunnel = None
        self._shut()

    def drain(self) -> None:
        """Close now if no request is under way; those under way end with `Connection: close`."""
        if self._resting and not self._has_news():
            self._resting = False
            self._shut()

    # --- inside

    def _read_request(self, data: bytes) -> None:
        """Begin a request that came whole and alone, as most do; any other goes the long way."""
        proxy = self._proxy
        limits = self._limits
        try:
            head = read_request(data)
            if head is not None:
                check_limits(head, fields=limits.headers, target=limits.target_bytes)
        except ProtocolError as error:
            self._refuse(responses.misunderstood(error))
            return
        if (
            head is None
            or head.chunked
            or head.upgrade is not None
            or len(data) - head.size != (head.content_length or 0)
            or head.size > limits.header_bytes
            or (limits.body_bytes is not None and len(data) > limits.body_bytes)
        ):
            self._read_requests(data, searched=0)
            return
        body = Replay(proxy.replays, chunked=False, whole=data[head.size :])
        now = monotonic()
        backend = proxy.sole or proxy.route(head)
        exchange = self.exchange = Exchange(backend or proxy.nowhere, self, head, body, now)
        if backend is None:
            exchange.abandon(responses.NO_ROUTE)
        else:
            exchange.admit(now)

    def _read_requests(self, data: bytes, *, searched: int) -> None:
        """Begin the requests that are in `data`, up to the first that has to be waited for.

        `searched` is how much of the first head had come before: if any, its time runs.
        """
        self._in_loop = True
        try:
            while data and self.exchange is None and self.tunnel is None:
                if self._lingering or self.blocked:
                    return
                begin = 0
                while data.startswith(b"\r\n", begin):  # allowed before a request: RFC 9112, 2.2
                    begin += 2
                self._buffer = data = data[begin:]
                end = head_end(data, self._limits.header_bytes, searched)
                if end < 0:
                    if data and not searched:
                        self._wait(self._limits.header_timeout)
                    return
                self._buffer = data[end:]
                head = parse_request(data[:end])
                limits = self._limits
                check_limits(head, fields=limits.headers, target=limits.target_bytes)
                self._begin(head)
                data = self._buffer
                searched = 0
        except ProtocolError as error:
            self._buffer = b""
            self._refuse(responses.misunderstood(error))
        finally:
            self._in_loop = False
        if self.exchange is None:  # all were answered by us at once
            self._next()

    def _begin(self, head: RequestHead) -> None:
        """Serve a request; what follows its head is in the buffer."""
        limits = self._limits
        if head.upgrade != b"websocket" or head.has_body or head.minor == 0:
            head.upgrade = None  # served as the plain HTTP/1.1 that it is, too
        proxy, now = self._proxy, monotonic()
        body = Replay(proxy.replays, chunked=head.chunked)
        backend = proxy.sole or proxy.route(head)
        exchange = self.exchange = Exchange(backend or proxy.nowhere, self, head, body, now)
        if not head.has_body:
            if backend is None:
                body.end(b"")
                exchange.abandon(responses.NO_ROUTE)
            else:
                exchange.request_end(b"")
            return
        length = head.content_length or 0
        self._decoder = decoder = ChunkedDecoder() if head.chunked else LengthDecoder(length)
        limit = limits.body_bytes
        if backend is None or (limit is not None and length > limit):
            too_large = responses.BODY_TOO_LARGE
            exchange.abandon(responses.NO_ROUTE if backend is None else too_large)
            return
        data, self._buffer = self._buffer, b""
        if data:
            self._read_body(decoder, data)
        elif head.expects_continue:
            self.transport.write(responses.CONTINUE)
        if not decoder.done and not self._paused:
            self._wait(limits.body_timeout)

    def _read_body(self, decoder: Decoder, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        try:
            payload, rest = decoder.feed(data)
        except ProtocolError as error:
            exchange.abandon(responses.misunderstood(error))
            return
        self._since = monotonic()
        limit = self._limits.body_bytes
        if limit is not None and exchange.body.size + len(payload) > limit:
            exchange.abandon(responses.BODY_TOO_LARGE)
            return
        if payload:
            exchange.request_data(payload)
        if decoder.done and self._decoder is decoder:
            self._decoder = None
            self._buffer = rest
            trailers = decoder.trailers if type(decoder) is ChunkedDecoder else b""
            exchange.request_end(without(trailers, exchange.head.named))

    def _next(self) -> None:
        """Go on with what was read ahead, or wait for the client's next request."""
        if self.blocked or self._in_loop or self._lingering or self.transport.is_closing():
            return  # `resume_writing` or the loop comes back here, or nothing does
        if self._proxy.draining and not self._buffer and not self._has_news():
            self._close()
            return
        if self._paused:
            self.resume()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_requests(data, searched=0)
        else:
            self._rest(monotonic())

    def _rest(self, now: float) -> None:
        """Wait for a request, with nothing in the way."""
        self._resting = True
        self._since = now
        due = now + self._limits.idle_timeout
        if due < self.armed:
            self._proxy.deadlines.arm(self, due)

    def _refuse(self, problem: Problem) -> None:
        """Answer what is no request, and close."""
        identifier = new_request_id()
        nowhere = self._proxy.nowhere
        nowhere.stats.answers[problem.status] += 1
        if nowhere.requests is not None and nowhere.requests.log is not None:
            late = problem is responses.HEAD_TIMEOUT
            ended = Unread(problem.status, SLOW_REQUEST if late else BAD_REQUEST, identifier)
            nowhere.requests.log.ended(ended)
        self.transport.write(
            responses.serialise(problem, identifier, keep_alive=False, with_body=True)
        )
        self._part()

    def _close(self) -> None:
        """Close after what was written; a client that is still sending gets time to read it."""
        if self._decoder is None and not self._buffer and not self._paused:
            self._shut()
        else:
            self._part()

    def _part(self) -> None:
        """Read no more requests, and close once the client has had the time to read the answer."""
        self._resting = False
        self._decoder = None
        self._buffer = b""
        self._linger()

    def _gone(self) -> None:
        """The client has left: tell whom it concerns."""
        exchange, self.exchange = self.exchange, None
        tunnel, self.tunnel = self.tunnel, None
        self._decoder = None
        self._buffer = b""
        if exchange is not None:
            exchange.client_gone()
        if tunnel is not None:
            tunnel.client_lost()

    def _limit(self) -> float | None:
        """Return how long the client may take for what is its turn now, or None."""
        limits = self._limits
        if self.transport.is_closing():
            return limits.body_timeout
        if self.blocked:
            return limits.body_timeout
        if self._lingering:
            unsent = self.transport.get_write_buffer_size()
            return limits.body_timeout if unsent else LINGER
        if self.tunnel is not None:
            return None
        if self.exchange is None:
            return limits.header_timeout if self._buffer else limits.idle_timeout
        if self._decoder is not None and not self._paused:
            return limits.body_timeout
        return None
