"""`python -m tests.chaos --seeds 20`: run the seeds, one JSON line each, and a summary."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop

from tests.chaos.run import chaos

SUMMARY = Path("benchmarks/results/chaos.json")


@click.command()
@click.option("--seeds", default=1, show_default=True, help="How many seeds.")
@click.option("--first", default=1, show_default=True, help="The first seed.")
@click.option("--seconds", default=60.0, show_default=True, help="How long each is run.")
@click.option("--keep", is_flag=True, help="Write the summary to benchmarks/results/.")
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
    print(f"{passed} of {len(results)} seeds passed", file=sys.stderr)
    sys.exit(passed < len(results))


if __name__ == "__main__":
    main()
