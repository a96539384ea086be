"""A pool's workers as JSON: what `/workers` and `/pools` show of them."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from app.admin.replicas import Replicas, replicas_of, slots_of_all
from app.admin.view import Watched
from app.balancing.endpoint import Endpoint, Phase
from app.balancing.pool import Pool


class Worker(BaseModel):
    """One endpoint of the pool."""

    name: str = Field(description="the pod's name, or the address as configured")
    address: str
    phase: Phase
    reason: str = Field(description="why it is suspect or ejected; empty otherwise")
    in_rotation: bool = Field(description="whether new requests may go to it")
    in_flight: int = Field(description="requests of this replica that it has now")
    in_flight_of_all: int | None = Field(
        description="slots taken by all replicas, as the one that decides said last; null if alone"
    )
    requests: int = Field(description="requests sent its way since it joined, retries each counted")
    failed: int = Field(description="requests that died, timed out or got no HTTP")
    refused: int = Field(description='requests that it refused as "full"')
    connect_errors: int
    last_error: str
    last_error_seconds_ago: float | None
    node: str
    zone: str


class Workers(BaseModel):
    """The pool and its endpoints, by name."""

    pool: str
    max_in_flight: int | None = Field(description="the cap of each worker; null for none")
    in_flight: int = Field(description="requests of this replica that workers have")
    queued: int = Field(description="requests of this replica that wait for a slot")
    queue_size: int
    probe_ignored: bool = Field(description="whether the probe ejects none, because all fail it")
    totals: dict[str, int] = Field(description="counters since the start")
    replicas: Replicas | None = Field(description="the replicas that act as one; null if alone")
    workers: list[Worker]


def workers_of(served: Watched, totals: dict[str, int], now: float) -> Workers:
    """Show one pool and its endpoints."""
    pool, standing = served.pool, served.replicas
    return Workers(
        pool=pool.name,
        max_in_flight=pool.policy.max_in_flight,
        in_flight=pool.own_in_flight,
        queued=pool.own_queued,
        queue_size=pool.policy.queue.size,
        probe_ignored=served.probe_ignored,
        totals=totals,
        replicas=None if standing is None else replicas_of(standing, pool),
        workers=workers_by_name(served, now),
    )


def workers_by_name(served: Watched, now: float) -> list[Worker]:
    """Show the endpoints of a pool, sorted."""
    pool, standing = served.pool, served.replicas
    of_all = None if standing is None else slots_of_all(standing, pool)
    workers = (worker_of(endpoint, pool, of_all, now) for endpoint in pool.endpoints.values())
    return sorted(workers, key=lambda worker: (worker.name, worker.address))


def worker_of(
    endpoint: Endpoint, pool: Pool, of_all: Mapping[str, int] | None, now: float
) -> Worker:
    """Show one endpoint."""
    spec, health = endpoint.spec, endpoint.health
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    return Worker(
        name=endpoint.name,
        address=f"{host}:{spec.port}",
        phase=endpoint.phase,
        reason=health.reason if endpoint.phase in {Phase.SUSPECT, Phase.EJECTED} else "",
        in_rotation=endpoint in pool.rotation,
        in_flight=endpoint.own,
        in_flight_of_all=None if of_all is None else of_all.get(endpoint.spec.identity, 0),
        requests=endpoint.granted,
        failed=endpoint.failed,
        refused=endpoint.refusals,
        connect_errors=endpoint.connect_errors,
        last_error=endpoint.last_error,
        last_error_seconds_ago=(
            None if endpoint.last_error_at is None else round(now - endpoint.last_error_at, 3)
        ),
        node=spec.node,
        zone=spec.zone,
    )
