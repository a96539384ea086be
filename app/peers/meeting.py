"""How this replica comes to its links: who calls, whom it calls, and what becomes of each.

Owned by `runner`. Whoever comes has to prove first that it is a replica (`handshake`).
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final
from weakref import WeakSet

from app.peers.complaints import Complaints
from app.peers.handshake import Reached
from app.peers.link import PeerLink
from app.peers.messages import Message
from app.peers.record import Member
from app.peers.replica import Replica

DIAL: Final = 0.5
"""Seconds in which another replica has to accept a connection."""

MOST_UNPROVED: Final = 128
"""Most connections that have not proved yet to come from a replica; beyond it the oldest is ended.
"""


class _Refusal(asyncio.Protocol):
    """The end of a connection that cannot be met."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Meetings:
    """The links of one replica. `secret` and `host`: see `runner`."""

    def __init__(
        self, replica: Replica, secret: Callable[[], bytes], host: str, complaints: Complaints
    ) -> None:
        self.trouble = ""
        """Why another replica could not be met, the last time."""

        self.links: WeakSet[PeerLink] = WeakSet()  # an open transport holds its protocol
        self._replica = replica
        self._secret = secret
        self._host = host
        self._complaints = complaints
        self._server: asyncio.Server | None = None
        self._unproved: dict[PeerLink, None] = {}
        """Those that came here, until their handshake is done; the oldest first."""

        self._calls: dict[PeerLink, Member] = {}

    async def open(self, sock: socket.socket) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=sock)

    def close(self) -> None:
        """End all links, and listen no more."""
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.close()

    async def dial(self, member: Member) -> None:
        """Connect to a member."""
        host, _, port = member.address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            link = self._link(calling=True)
            self._calls[link] = member
        except OSError:
            self._replica.dial_failed(member, monotonic())
            return
        try:
            async with asyncio.timeout(DIAL):
                await loop.create_connection(
                    lambda: link, host.strip("[]"), int(port), local_addr=(self._host, 0)
                )
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            self.trouble = f"{member.pod} cannot be reached: {str(error) or 'no answer'}"
            self._complaints.say(self.trouble, logging.INFO)
            link.close()
            if self._calls.pop(link, None) is not None:
                self._replica.dial_failed(member, monotonic())

    # --- as owner of links

    def link_ready(self, link: PeerLink, member_id: str) -> None:
        """Give a link to the replica, if it leads to whom it should."""
        now = monotonic()
        self._unproved.pop(link, None)
        if isinstance(link.handshake, Reached):
            self._replica.accepted(link.handshake.member, link, now)
            return
        member = self._calls.pop(link)
        if member_id == member.id:
            self._replica.dialed(member, link, now)
        else:
            link.close()
            self._replica.dial_failed(member, now)

    def link_said(self, link: PeerLink, said: Iterable[Message]) -> None:
        """Pass on what was said."""
        self._replica.received(link, said, monotonic())

    def link_ended(self, link: PeerLink) -> None:
        """Tell of a link's end, or that it never came about."""
        if link.why:
            self.trouble = link.why
            self._complaints.say(link.why)
        self._unproved.pop(link, None)
        member = self._calls.pop(link, None)
        if member is not None:
            self._replica.dial_failed(member, monotonic())
        else:
            self._replica.link_lost(link, monotonic())

    # --- inside

    def _accept(self) -> asyncio.Protocol:
        try:
            link = self._link(calling=False)
        except OSError:
            return _Refusal()  # without a protocol, the loop would leave the connection open
        if len(self._unproved) >= MOST_UNPROVED:  # a replica needs no time; files are for requests
            oldest = next(iter(self._unproved))
            del self._unproved[oldest]
            oldest.close()
        self._unproved[link] = None
        return link

    def _link(self, *, calling: bool) -> PeerLink:
        try:
            secret = self._secret()
        except OSError as error:
            self.trouble = f"the peers' secret cannot be read: {error}"
            self._complaints.say(self.trouble)
            raise
        link = PeerLink(self, self._replica.me, secret, calling=calling)
        self.links.add(link)
        return link
