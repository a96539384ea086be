"""One run of benchmarks: how thorough it is, and where its results go."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.machine import description
from benchmarks.stats import tidied

RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """What the benchmarks are to do."""

    quick: bool = False
    """Short rounds, and few: for a look, not for a claim."""

    results: Path = RESULTS
    """The folder of the JSON files."""

    contenders: tuple[str, ...] = ()
    """The proxies to measure, all if none is named."""

    latency: bool = True
    """Whether the open loops are run, too."""

    busy_before: float = 0.0
    """The share of the machine that was busy with other things when the run began."""

    def either(self, full: T, quick: T) -> T:
        """Return the one or the other."""
        return quick if self.quick else full

    def save(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep what a benchmark found, with where and when."""
        self.results.mkdir(parents=True, exist_ok=True)
        about = {
            "quick": self.quick,
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "busy_before": self.busy_before,
            "machine": description(),
        }
        text = json.dumps(tidied({**figures, "run": about}), indent=2)
        (self.results / f"{name}.json").write_text(text + "\n")


def load(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Return what a benchmark found last, None if it never ran."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found
