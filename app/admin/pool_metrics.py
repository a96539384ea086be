"""The metrics of one pool: its requests, its queue, its workers, and what they come from.

Requests, queue and what is under way are those of this replica, so that sums over the replicas
hold; slots, workers and limits are the same at each of them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.admin.families import counter, counters, gauge, histogram, watch
from app.admin.view import Watched
from app.balancing.endpoint import Endpoint, Phase
from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.balancing.pool import Pool
from app.telemetry.endings import NO_ENDPOINT, QUEUE_FULL, QUEUE_TIMEOUT

_REFUSALS = {
    "queue_full": QUEUE_FULL,
    "queue_timeout": QUEUE_TIMEOUT,
    "no_endpoint": NO_ENDPOINT,
}
# A counter that begins with its first event hides it: Prometheus sees no increase. So those that
# may come are told from the start, as zeros: all that the documentation speaks of.
_ENDINGS = (
    "CD", "CH", "CQ", "PH", "PQ", "PR", "SC", "SD", "SH", "SQ", "cR", "sC", "sD", "sH", "sQ",
)  # fmt: skip
_RETRIED = (
    Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT, Outcome.DIED, Outcome.REFUSED,
    Outcome.STALLED, Outcome.TIMED_OUT,
)  # fmt: skip
_EJECTING = (
    Sign.CHECK_FAILED, Sign.CONNECT_REFUSED, Sign.CONNECT_SILENT, Sign.DIED, Sign.PROBE_FAILED,
    Sign.TIMED_OUT,
)  # fmt: skip

_Kind = type[GaugeMetricFamily] | type[CounterMetricFamily]
_OF_AN_ENDPOINT: tuple[tuple[_Kind, str, str, Callable[[Endpoint], int]], ...] = (
    (
        GaugeMetricFamily, "in_flight",
        "Requests of this replica that the worker has now.", lambda e: e.own,
    ),
    (
        CounterMetricFamily, "requests",
        "Attempts of this replica that were given to the worker, retries included.",
        lambda e: e.granted,
    ),
    (
        CounterMetricFamily, "failures",
        "Attempts of this replica that failed after they were sent to the worker.",
        lambda e: e.failed,
    ),
    (
        CounterMetricFamily, "refusals",
        "Attempts of this replica that the worker refused as full.", lambda e: e.refusals,
    ),
    (
        CounterMetricFamily, "connect_errors",
        "Attempts of this replica for which no connection to the worker was made.",
        lambda e: e.connect_errors,
    ),
)  # fmt: skip


def families(view: Watched) -> Iterator[Metric]:
    """Yield every metric of the pool."""
    yield from _requests(view)
    yield from _pool(view)
    yield from _endpoints(view.pool, view.telemetry.requests.latency)
    yield from _surroundings(view)


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


def _requests(view: Watched) -> Iterator[Metric]:
    pool, stats = {"pool": view.pool.name}, view.telemetry.requests
    yield counters(
        "requests",
        "Requests of this replica that ended, by the class of their status; none: not answered.",
        "code_class",
        {_class(digit): count for digit, count in enumerate(stats.classes)
         if count or digit in {2, 4, 5}},
        pool,
    )  # fmt: skip
    yield counters(
        "requests_incomplete",
        "Requests of this replica that did not come to their end, by two letters: what ended them,"
        " and where they were (docs/observability.md).",
        "ending", dict.fromkeys(_ENDINGS, 0) | stats.endings, pool,
    )  # fmt: skip
    yield counters(
        "refusals", "Requests of this replica that got no slot, and were answered 503, by reason.",
        "reason", {reason: stats.endings[letters] for reason, letters in _REFUSALS.items()}, pool,
    )  # fmt: skip
    yield counters(
        "retries", "Attempts of this replica that failed and were sent again, by how they ended.",
        "reason",
        {outcome.name.lower(): view.retries.get(outcome, 0) for outcome in _RETRIED}, pool,
    )  # fmt: skip
    for name, text, counted in (
        ("duration", "From the request's head to its end.", stats.duration),
        (
            "queue",
            "From asking for a slot to the last slot given; with a retry, the lost attempt too.",
            stats.waiting,
        ),
        ("first_byte", "From the request's head until the answer is passed on.", stats.first_byte),
    ):
        yield histogram(f"request_{name}_seconds", text, counted, pool)


def _pool(view: Watched) -> Iterator[Metric]:
    pool, labels = view.pool, {"pool": view.pool.name}
    policy = pool.policy
    text = "Requests of this replica that workers have now."
    yield gauge("requests_in_flight", text, pool.own_in_flight, labels)
    text = "Requests of this replica that wait for a slot."
    yield gauge("queue_length", text, pool.own_queued, labels)
    text = "Most requests that may wait, of all replicas that act as one."
    yield gauge("queue_limit", text, policy.queue.size, labels)
    if policy.max_in_flight is not None:
        text = "Cap times workers in rotation; the same for all replicas."
        yield gauge("slots", text, policy.max_in_flight * len(pool.rotation), labels)
    text = "Workers that get new requests, as this replica sees them."
    yield gauge("workers_in_rotation", text, len(pool.rotation), labels)
    phases = Counter(endpoint.phase for endpoint in pool.endpoints.values())
    by_phase = GaugeMetricFamily(
        "leastwise_workers",
        "Workers as this replica sees them, by phase.",
        labels=["pool", "phase"],
    )
    for phase in Phase:
        by_phase.add_metric([pool.name, phase.value], phases[phase])
    yield by_phase
    ejections = view.telemetry.events.ejections
    yield counters(
        "ejections", "Workers that this replica took out of rotation, by what was seen of them.",
        "reason", {sign.name.lower(): ejections[sign] for sign in _EJECTING}, labels,
    )  # fmt: skip


def _endpoints(pool: Pool, latency: Mapping[str, float]) -> Iterator[Metric]:
    shown = told_apart(pool.endpoints.values())
    phases = GaugeMetricFamily(
        "leastwise_worker_phase",
        "1 for the phase that the worker is in.",
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
        "Moving average of the worker's recent answers, until they are passed on.",
        labels=["pool", "worker"],
    )
    for name, endpoint in shown.items():
        if endpoint.name in latency:
            seconds.add_metric([pool.name, name], latency[endpoint.name])
    yield seconds


def _surroundings(view: Watched) -> Iterator[Metric]:
    labels, telemetry = {"pool": view.pool.name}, view.telemetry
    _, workers = view.connections()
    text = "Open connections of this replica to workers."
    yield gauge("upstream_connections", text, workers, labels)
    text = "Whether the pool's probe is not obeyed, since every worker fails it."
    yield gauge("probe_ignored", text, view.probe_ignored, labels)
    text = "Configurations of the pool that came into force since this replica started."
    yield gauge("config_generation", text, telemetry.config_generation, labels)
    text = "Whether the pool's newest spec is in force; else the last good one is."
    yield gauge("config_ok", text, telemetry.config_ok, labels)
    text = "Snapshots of the pool's workers that this replica took in from discovery."
    yield counter("endpoint_updates", text, telemetry.endpoint_updates, labels)
    if view.discovery is not None:
        now = asyncio.get_running_loop().time()
        yield from watch("", "the pool's EndpointSlices", view.discovery, now, labels)


def _class(digit: int) -> str:
    return f"{digit}xx" if digit else "none"
