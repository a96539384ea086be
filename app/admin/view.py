"""What the admin port may see of the balancer and of a pool of it: for metrics and dashboard."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from app.telemetry.state import Telemetry


class Watched(Protocol):
    """A pool that is served. Everything is read at the moment of asking, in the event loop."""

    @property
    def pool(self) -> Pool:
        """The pool."""

    @property
    def telemetry(self) -> Telemetry:
        """What is remembered of its requests and events."""

    @property
    def discovery(self) -> Condition | None:
        """How the watch of the Kubernetes API is doing; None for listed endpoints."""

    @property
    def retries(self) -> Mapping[Outcome, int]:
        """Attempts that were sent again since the start, by how they had ended."""

    @property
    def probe_ignored(self) -> bool:
        """Whether the pool's probe is not obeyed, since every worker fails it."""

    @property
    def replicas(self) -> Standing | None:
        """Where this replica stands among the others; None if it is alone."""

    def load(self) -> tuple[int, int]:
        """Count the requests at workers, and those that wait: of all replicas, where known."""

    def connections(self) -> tuple[int, int]:
        """Count the open connections of clients (of all pools), and those to its workers."""

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""


class WatchedPools(Protocol):
    """The pools of a balancer."""

    @property
    def served(self) -> Sequence[Watched]:
        """Those that are served, by name."""

    @property
    def refused(self) -> Sequence[object]:
        """WorkerPools that never had a spec that could be accepted."""


class WatchedBalancer(Protocol):
    """What concerns all pools."""

    @property
    def pools(self) -> WatchedPools:
        """The pools."""

    @property
    def pool_watch(self) -> Condition | None:
        """How the watch of the WorkerPools is doing; None if the pool is that of a file."""

    @property
    def replicas(self) -> Standing | None:
        """Where this replica stands among the others; None if it is alone."""

    @property
    def rejected(self) -> Mapping[int, int]:
        """Requests that were answered before they reached a pool, by status."""

    @property
    def client_connections(self) -> int:
        """Open connections of clients."""

    @property
    def stopping(self) -> bool:
        """Whether the balancer is being stopped."""

    def unready(self) -> list[str]:
        """Say why no new requests should come to this balancer; empty if they may."""
