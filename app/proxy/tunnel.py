"""A tunnel: what is left of the proxy once a WebSocket's handshake is done.

Bytes pass both ways unread, each side held back by the other's slowness; the end of one side ends
the other. The slot at the worker is held until then.
"""

from time import monotonic
from typing import TYPE_CHECKING

from app.balancing.lease import Lease, Outcome

if TYPE_CHECKING:
    from app.proxy.downstream import Downstream
    from app.proxy.upstream import Upstream


class Tunnel:
    """Two connections joined."""

    __slots__ = ("_downstream", "_lease", "_upstream")

    def __init__(self, downstream: "Downstream", upstream: "Upstream", lease: Lease) -> None:
        self._downstream = downstream
        self._upstream = upstream
        self._lease = lease

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
        self._downstream.end_tunnel()
        if not self._lease.released:
            self._lease.release(outcome, monotonic())
