"""`/metrics`: what Prometheus scrapes, made of the balancer's own numbers at the moment of asking.

Nothing is counted here. What is told of an endpoint ends with the endpoint, so the number of time
series is bounded by the endpoints of the moment. A scrape of 500 workers takes some 15 ms of CPU;
it is written family by family with the event loop let go between them, so that no request waits
for more than the longest one.

Names and labels follow Prometheus's conventions (base units, `_total`; no label is called as one
that a ServiceMonitor adds, such as `endpoint`, which would be renamed); the durations are those of
OpenTelemetry's `http.server.request.duration`, under this program's prefix.
"""

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app import __version__
from app.admin import pool_metrics, replicas
from app.admin.families import counters, gauge, one, watch
from app.admin.view import WatchedBalancer

_REJECTING = (400, 404, 408, 414, 431)
"""Statuses that are told from the start, as zeros: see `pool_metrics`."""


def router(view: WatchedBalancer) -> APIRouter:
    """Serve the metrics of the balancer, with the pools that there are at the moment."""
    routes = APIRouter()
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    PlatformCollector(registry=process)
    GCCollector(registry=process)

    @routes.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        parts = []
        for family in families(view):
            parts.append(generate_latest(one(family)))
            await asyncio.sleep(0)  # others have requests to serve
        parts.append(generate_latest(process))
        return Response(b"".join(parts), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def families(view: WatchedBalancer) -> Iterator[Metric]:
    """Yield every metric of the balancer, each once, with the samples of all pools.

    Of a single pool each is read when it is asked for.
    """
    pools = view.pools.served
    yield from _whole(view)
    standing = view.replicas
    if standing is not None:
        yield from replicas.families(standing, {each.pool.key: each.pool.name for each in pools})
    if len(pools) == 1:
        yield from pool_metrics.families(pools[0])
        return
    merged: dict[str, Metric] = {}
    for pool in pools:
        for family in pool_metrics.families(pool):
            if family.name in merged:
                merged[family.name].samples += family.samples
            else:
                merged[family.name] = family
    yield from merged.values()


def _whole(view: WatchedBalancer) -> Iterator[Metric]:
    """Tell what is the balancer's and no pool's."""
    yield gauge("build_info", "The version that runs.", 1, {"version": __version__})
    yield gauge("ready", "Whether new requests should come to this replica.", not view.unready())
    yield gauge("stopping", "Whether this replica is being stopped.", view.stopping)
    clients = view.client_connections
    yield gauge("downstream_connections", "Open connections of clients to this replica.", clients)
    yield counters(
        "rejected_requests",
        "Requests that this replica answered before they reached a pool, by status.",
        "status",
        dict.fromkeys(_REJECTING, 0) | dict(view.rejected),
    )
    if view.pool_watch is None:
        return
    now = asyncio.get_running_loop().time()
    yield from watch("workerpools_", "WorkerPools", view.pool_watch, now)
    states = GaugeMetricFamily(
        "leastwise_workerpools",
        "WorkerPools that this replica serves, or refuses since none of their specs was accepted.",
        labels=["state"],
    )
    states.add_metric(["served"], len(view.pools.served))
    states.add_metric(["refused"], len(view.pools.refused))
    yield states
