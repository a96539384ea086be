"""How a family of metrics is made, for `metrics`, `pool_metrics` and `replicas`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.discovery.list_watch import Condition
from app.telemetry.requests import BOUNDS, Histogram

_BOUNDS = [*map(str, BOUNDS), "+Inf"]
_NO_LABELS: Mapping[str, str] = {}

Key = TypeVar("Key", str, int)


def gauge(
    name: str, text: str, value: float, labels: Mapping[str, str] = _NO_LABELS
) -> GaugeMetricFamily:
    """Make a gauge with one sample."""
    family = GaugeMetricFamily(f"leastwise_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def counter(
    name: str, text: str, value: float, labels: Mapping[str, str] = _NO_LABELS
) -> CounterMetricFamily:
    """Make a counter with one sample; `_total` comes by itself."""
    family = CounterMetricFamily(f"leastwise_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def counters(
    name: str,
    text: str,
    by: str,
    counts: Mapping[Key, int],
    labels: Mapping[str, str] = _NO_LABELS,
) -> CounterMetricFamily:
    """Make a counter with a sample for each key, under the label `by`."""
    family = CounterMetricFamily(f"leastwise_{name}", text, labels=[*labels, by])
    for key, count in sorted(counts.items()):
        family.add_metric([*labels.values(), str(key)], count)
    return family


def histogram(
    name: str, text: str, counted: Histogram, labels: Mapping[str, str]
) -> HistogramMetricFamily:
    """Make a histogram, in seconds."""
    family = HistogramMetricFamily(f"leastwise_{name}", text, labels=list(labels))
    buckets = list(zip(_BOUNDS, counted.cumulated(), strict=True))
    family.add_metric(list(labels.values()), buckets, counted.total)
    return family


def watch(
    prefix: str, of: str, condition: Condition, now: float, labels: Mapping[str, str] = _NO_LABELS
) -> Iterator[Metric]:
    """Tell how a watch of the Kubernetes API is doing; `now` is the event loop's time."""
    yield gauge(f"{prefix}watch_up", f"Whether a watch of {of} stands.", condition.watching, labels)
    if condition.last_contact is not None:
        text = f"Time since the Kubernetes API was last heard on the watch of {of}."
        yield gauge(f"{prefix}watch_age_seconds", text, now - condition.last_contact, labels)
    text = f"Watches of {of} that were begun anew because of a failure."
    yield counter(f"{prefix}watch_restarts", text, condition.restarts, labels)


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
