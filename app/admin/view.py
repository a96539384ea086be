"""What the admin port may see of one pool of the balancer: for metrics and dashboard."""

from collections.abc import Mapping
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

    def connections(self) -> tuple[int, int]:
        """Count the open connections of clients, and those to workers."""

    def unready(self) -> list[str]:
        """Say why no new requests should come here; empty if they may."""
