"""One run of benchmarks: how thorough it is, and where its results go."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.machine import description
from benchmarks.stats import tidied, tidy
from benchmarks.tables import Table

RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")
Tables = Callable[[dict[str, Any]], list[Table]]
"""What makes the tables of a benchmark from what its JSON holds."""


@dataclass(frozen=True)
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

    @cached_property
    def about(self) -> dict[str, Any]:
        """Where and when it is, and how thorough, as it stands in all its results."""
        return {
            "quick": self.quick,
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "busy_before": tidy(self.busy_before),
            "machine": description(),
        }

    def conclude(self, name: str, figures: Mapping[str, Any], tables: Tables) -> None:
        """Print what a benchmark found, and keep it with where and when that was."""
        kept = tidied({**figures, "run": self.about})
        show(tables(kept))
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n")


def told(about: Mapping[str, Any]) -> str:
    """Say where and when results were found."""
    machine = about["machine"]
    program = "leastwise compiled" if machine.get("compiled") else "leastwise in plain Python"
    return (
        f"A {'quick' if about['quick'] else 'full'} run of {about['at'][:10]} on"
        f" {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB,"
        f" {machine['system']}, Python {machine['python']}, uvloop {machine['uvloop']},"
        f" {program};"
        f" {about['busy_before']:.0%} of it was busy with other things before."
    )


def show(tables: Iterable[Table]) -> None:
    """Print tables to the terminal."""
    for table in tables:
        print(f"\n{table.text()}", flush=True)


def load(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Return what a benchmark found last, None if it never ran."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found
