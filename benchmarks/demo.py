"""The README's table and picture: `leastwise demo`, once with each fault, and what is kept of it.

The demo measures itself, and this only keeps its `demo.json` and its picture. A run whose criteria
were not all met is kept as well: the table says so.
"""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.demo.scenario import Fault
from benchmarks.run import RESULTS, Run, show
from benchmarks.stats import tidied
from benchmarks.tables import Table, figure
from benchmarks.targets import Results

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "in-flight.svg"
NAMES = {fault: f"demo-{fault.value}" for fault in Fault}
"""The results' names, without `.json`."""

_DROPPED = ("at", "versions", "retried_by", "send_late_ms")
_HEADER = {Fault.KILL: "worker killed", Fault.HANG: "worker hangs"}


def main(run: Run) -> None:
    """Run the demo with both faults; its picture is that of the kill."""
    found: dict[str, dict[str, Any] | None] = {}
    for fault, name in NAMES.items():
        with TemporaryDirectory() as folder:
            play(fault, Path(folder))
            kept: dict[str, Any] = json.loads((Path(folder) / "demo.json").read_text())
            if fault is Fault.KILL:
                picture = (Path(folder) / "in-flight.svg").read_text("utf-8")
                kept["picture_sha256"] = digest(picture)
                if run.results.resolve() == RESULTS:
                    PICTURE.write_text(picture, "utf-8")
        kept = {key: value for key, value in kept.items() if key not in _DROPPED}
        # In plain Python, whatever has been compiled: a checkout's demo is.
        kept["run"] = run.about | {"build": "leastwise plain"}
        found[name] = kept
        run.results.mkdir(parents=True, exist_ok=True)
        (run.results / f"{name}.json").write_text(json.dumps(tidied(kept), indent=2) + "\n")
    show([table(found)])


def play(fault: Fault, folder: Path) -> None:
    """Run the demo; its report goes into the folder. Raises OSError if it wrote none."""
    command = [sys.executable, "-m", "app", "demo", "--fault", fault.value]
    subprocess.run([*command, "--report-dir", str(folder)], check=False)


def digest(picture: str) -> str:
    """Say by what a picture is known to be that of the results."""
    return sha256(picture.encode()).hexdigest()


def markdown(found: Results) -> str:
    """Return the section of the README."""
    (first, *_), runs = NAMES.values(), [found[name] for name in NAMES.values()]
    kept = found[first]
    if kept is None or None in runs:
        return "Not measured yet."
    about, machine = kept["run"], kept["run"]["machine"]
    return (
        f"Runs of {about['at'][:10]} on {machine['cores']} cores of {machine['processor']}, in"
        f" plain Python ({machine['python']}), at {kept['speed']:g} times the speed; all times are"
        f" wall time. {about['busy_before']:.0%} of the machine was busy with other things"
        f" before.\n\n{table(found).markdown()}"
    )


def table(found: Results) -> Table:
    """Return what the runs showed."""
    columns = [_column(fault, found[name] or {}) for fault, name in NAMES.items()]
    rows = [[what, *(column[what] for column in columns)] for what in columns[0]]
    return Table("The scenario", ["", *(_HEADER[fault] for fault in NAMES)], rows)


def _column(fault: Fault, run: dict[str, Any]) -> dict[str, str]:
    criteria, spread, dispatch = run["criteria"], run["max_spread"], run["dispatch_ms"]["after"]
    met = sum(criterion["pass"] for criterion in criteria)
    signs = "" if fault is Fault.KILL else " (failed probes)"
    failed = f"{run['responses_failed']} of {run['requests']} ({run['retried']} sent again)"
    return {
        "failed requests": failed,
        "most at once on a worker, by its own count": str(run["max_in_flight"]["overall"]),
        "largest spread before / during / after the fault":
            " / ".join(str(spread[when]) for when in ("before", "during", "after")),
        "to dispatch a request after the fault, p50 and p99":
            f"{_ms(dispatch['p50'])}, {_ms(dispatch['p99'])}",
        "from the fault to its first sign": _ms(run["fault_to_sign_ms"]) + signs,
        "from the first sign to out of rotation": _ms(run["react_ms"]),
        "from able to work to back in rotation": _ms(run["rejoin_ms"]),
        "longest wait while every worker was full": _ms(run["queue_wait_ms"]),
        "criteria met": f"{met} of {len(criteria)}",
    }  # fmt: skip


def _ms(value: float | None) -> str:
    return "not seen" if value is None else f"{figure(value)} ms"
