"""`python -m tests.chaos --seeds 20`: run the seeds, one JSON line each, and a summary."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import uvloop

from tests.chaos.run import chaos
from tests.pages import put

PAGE = Path("docs/reliability.md")
COLUMNS = ("seed", "cap", "requests", "client left", "sent again", "failed", "failed, as allowed",
           "faults", "memory")  # fmt: skip
SUMMARY = Path("benchmarks/results/chaos.json")


def table(results: list[dict[str, Any]]) -> str:
    """Write what came out of each seed."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        growth = (result["memory"]["after"] - result["memory"]["before"]) / 2**20
        excused = ", ".join(f"{count} {why}" for why, count in sorted(result["excused"].items()))
        cells = [
            *(result["seed"], result["pool"]["maxInFlight"], result["requests"]),
            *(result["clients_left"], result["retries"], len(result["failed"]), excused or 0),
            *(sum(result["faults"].values()), f"{growth:+.1f} MiB"),
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    passed = sum(not result["wrong"] for result in results)
    return "\n".join([*lines, "", f"{passed} of {len(results)} seeds passed."]) + "\n"


@click.command()
@click.option("--seeds", default=1, show_default=True, help="How many seeds.")
@click.option("--first", default=1, show_default=True, help="The first seed.")
@click.option("--seconds", default=60.0, show_default=True, help="How long each is run.")
@click.option("--keep", is_flag=True, help="Write chaos.json and its table in docs.")
def main(seeds: int, first: int, seconds: float, *, keep: bool) -> None:
    """Torment a balancer's workers, and see that it keeps its promise."""
    results = []
    for seed in range(first, first + seeds):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()) as said:
            result = uvloop.run(chaos(seed, seconds, Path(folder)))
        if result["wrong"]:
            print(said.getvalue(), file=sys.stderr)
        print(json.dumps(result), flush=True)
        results.append(result)
    passed = sum(not result["wrong"] for result in results)
    if keep:
        summary = {"passed": passed, "of": len(results), "seeds": results}
        SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
        put(PAGE, "make chaos", table(results))
    print(f"{passed} of {len(results)} seeds passed", file=sys.stderr)
    sys.exit(passed < len(results))


if __name__ == "__main__":
    main()
