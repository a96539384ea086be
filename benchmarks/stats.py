"""The few statistics that the benchmarks report: medians with their spread, and percentiles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LATENCIES = {"p50": 0.50, "p99": 0.99, "p99_9": 0.999}
"""The percentiles that are reported, by their keys in the results."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What a figure was in the rounds of one run."""

    median: float
    lowest: float
    highest: float

    def as_json(self) -> dict[str, float]:
        """Return it as the results hold it."""
        return {"median": tidy(self.median), "min": tidy(self.lowest), "max": tidy(self.highest)}


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and greatest. Raises ValueError if there are no values."""
    found = sorted(values)
    if not found:
        raise ValueError("no rounds were measured")
    return Spread(median(found), found[0], found[-1])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the sorted values do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no values")
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the reported percentiles of `values`, which may be in any order."""
    ordered = sorted(values)
    return {name: percentile(ordered, share) for name, share in LATENCIES.items()}


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def tidy(value: float) -> float:
    """Round to four significant digits: what is beyond them is noise, and noise in a diff."""
    return float(f"{value:.4g}")


def tidied(tree: Mapping[str, object]) -> dict[str, Any]:
    """Round each float in what nests dictionaries and lists. Raises TypeError else."""
    return {key: _tidied(value) for key, value in tree.items()}


def _tidied(tree: object) -> object:
    match tree:
        case bool() | int() | str() | None:
            return tree
        case float():
            return tidy(tree)
        case Mapping():
            return {key: _tidied(value) for key, value in tree.items()}
        case list() | tuple():
            return [_tidied(value) for value in tree]
    raise TypeError(f"no place for {type(tree).__name__} in the results")
