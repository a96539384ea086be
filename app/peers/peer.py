"""Another replica, as the arbiter knows it: its link, what it holds, and what it waits for.

Owned by `books`; written by it and by `arbiter`, but for what a pool tells a `Claim`.
"""

from dataclasses import dataclass

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import Refusal
from app.balancing.lease import Lease
from app.balancing.waiters import Waiter
from app.peers import messages
from app.peers.names import Link, Named, Names
from app.peers.record import Member


@dataclass(slots=True)
class Holding:
    """A slot of another replica. Without a lease, its pool is not known here yet."""

    pool: str
    spec: EndpointSpec
    expires: float
    lease: Lease | None = None


class Claim:
    """A request that waits in another replica: the claimant of its place in the queue here."""

    __slots__ = ("ask", "peer", "pool", "waiter")

    def __init__(self, peer: "Peer", pool: str, ask: int) -> None:
        self.peer = peer
        self.pool = pool
        self.ask = ask
        self.waiter: Waiter | None = None

    def granted(self, lease: Lease) -> None:
        """Pass the slot on."""
        self.peer.granted(self, lease)

    def refused(self, refusal: Refusal) -> None:
        """Pass the refusal on."""
        self.peer.refused(self, type(refusal))


class Peer:
    """Another replica, as the arbiter knows it."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.link: Link | None = None
        self.answered = False
        """Whether it has said in this term what it holds."""

        self.leaving = False
        self.dead_at: float | None = None
        """When its death was proved. Its link may have ended long before."""

        self.said_goodbye = False
        """Whether it has said goodbye, to this arbiter."""

        self.cut_off = False
        """Whether its link has ended by silence."""

        self.holdings: dict[int, Holding] = {}
        self.claims: dict[int, Claim] = {}
        self.report: dict[int, Holding] | None = None
        """What it is just saying that it holds."""

        self.names: Names | None = None
        self.named = Named()

    def granted(self, claim: Claim, lease: Lease) -> None:
        """Tell it of a slot."""
        self.claims.pop(claim.ask, None)
        name, endpoint = claim.pool, lease.endpoint
        self.holdings[claim.ask] = Holding(name, endpoint.spec, lease.expires, lease)
        if self.link is None or self.names is None:
            raise AssertionError  # its claims were cancelled when its link was lost
        number = self.names.endpoint(name, endpoint)
        self.link.send(messages.Grant(claim.ask, number))
        self.names.refresh()

    def refused(self, claim: Claim, refusal: type[Refusal]) -> None:
        """Tell it of a refusal."""
        self.claims.pop(claim.ask, None)
        if self.link is not None:
            self.link.send(messages.Refuse(claim.ask, refusal))
