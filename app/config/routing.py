"""Which pool has which route: decided in the same way by the balancers and by the operator.

Pure. `resolve` is called by `app.runtime.pools`, which makes the table of the proxy from it, and by
`app.operator`, which tells the losers. What always holds: each route has one pool, and who has it
depends on the pools alone, not on the order in which they were heard of. So all replicas agree.

A pool without routes claims the route of everything: any host, the path `/`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.config.workerpool import RouteSpec

EVERYTHING = RouteSpec()
"""The route that every request matches."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one pool asks for."""

    name: str
    seniority: tuple[str, str]
    """The smaller wins: when the pool was made, then its name."""

    routes: tuple[RouteSpec, ...]


@dataclass(slots=True)
class Routing:
    """Who has what."""

    owners: dict[RouteSpec, str] = field(default_factory=dict)
    """The name of the pool that has the route."""

    conflicts: dict[str, list[tuple[RouteSpec, str]]] = field(default_factory=dict)
    """For each pool in a conflict, the routes that are claimed twice, and by whom else."""

    def lost(self, name: str) -> list[RouteSpec]:
        """Return the routes that the pool claims and does not have."""
        return [route for route, _ in self.conflicts.get(name, ()) if self.owners[route] != name]


def resolve(claims: Iterable[Claim]) -> Routing:
    """Give each route to the oldest of the pools that claim it, then to the first by name."""
    routing = Routing()
    for claim in sorted(claims, key=lambda claim: claim.seniority):
        for route in claim.routes or (EVERYTHING,):
            owner = routing.owners.setdefault(route, claim.name)
            if owner != claim.name:
                routing.conflicts.setdefault(owner, []).append((route, claim.name))
                routing.conflicts.setdefault(claim.name, []).append((route, owner))
    return routing
