"""The admin port for the operator: all pools of the balancer, and what happened to their workers.

Read every few seconds by `leastwise operator`, which sums it up over the replicas; useful to people
with more than one pool, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.admin.view import Watched
from app.admin.workers import Worker, workers_by_name
from app.config.resource import Identity
from app.config.workerpool import RouteSpec


class ServedPool(Watched, Protocol):
    """What is shown of one pool; see `app.runtime.pools`."""

    @property
    def identity(self) -> Identity | None: ...  # noqa: D102
    @property
    def generation(self) -> int: ...  # noqa: D102
    @property
    def complaint(self) -> str: ...  # noqa: D102
    @property
    def routes(self) -> Sequence[RouteSpec]: ...  # noqa: D102
    @property
    def synced(self) -> bool: ...  # noqa: D102


class ServedPools(Protocol):
    """The pools of a balancer."""

    @property
    def served(self) -> Sequence[ServedPool]: ...  # noqa: D102


class Numbered(Protocol):
    """Numbered events; see `app.runtime.ring`."""

    @property
    def instance(self) -> str: ...  # noqa: D102
    @property
    def last(self) -> int: ...  # noqa: D102

    def since(self, number: int) -> tuple[Sequence[Any], int]: ...  # noqa: D102


class View(Protocol):
    """What is needed of the balancer."""

    @property
    def pools(self) -> ServedPools: ...  # noqa: D102
    @property
    def ring(self) -> Numbered: ...  # noqa: D102


class PoolState(BaseModel):
    """One pool."""

    name: str
    uid: str = Field(description="of the WorkerPool; empty for the pool of a file")
    generation: int = Field(description="of the WorkerPool's spec that is in force; 0 for a file")
    complaint: str = Field(description="why a newer spec is not in force; empty if there is none")
    routes: list[str] = Field(description="the routes that lead here, as host/path; * is any host")
    synced: bool = Field(description="whether its workers were known once")
    max_in_flight: int | None = Field(description="the cap of each worker; null for none")
    in_flight: int
    queued: int
    workers: list[Worker]


class PoolStates(BaseModel):
    """All pools, by name."""

    pools: list[PoolState]


class Happened(BaseModel):
    """One event."""

    number: int = Field(description="from 1, without gaps, as long as the process runs")
    time: float = Field(description="seconds of the epoch")
    pool: str
    kind: str = Field(description="Ejected or Returned")
    worker: str
    address: str
    reason: str


class Events(BaseModel):
    """What happened since a number."""

    instance: str = Field(description="which process numbered them: another one begins at 1 again")
    last: int = Field(description="the number of the latest event: what to ask for next")
    lost: int = Field(description="events since the number that are kept no more")
    events: list[Happened]


def router(view: View) -> APIRouter:
    """Make the routes over `view`."""
    routes = APIRouter()

    @routes.get("/pools", summary="All pools, with their workers")
    async def pools() -> PoolStates:
        now = monotonic()
        return PoolStates(pools=[_state(served, now) for served in view.pools.served])

    @routes.get("/events", summary="What happened to the workers")
    async def events(
        since: Annotated[int, Query(ge=0, description="the number of the last one known")] = 0,
    ) -> Events:
        happened, lost = view.ring.since(since)
        found: list[Mapping[str, Any]] = [asdict(event) for event in happened]
        return Events(
            instance=view.ring.instance,
            last=view.ring.last,
            lost=lost,
            events=[Happened(**event) for event in found],
        )

    return routes


def _state(served: ServedPool, now: float) -> PoolState:
    pool = served.pool
    return PoolState(
        name=pool.name,
        uid=served.identity.uid if served.identity else "",
        generation=served.generation,
        complaint=served.complaint,
        routes=[str(route) for route in served.routes],
        synced=served.synced,
        max_in_flight=pool.policy.max_in_flight,
        in_flight=pool.own_in_flight,
        queued=pool.own_queued,
        workers=workers_by_name(served, now),
    )
