"""How things are with all replicas, for people: made by the arbiter, shown by each replica.

The arbiter sends it to the others twice a second, as JSON. Durations are in seconds.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.balancing.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.peers.arbiter import Arbiter
    from app.peers.peer import Peer


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica."""

    id: str
    pod: str
    state: str
    """arbiter, following, silent (nothing is known of it), lost (its link has ended) or dead."""

    leaving: bool = False
    holds: dict[str, int] = field(default_factory=dict)
    """Slots by pool."""

    waiting: dict[str, int] = field(default_factory=dict)
    """Requests that wait, by pool."""


@dataclass(frozen=True, slots=True)
class View:
    """All replicas, as the arbiter sees them."""

    term: int
    arbiter: str
    """The arbiter's id."""

    accounted: bool
    """Whether it is known who holds what; else what is not known counts as held."""

    reserved: dict[str, int]
    """Slots that count as held because of replicas that are silent, by pool."""

    replicas: list[ReplicaView]
    in_flight: dict[str, dict[str, int]]
    """Slots that are taken, of all replicas together, by pool and endpoint; without those of 0."""

    queued: dict[str, int]
    """Requests that wait, of all replicas together, by pool."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one replica stands among the others."""

    me: str
    """Its id."""

    role: str
    """joining, seeking, following or deciding."""

    term: int
    """Of the arbiter that it obeys, or that it is."""

    without_arbiter: float
    """Seconds without an arbiter since it started, all spells together."""

    view: View | None
    """All replicas, as the arbiter said last; None while there is none."""


def of_arbiter(arbiter: "Arbiter", pools: "Iterable[Pool]") -> View:
    """Look at everything from the arbiter."""
    pools = list(pools)
    peers = [_peer(peer) for peer in arbiter.books.peers.values()]
    me = ReplicaView(
        arbiter.me.id,
        arbiter.me.pod,
        "arbiter",
        holds={pool.key: pool.own_in_flight for pool in pools},
        waiting={pool.key: pool.own_queued for pool in pools},
    )
    return View(
        term=arbiter.term,
        arbiter=arbiter.me.id,
        accounted=arbiter.books.accounted,
        reserved={name: docket.reserved for name, docket in arbiter.books.dockets.items()},
        replicas=[me, *peers],
        in_flight={
            pool.key: {key: e.in_flight for key, e in pool.endpoints.items() if e.in_flight}
            for pool in pools
        },
        queued={pool.key: pool.queued for pool in pools},
    )


def _peer(peer: "Peer") -> ReplicaView:
    if peer.link is not None:
        state = "following" if peer.answered else "silent"
    elif peer.dead_at is not None:
        state = "dead"
    else:
        state = "lost" if peer.answered else "silent"
    return ReplicaView(
        peer.member.id,
        peer.member.pod,
        state,
        peer.leaving,
        dict(Counter(holding.pool for holding in peer.holdings.values())),
        dict(Counter(claim.pool for claim in peer.claims.values())),
    )


def write(view: View) -> str:
    """Return it as a text that `read` reads."""
    return json.dumps(asdict(view), separators=(",", ":"))


@lru_cache(maxsize=1)  # who shows it asks again and again, for each pool
def read(text: str) -> View | None:
    """Read what an arbiter of this or another version said; None if it makes no sense here."""
    try:
        said: dict[str, Any] = json.loads(text)
        replicas = [ReplicaView(**_known(ReplicaView, each)) for each in said["replicas"]]
        return View(**(_known(View, said) | {"replicas": replicas}))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _known(kind: type[View | ReplicaView], said: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a newer arbiter says besides."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in said.items() if name in names}
