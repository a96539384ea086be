"""A client's connection, whatever is going on with it: read, held back, closed in good order.

The base of `Downstream`, which says what is read and answered. Here is how one reads no more
without missing that the client hangs up, how one closes so that the last answer arrives, and how
one waits for a client no longer than it may take.
"""

import asyncio
import select
import socket
import struct
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from app.proxy.headers import Trail

if TYPE_CHECKING:
    from app.proxy.proxy import Proxy

WRITE_BUFFER: Final = 256 * 1024
"""Bytes of a response that a slow client may leave with us before its worker is held back."""

LINGER: Final = 2.0
"""Seconds that a client gets to read our last answer, after which it will send no more to us."""

_RESET: Final = struct.pack("ii", 1, 0)
"""What SO_LINGER takes for: do not, and send a reset."""


class ClientConnection:
    """What can be done with the connection of one client. A part of a transport's protocol."""

    __slots__ = (
        "_limits",
        "_lingering",
        "_paused",
        "_proxy",
        "_since",
        "_socket",
        "_unsent",
        "armed",
        "blocked",
        "trail",
        "transport",
    )

    transport: asyncio.Transport
    trail: Trail
    _socket: socket.socket

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._limits = proxy.limits
        self.blocked = False
        """Whether the client takes less than we have for it."""

        self.armed = inf
        self._paused = False
        self._lingering = False
        self._since = monotonic()
        """When the client last did, or was last given, what the current deadline is about."""

        self._unsent = 0
        """Bytes that the client had not taken when its deadline was last set or moved."""

    def pause(self) -> None:
        """Read no more from the client until `resume`."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
            self._proxy.hangups.watch(self._socket, self.abort)

    def resume(self) -> None:
        """Read on from the client."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self._proxy.hangups.unwatch(self._socket)
            self._wait(self._limits.body_timeout)
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once, with a reset, so that no part of a response can pass for the whole."""
        self._gone()
        if not self._lingering or self.transport.get_write_buffer_size():
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _gone(self) -> None:
        """Take it that the client has left. To be overridden by who has something to free."""

    def _open(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._socket = transport.get_extra_info("socket")
        peer = transport.get_extra_info("peername")
        address = peer[0] if peer else ""
        if "." in address:
            address = address.removeprefix("::ffff:")  # an IPv4 client of a dual-stack port
        self.trail = Trail(address, self._limits.trusted_networks)

    def _shut(self) -> None:
        """Close after what was written, or when the client has stopped taking it."""
        self.transport.close()
        self._unsent = self.transport.get_write_buffer_size()
        self._wait(self._limits.body_timeout)

    def _linger(self) -> None:
        """Say that we are through, and throw away what still comes.

        A close with unread bytes sends a reset, which can reach the client before our answer.
        """
        if self.transport.is_closing():
            return
        self._lingering = True
        self.resume()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unsent = self.transport.get_write_buffer_size()
        self._wait(LINGER)

    def _has_news(self) -> bool:
        """Tell whether something lies unread on the socket."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _wait(self, limit: float) -> None:
        """Give the client so many seconds from now."""
        self._since = monotonic()
        due = self._since + limit
        if due < self.armed:
            self._proxy.deadlines.arm(self, due)

    def _moves(self, now: float) -> None:
        """Give a client that is slow, but takes something, its time anew."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._since = unsent, now

    def expire(self, now: float) -> float | None:
        """End what the client makes us wait for too long. To be overridden; see `deadlines`."""
        raise NotImplementedError
