"""A tunnel: what is left of the proxy once a WebSocket's handshake is done.

Bytes pass both ways unread, each side held back by the other's slowness; the end of one side ends
the other. The slot at the worker is held until then, and so is the exchange that asked for it.
"""

from typing import TYPE_CHECKING

from app.balancing.lease import Outcome
from app.http1.responses import ResponseHead
from app.proxy.headers import response_head

if TYPE_CHECKING:
    from app.proxy.downstream import Downstream
    from app.proxy.exchange import Exchange
    from app.proxy.upstream import Upstream


def join(exchange: "Exchange", upstream: "Upstream", head: ResponseHead, data: bytes) -> bool:
    """Join both connections after 101, if that is what the client asked for."""
    if exchange.head.upgrade is None or head.upgrade != exchange.head.upgrade:
        return False
    upstream.detach()
    downstream = exchange.switched()
    if downstream is None:
        upstream.abort()
        exchange.tunnel_ended(Outcome.CLIENT_GONE)
        return True
    tunnel = Tunnel(downstream, upstream, exchange)
    upstream.tunnel = tunnel
    lines = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade
    downstream.begin_tunnel(tunnel, response_head(head, lines, data))
    return True


class Tunnel:
    """Two connections joined."""

    __slots__ = ("_downstream", "_exchange", "_upstream")

    def __init__(
        self, downstream: "Downstream", upstream: "Upstream", exchange: "Exchange"
    ) -> None:
        self._downstream = downstream
        self._upstream = upstream
        self._exchange: Exchange | None = exchange

    def from_client(self, data: bytes) -> None:
        """Pass bytes on to the worker."""
        self._upstream.transport.write(data)

    def from_worker(self, data: bytes) -> None:
        """Pass bytes on to the client."""
        self._downstream.transport.write(data)

    def client_blocked(self) -> None:
        """Read no more from the worker."""
        self._upstream.transport.pause_reading()

    def client_unblocked(self) -> None:
        """Read on from the worker."""
        self._upstream.transport.resume_reading()

    def worker_blocked(self) -> None:
        """Read no more from the client."""
        self._downstream.pause()

    def worker_unblocked(self) -> None:
        """Read on from the client."""
        self._downstream.resume()

    def client_lost(self) -> None:
        """End the worker's side, after what was written to it."""
        self._upstream.close()
        self._end(Outcome.CLIENT_GONE)

    def worker_lost(self) -> None:
        """End the client's side, after what was written to it."""
        self._upstream.abort()  # what it has not taken it never will
        self._end(Outcome.ANSWERED)

    def _end(self, outcome: Outcome) -> None:
        exchange, self._exchange = self._exchange, None
        self._downstream.end_tunnel()
        if exchange is not None:
            exchange.tunnel_ended(outcome)
