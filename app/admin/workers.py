"""A pool's workers as JSON: what `/workers` and `/pools` show of them."""

from pydantic import BaseModel, Field

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
    in_flight: int = Field(description="requests that it has now")
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
    in_flight: int
    queued: int = Field(description="requests that wait for a slot")
    queue_size: int
    probe_ignored: bool = Field(description="whether the probe ejects none, because all fail it")
    totals: dict[str, int] = Field(description="counters since the start")
    workers: list[Worker]


def workers_of(served: Watched, totals: dict[str, int], now: float) -> Workers:
    """Show one pool and its endpoints."""
    pool = served.pool
    return Workers(
        pool=pool.name,
        max_in_flight=pool.policy.max_in_flight,
        in_flight=pool.in_flight,
        queued=pool.queued,
        queue_size=pool.policy.queue.size,
        probe_ignored=served.probe_ignored,
        totals=totals,
        workers=sorted(
            (worker_of(endpoint, pool, now) for endpoint in pool.endpoints.values()),
            key=lambda worker: (worker.name, worker.address),
        ),
    )


def worker_of(endpoint: Endpoint, pool: Pool, now: float) -> Worker:
    """Show one endpoint."""
    spec, health = endpoint.spec, endpoint.health
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    return Worker(
        name=endpoint.name,
        address=f"{host}:{spec.port}",
        phase=endpoint.phase,
        reason=health.reason if endpoint.phase in {Phase.SUSPECT, Phase.EJECTED} else "",
        in_rotation=endpoint in pool.rotation,
        in_flight=endpoint.in_flight,
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
