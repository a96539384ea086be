"""The admin API (FastAPI): liveness, readiness, and the pool as JSON.

It only reads. What it shows is taken from the pool at the moment of asking.
"""

import asyncio
from time import monotonic
from typing import Annotated, Literal, Protocol

from fastapi import FastAPI, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from app import __version__
from app.admin import dashboard, metrics
from app.admin.view import Watched
from app.balancing.endpoint import Endpoint, Phase
from app.balancing.pool import Pool
from app.discovery.list_watch import Condition


class View(Watched, Protocol):
    """What the admin port may see of the balancer."""

    def totals(self) -> dict[str, int]:
        """Counters since the start, by name."""


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


class Discovery(BaseModel):
    """The watch of the Kubernetes API. It says nothing of readiness: what is known stays."""

    name: str = Field(description="what is watched")
    synced: bool = Field(description="whether the whole set of workers was known once")
    watching: bool = Field(description="whether a watch stands now")
    last_contact_seconds_ago: float | None = Field(description="since the server was last heard")
    restarts: int = Field(description="how often it was begun anew because of a failure")
    last_error: str = Field(description="the last failure; it stays when all is well again")


class Readiness(BaseModel):
    """Whether new requests should come here."""

    status: Literal["ready", "not ready"]
    reasons: list[str]
    discovery: Discovery | None = Field(
        default=None, description="with ?verbose, unless the workers are listed"
    )


def create_app(view: View) -> FastAPI:
    """Build the admin application over `view`."""
    app = FastAPI(
        title="leastwise",
        summary="Admin port of the balancer",
        version=__version__,
        redoc_url=None,
    )

    @app.get("/healthz", response_class=PlainTextResponse, summary="Is the process alive?")
    async def healthz() -> str:
        return "ok\n"

    @app.get(
        "/readyz",
        summary="Should new requests come here?",
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "not ready, and why"}},
    )
    async def readyz(
        response: Response,
        verbose: Annotated[str | None, Query(description="say how discovery is doing")] = None,
    ) -> Readiness:
        reasons = view.unready()
        if reasons:
            response.status_code = 503
        return Readiness(
            status="not ready" if reasons else "ready",
            reasons=reasons,
            discovery=None if verbose is None else _discovery(view.discovery),
        )

    @app.get("/ping", response_class=PlainTextResponse, summary="Answer pong")
    async def ping() -> str:
        return "pong\n"

    @app.get("/workers", summary="The workers and what they do")
    async def workers() -> Workers:
        pool, now = view.pool, monotonic()
        return Workers(
            pool=pool.name,
            max_in_flight=pool.policy.max_in_flight,
            in_flight=pool.in_flight,
            queued=pool.queued,
            queue_size=pool.policy.queue.size,
            probe_ignored=view.probe_ignored,
            totals=view.totals(),
            workers=sorted(
                (_worker(endpoint, pool, now) for endpoint in pool.endpoints.values()),
                key=lambda worker: (worker.name, worker.address),
            ),
        )

    app.include_router(metrics.router(view))
    app.include_router(dashboard.router(view))
    return app


def _discovery(condition: Condition | None) -> Discovery | None:
    if condition is None:
        return None
    heard = condition.last_contact
    return Discovery(
        name=condition.name,
        synced=condition.synced,
        watching=condition.watching,
        last_contact_seconds_ago=(
            None if heard is None else round(asyncio.get_running_loop().time() - heard, 3)
        ),
        restarts=condition.restarts,
        last_error=condition.last_error,
    )


def _worker(endpoint: Endpoint, pool: Pool, now: float) -> Worker:
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
