"""Who is told of what happens in a pool, and who may decide in its place."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.balancing.endpoint import Endpoint, Phase
    from app.balancing.lease import Lease, Outcome
    from app.balancing.pool import Pool
    from app.balancing.waiters import Waiter


class PoolObserver(Protocol):
    """Told after each change, in the same call. It reads, and calls nothing but `Pool.hold`."""

    def phase_changed(self, endpoint: "Endpoint", before: "Phase | None", now: float) -> None:
        """Say that `endpoint.phase` has become another; `before` is None when it joined."""

    def health_changed(self, endpoint: "Endpoint", now: float) -> None:
        """Say that `endpoint.health` has changed its state, or is withheld now.

        Also of one that has left; not when an endpoint returns with a clean record.
        """


class DispatchObserver(Protocol):
    """Told of each slot given and given back: for measurements, None in ordinary runs."""

    def granted(self, lease: "Lease", pool: "Pool") -> None:
        """Follow a slot that was given; the endpoint's count includes it."""

    def released(self, lease: "Lease", outcome: "Outcome") -> None:
        """Follow a slot that was given back; the endpoint's count no longer includes it."""


class Decider(Protocol):
    """Decides in a pool's place who gets which slot: another replica, by `app.peers`.

    The requests wait in the pool all the same, with their order and their deadlines. What was
    decided comes by `Pool.assign`.
    """

    @property
    def away(self) -> bool:
        """Whether nobody decides now, so that the queue has to be bounded here."""

    def asked(self, waiter: "Waiter") -> None:
        """Ask for a slot: a request has joined the queue."""

    def left(self, waiter: "Waiter") -> None:
        """Ask no more: a request has left the queue without a slot."""

    def released(
        self, lease: "Lease", outcome: "Outcome", retry_after: float | None, detail: str
    ) -> None:
        """Give back a slot, as `Lease.release` did here."""

    def unbounded(self, lease: "Lease") -> None:
        """Take note that a slot will be held for longer than its request was to take."""
