"""`/metrics`: what Prometheus scrapes, made of the pool's own numbers at the moment of asking.

Nothing is counted here. What is told of an endpoint ends with the endpoint, so the number of time
series is bounded by the endpoints of the moment. A scrape of 500 workers takes some 15 ms of CPU;
it is written family by family with the event loop let go between them, so that no request waits
for more than the longest one.

Names and labels follow Prometheus's conventions (base units, `_total`; no label is called as one
that a ServiceMonitor adds, such as `endpoint`, which would be renamed); the durations are those of
OpenTelemetry's `http.server.request.duration`, under this program's prefix.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fastapi import APIRouter, Response
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from app import __version__
from app.admin import replicas
from app.admin.view import Watched
from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.telemetry.endings import NO_ENDPOINT, QUEUE_FULL, QUEUE_TIMEOUT
from app.telemetry.requests import BOUNDS, Histogram

_REFUSALS = {
    "queue_full": QUEUE_FULL,
    "queue_timeout": QUEUE_TIMEOUT,
    "no_endpoint": NO_ENDPOINT,
}
# A counter that begins with its first event hides it: Prometheus sees no increase. So those that
# may come are told from the start, as zeros.
_ENDINGS = ("CH", "CQ", "PQ", "PR", "SD", "SH", "SQ", "sD", "sH", "sQ")
_RETRIED = (
    Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT, Outcome.DIED, Outcome.REFUSED,
    Outcome.STALLED, Outcome.TIMED_OUT,
)  # fmt: skip
_EJECTING = (
    Sign.CHECK_FAILED, Sign.CONNECT_REFUSED, Sign.CONNECT_SILENT, Sign.DIED, Sign.PROBE_FAILED,
    Sign.TIMED_OUT,
)  # fmt: skip
_BOUNDS = [*map(str, BOUNDS), "+Inf"]

_Kind = type[GaugeMetricFamily] | type[CounterMetricFamily]
_OF_AN_ENDPOINT: tuple[tuple[_Kind, str, str, Callable[[Endpoint], int]], ...] = (
    (GaugeMetricFamily, "in_flight", "Requests that it has now.", lambda e: e.own),
    (CounterMetricFamily, "requests", "Requests sent its way, retries too.", lambda e: e.granted),
    (CounterMetricFamily, "failures", "Of these, failed after they were sent.", lambda e: e.failed),
    (CounterMetricFamily, "refusals", "Of these, refused as full.", lambda e: e.refusals),
    (CounterMetricFamily, "connect_errors", "Of these, not sent.", lambda e: e.connect_errors),
)


def router(pools: Callable[[], Sequence[Watched]]) -> APIRouter:
    """Serve the metrics of the pools that there are at the moment."""
    routes = APIRouter()
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    PlatformCollector(registry=process)
    GCCollector(registry=process)

    @routes.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        parts = []
        for family in families(pools()):
            parts.append(generate_latest(one(family)))
            await asyncio.sleep(0)  # others have requests to serve
        parts.append(generate_latest(process))
        return Response(b"".join(parts), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def families(views: Sequence[Watched]) -> Iterator[Metric]:
    """Yield every metric of the balancer, each once, with the samples of all pools.

    Of a single pool each is read when it is asked for.
    """
    yield _gauge("build_info", "The version that runs.", {"version": __version__}, 1)
    standing = views[0].replicas if views else None
    if standing is not None:
        yield from replicas.families(standing, {view.pool.key: view.pool.name for view in views})
    if len(views) == 1:
        yield from _families(views[0])
        return
    merged: dict[str, Metric] = {}
    for view in views:
        for family in _families(view):
            if family.name in merged:
                merged[family.name].samples += family.samples
            else:
                merged[family.name] = family
    yield from merged.values()


def _families(view: Watched) -> Iterator[Metric]:
    yield from _requests(view)
    yield from _pool(view)
    yield from _endpoints(view.pool, view.telemetry.requests.latency)
    yield from _surroundings(view)


class _One(Collector):
    """A single family, for who wants a registry."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """Yield it."""
        yield self._family


def one(family: Metric) -> CollectorRegistry:
    """Return a registry of this family alone."""
    registry = CollectorRegistry()
    registry.register(_One(family))
    return registry


# --- the parts


def _requests(view: Watched) -> Iterator[Metric]:
    pool, stats = {"pool": view.pool.name}, view.telemetry.requests
    yield _counter(
        "requests", "Requests that ended, by the class of their status; none if not answered.",
        pool, "code_class", {_class(digit): count for digit, count in enumerate(stats.classes)
                             if count or digit in {2, 4, 5}},
    )  # fmt: skip
    yield _counter(
        "requests_incomplete",
        "Requests that did not come to their end, by two letters (see the documentation).",
        pool, "ending", dict.fromkeys(_ENDINGS, 0) | stats.endings,
    )  # fmt: skip
    yield _counter(
        "refusals", "Requests that got no slot, and were answered 503.", pool, "reason",
        {reason: stats.endings[letters] for reason, letters in _REFUSALS.items()},
    )  # fmt: skip
    yield _counter(
        "retries", "Attempts that failed and were sent again, by how they had ended.",
        pool, "reason",
        {outcome.name.lower(): view.retries.get(outcome, 0) for outcome in _RETRIED},
    )  # fmt: skip
    for name, text, histogram in (
        ("request_duration_seconds", "From the request's head to its end.", stats.duration),
        ("request_queue_seconds", "From asking for a slot to the last slot.", stats.waiting),
        ("request_first_byte_seconds", "From head to the answer's head.", stats.first_byte),
    ):
        yield _histogram(name, text, pool, histogram)


def _pool(view: Watched) -> Iterator[Metric]:
    pool, labels = view.pool, {"pool": view.pool.name}
    policy = pool.policy
    yield _gauge(
        "requests_in_flight", "Requests that workers have now.", labels, pool.own_in_flight
    )
    yield _gauge("queue_length", "Requests that wait for a slot.", labels, pool.own_queued)
    yield _gauge("queue_limit", "Most requests that may wait.", labels, policy.queue.size)
    if policy.max_in_flight is not None:
        slots = policy.max_in_flight * len(pool.rotation)
        yield _gauge("slots", "Cap times workers in rotation.", labels, slots)
    yield _gauge(
        "workers_in_rotation", "Workers that get new requests.", labels, len(pool.rotation)
    )
    phases = Counter(endpoint.phase for endpoint in pool.endpoints.values())
    by_phase = GaugeMetricFamily(
        "leastwise_workers", "Workers, by what they are doing.", labels=["pool", "phase"]
    )
    for phase in Phase:
        by_phase.add_metric([pool.name, phase.value], phases[phase])
    yield by_phase
    yield _counter(
        "ejections", "Workers taken out of rotation, by what was seen of them.", labels, "reason",
        {sign.name.lower(): view.telemetry.events.ejections[sign] for sign in _EJECTING},
    )  # fmt: skip


def _endpoints(pool: Pool, latency: Mapping[str, float]) -> Iterator[Metric]:
    shown = told_apart(pool.endpoints.values())
    phases = GaugeMetricFamily(
        "leastwise_worker_phase",
        "1 for what the worker is doing.",
        labels=["pool", "worker", "phase"],
    )
    for name, endpoint in shown.items():
        phases.add_metric([pool.name, name, endpoint.phase.value], 1)
    yield phases
    for kind, metric, text, value in _OF_AN_ENDPOINT:
        family = kind(f"leastwise_worker_{metric}", text, labels=["pool", "worker"])
        for name, endpoint in shown.items():
            family.add_metric([pool.name, name], value(endpoint))
        yield family
    seconds = GaugeMetricFamily(
        "leastwise_worker_answer_seconds",
        "Moving average from sent to the answer's head.",
        labels=["pool", "worker"],
    )
    for name, endpoint in shown.items():
        if endpoint.name in latency:
            seconds.add_metric([pool.name, name], latency[endpoint.name])
    yield seconds


def told_apart(endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    """Return the endpoints by names that differ.

    A pod of a StatefulSet comes back under its old name, maybe while its last life still has a
    request: then only the new one is told, since a name told twice fails the whole scrape.
    """
    shown: dict[str, Endpoint] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: not endpoint.member):
        if endpoint.name not in shown:
            shown[endpoint.name] = endpoint
        elif endpoint.member:
            shown[endpoint.spec.identity] = endpoint
    return shown


def _surroundings(view: Watched) -> Iterator[Metric]:
    labels, telemetry = {"pool": view.pool.name}, view.telemetry
    clients, workers = view.connections()
    yield _gauge("downstream_connections", "Open connections of clients.", labels, clients)
    yield _gauge("upstream_connections", "Open connections to workers.", labels, workers)
    yield _gauge("ready", "Whether new requests should come here.", labels, int(not view.unready()))
    yield _gauge(
        "probe_ignored",
        "Whether the probe is not obeyed, since every worker fails it.",
        labels,
        int(view.probe_ignored),
    )
    yield _gauge(
        "config_generation",
        "Configurations that came into force.",
        labels,
        telemetry.config_generation,
    )
    yield _gauge(
        "config_ok", "Whether the pool's file, as it stands, is in force.", labels,
        int(telemetry.config_ok),
    )  # fmt: skip
    updates = CounterMetricFamily(
        "leastwise_endpoint_updates", "Snapshots taken in from discovery.", labels=["pool"]
    )
    updates.add_metric([view.pool.name], telemetry.endpoint_updates)
    yield updates
    watch = view.discovery
    if watch is None:
        return
    yield _gauge("watch_up", "Whether a watch stands.", labels, int(watch.watching))
    if watch.last_contact is not None:
        age = asyncio.get_running_loop().time() - watch.last_contact
        yield _gauge("watch_age_seconds", "Since the API server was last heard.", labels, age)
    restarts = CounterMetricFamily(
        "leastwise_watch_restarts", "Watches begun anew because of a failure.", labels=["pool"]
    )
    restarts.add_metric([view.pool.name], watch.restarts)
    yield restarts


# --- how a family is made


def _class(digit: int) -> str:
    return f"{digit}xx" if digit else "none"


def _gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"leastwise_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _counter(
    name: str, text: str, labels: Mapping[str, str], by: str, counts: Mapping[str, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"leastwise_{name}", text, labels=[*labels, by])
    for key, count in sorted(counts.items()):
        family.add_metric([*labels.values(), key], count)
    return family


def _histogram(
    name: str, text: str, labels: Mapping[str, str], histogram: Histogram
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"leastwise_{name}", text, labels=list(labels))
    buckets = list(zip(_BOUNDS, histogram.cumulated(), strict=True))
    family.add_metric(list(labels.values()), buckets, histogram.total)
    return family
