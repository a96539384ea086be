"""What a run has to show: each figure against its limit. Pure.

A figure that could not be measured does not pass: what was not seen was not shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.demo.scenario import Fault, Scenario

REACT_MS = 5.0
REJOIN_MS = {Fault.KILL: 150.0, Fault.HANG: 1200.0}
QUEUE_WAIT = 3.0
"""In scenario seconds."""

DISPATCH_FACTOR, DISPATCH_SLACK_MS = 2.0, 1.0
"""What dispatch p99 after the fault may be, of the p99 before, and on top."""

FEWEST_REQUESTS = 248


@dataclass(frozen=True, slots=True)
class Criterion:
    """One figure and what it may be at the most, or at the least."""

    name: str
    figure: float | None
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the figure was measured and keeps to its limit."""
        if self.figure is None:
            return False
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def told_figure(self) -> str:
        """The figure for people."""
        return "not measured" if self.figure is None else _told(self.figure, self.unit)

    @property
    def told_limit(self) -> str:
        """The limit for people."""
        return f"{'≥' if self.at_least else '≤'} {_told(self.limit, self.unit)}"

    def as_json(self) -> dict[str, Any]:
        """Return it for `demo.json`."""
        return {
            "name": self.name,
            "figure": self.figure,
            "limit": self.limit,
            "unit": self.unit,
            "at_least": self.at_least,
            "pass": self.passed,
        }


def criteria(scenario: Scenario, figures: Mapping[str, Any]) -> list[Criterion]:
    """Hold the figures of `analysis` against their limits."""
    spread, in_flight = figures["max_spread"], figures["max_in_flight"]
    before, after = (figures["dispatch_ms"][when]["p99"] for when in ("before", "after"))
    slowest = DISPATCH_FACTOR * before + DISPATCH_SLACK_MS if before is not None else 0.0
    refusals, refused = "worker_refusals", "refusals by workers"
    if scenario.fault is Fault.HANG:
        refusals += "_unexpected"
        refused += ", but right after SIGCONT"
    victim, wait = scenario.victim, scenario.wall(QUEUE_WAIT) * 1000
    return [
        Criterion("requests", figures["requests"], FEWEST_REQUESTS, at_least=True),
        Criterion("requests that failed", figures["responses_failed"], 0),
        Criterion("most in flight on a worker, by its count", in_flight["overall"],
                  scenario.cap),
        Criterion(refused, figures[refusals], 0),
        Criterion("dispatches not to a least-loaded worker", figures["misplaced"], 0),
        Criterion("largest spread before the fault", spread["before"], 1),
        Criterion("largest spread while it lasts", spread["during"], 1),
        Criterion("largest spread after the return", spread["after"], 2),
        Criterion("other workers taken out of rotation", figures["others_out"], 0),
        Criterion(f"requests sent to {victim} while it was out", figures["sent_while_out"], 0),
        Criterion("first sign to out of rotation", figures["react_ms"], REACT_MS, "ms"),
        Criterion("able to work to back in rotation", figures["rejoin_ms"],
                  REJOIN_MS[scenario.fault], "ms"),
        Criterion("longest wait while all workers were full", figures["queue_wait_ms"], wait, "ms"),
        Criterion("dispatch after the fault, p99", after, round(slowest, 3), "ms"),
    ]  # fmt: skip


def _told(value: float, unit: str) -> str:
    if not unit:
        return f"{value:g}"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"  # noqa: PLR2004
