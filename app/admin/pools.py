"""The admin port for the operator: all pools of the balancer, and what happened to their workers.

Read every few seconds by `leastwise operator`, which sums it up over the replicas; useful to people
with more than one pool, too.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.admin.view import Watched, WatchedPools
from app.admin.workers import Worker, workers_by_name
from app.config.resource import Identity
from app.config.workerpool import RouteSpec
from app.telemetry.ring import Event, Ring


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


class ServedPools(WatchedPools, Protocol):
    """The pools of a balancer."""

    @property
    def served(self) -> Sequence[ServedPool]: ...  # noqa: D102


class View(Protocol):
    """What is needed of the balancer."""

    @property
    def pools(self) -> ServedPools: ...  # noqa: D102
    @property
    def ring(self) -> Ring: ...  # noqa: D102


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
    """One event, as the dashboard and the log tell it."""

    number: int = Field(description="grows by one for all pools, as long as the process runs")
    time: float = Field(description="seconds of the epoch")
    pool: str
    kind: str = Field(
        description="joined, ejected, back, draining, unready, left, probe, config, balancer; "
        "lost, of a request that lost its worker"
    )
    text: str = Field(description="all of it in words")
    worker: str = Field(description="empty where it is about none, or about many at once")
    address: str
    phase: str
    reason: str
    in_flight: int = Field(description="requests that the worker had")
    after: float | None = Field(
        description="seconds: of an ejection since the first sign, of a return since the ejection"
    )
    request_id: str


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

    @routes.get("/events", summary="What happened, in all pools")
    async def events(
        since: Annotated[int, Query(ge=0, description="the number of the last one known")] = 0,
    ) -> Events:
        happened, lost = view.ring.since(since)
        return Events(
            instance=view.ring.instance,
            last=view.ring.last,
            lost=lost,
            events=[_happened(event) for event in happened],
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


def _happened(event: Event) -> Happened:
    return Happened(
        number=event.number,
        time=event.at,
        pool=event.pool,
        kind=event.kind,
        text=event.text,
        worker=event.worker,
        address=event.address,
        phase=event.phase,
        reason=event.reason,
        in_flight=event.in_flight,
        after=event.after,
        request_id=event.request_id,
    )
