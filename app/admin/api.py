"""The admin API (FastAPI): liveness, readiness, and the pools as JSON.

It only reads. What it shows is taken from the pools at the moment of asking.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Annotated, Literal, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from app import __version__
from app.admin import dashboard, metrics
from app.admin.choosing import WhichPoolError, answer, choose
from app.admin.pools import ServedPool, ServedPools, router
from app.admin.view import WatchedBalancer
from app.admin.workers import Workers, workers_of
from app.discovery.list_watch import Condition
from app.telemetry.ring import Ring


class View(WatchedBalancer, Protocol):
    """What the admin port may see of the balancer."""

    @property
    def pools(self) -> ServedPools:
        """The pools."""

    @property
    def ring(self) -> Ring:
        """What happened."""

    @property
    def watches(self) -> Sequence[Condition]:
        """How each watch of the Kubernetes API is doing."""

    def totals(self) -> dict[str, int]:
        """Counters since the start, by name."""


class Discovery(BaseModel):
    """A watch of the Kubernetes API. It says nothing of readiness: what is known stays."""

    name: str = Field(description="what is watched")
    synced: bool = Field(description="whether the whole set was known once")
    watching: bool = Field(description="whether a watch stands now")
    last_contact_seconds_ago: float | None = Field(description="since the server was last heard")
    restarts: int = Field(description="how often it was begun anew because of a failure")
    last_error: str = Field(description="the last failure; it stays when all is well again")


class Readiness(BaseModel):
    """Whether new requests should come here."""

    status: Literal["ready", "not ready"]
    reasons: list[str]
    discovery: list[Discovery] | None = Field(
        default=None,
        description="with ?verbose: of the WorkerPools, and of each pool's EndpointSlices; empty "
        "for a pool of a file that lists its workers",
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
            discovery=(None if verbose is None else [_discovery(each) for each in view.watches]),
        )

    @app.get("/ping", response_class=PlainTextResponse, summary="Answer pong")
    async def ping() -> str:
        return "pong\n"

    def named(pool: str) -> ServedPool:
        return choose(pool, view.pools.served)

    @app.get(
        "/workers",
        summary="The workers of one pool and what they do",
        responses={404: {"description": "no such pool, or several and none was named"}},
    )
    async def workers(
        pool: Annotated[str, Query(description="the pool's name, if there are several")] = "",
    ) -> Workers:
        return workers_of(named(pool), view.totals(), monotonic())

    app.include_router(router(view))
    app.include_router(metrics.router(view))
    app.include_router(dashboard.router(named, lambda: view.pools.served))

    @app.exception_handler(WhichPoolError)
    async def which_pool(request: Request, error: WhichPoolError) -> Response:  # noqa: ARG001
        return answer(error)

    return app


def _discovery(condition: Condition) -> Discovery:
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
