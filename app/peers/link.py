"""One connection between two replicas, from its handshake to its end.

Made by `meeting`. What is said in one turn of the event loop goes out together. Bad input ends the
connection and nothing else.
"""

import asyncio
import socket
from collections.abc import Iterable
from secrets import token_bytes
from time import monotonic
from typing import Final, Protocol, cast

from app.peers.handshake import NONCE, Caller, Reached
from app.peers.messages import Message, ProtocolError
from app.peers.record import Member
from app.peers.wire import Decoder, encode

HANDSHAKE: Final = 2.0
"""Seconds that a handshake may take."""

MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes that wait for a peer that does not read, beyond which it is given up."""


LAST_WORDS: Final = 1.0
"""Seconds that what was said before an end has to go out."""


class Owner(Protocol):
    """Whom a link tells. After `close` it tells nothing more."""

    def link_ready(self, link: "PeerLink", member_id: str) -> None:
        """The handshake is done; the other side has proved to be this one."""

    def link_said(self, link: "PeerLink", said: Iterable[Message]) -> None:
        """The other side has said something. What is wrong with it is raised on the way."""

    def link_ended(self, link: "PeerLink") -> None:
        """The connection has ended, or never came about."""


class PeerLink(asyncio.Protocol):
    """One side of a connection."""

    def __init__(self, owner: Owner, me: Member, secret: bytes, *, calling: bool) -> None:
        kind = Caller if calling else Reached
        self.heard_at = 0.0
        self.why = ""
        """Why this side has ended it."""

        self.handshake = kind(secret, me, token_bytes(NONCE))
        self._owner: Owner | None = owner
        self._transport: asyncio.Transport | None = None
        self._decoder: Decoder | None = None
        self._said: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._limit = self._loop.call_later(HANDSHAKE, self._give_up)

    # --- as protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        if self._owner is None:  # it was closed before it came about
            self._transport.abort()
            return
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(self.handshake.begin())

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        owner = self._owner
        if owner is None:
            return
        self.heard_at = monotonic()
        try:
            if self._decoder is None:
                data = self._greet(owner, data)
            if self._decoder is not None and data:
                owner.link_said(self, self._decoder.feed(data))
        except ProtocolError as error:
            self._end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell of the end."""
        called = isinstance(self.handshake, Caller) and not self.handshake.done
        self._end("it ended the handshake, and its log says why" if called else "")

    # --- for the owner

    def send(self, message: Message) -> None:
        """Say something; what is said in one turn of the loop goes out together."""
        if self._owner is None:
            return
        if not self._said:
            self._loop.call_soon(self._flush)
        self._said.append(encode(message, self.handshake.version))

    def close(self) -> None:
        """End the connection after what was said; nothing is told any more."""
        self._owner = None
        self._limit.cancel()
        self._flush()
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # a peer that is stopped never reads it
                self._loop.call_later(LAST_WORDS, self._transport.abort)

    # --- inside

    def _greet(self, owner: Owner, data: bytes) -> bytes:
        """Go on with the handshake; return what came after it."""
        handshake = self.handshake
        answer = handshake.feed(data)
        if answer and self._transport is not None:
            self._transport.write(answer)
        if not handshake.done:
            return b""
        self._limit.cancel()
        self._decoder = Decoder(handshake.version)
        owner.link_ready(self, handshake.member_id)
        return handshake.rest

    def _flush(self) -> None:
        said, self._said = self._said, []
        transport = self._transport
        if said and transport is not None and not transport.is_closing():
            transport.write(b"".join(said))
            if transport.get_write_buffer_size() > MOST_WAITING:
                self._end("it does not read")

    def _give_up(self) -> None:
        self._end("no handshake in time")

    def _end(self, why: str = "") -> None:
        """End it at once; without a reason, the other side has."""
        if why:
            self.why = f"the link with {self._peer()} is ended: {why}"
        owner, self._owner = self._owner, None
        self._limit.cancel()
        if self._transport is not None:
            self._transport.abort()
        if owner is not None:
            owner.link_ended(self)

    def _peer(self) -> str:
        if self.handshake.member_id:
            return self.handshake.member_id
        address = self._transport.get_extra_info("peername") if self._transport else None
        return str(address[0]) if address else "a replica"
