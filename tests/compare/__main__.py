"""`make compare`: play the cases against leastwise, nginx and HAProxy, and write down who passes.

The table goes into docs/reliability.md, between two marks, and what failed how into
benchmarks/results/compare.json.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop

from tests.compare.cases import Case, cases, varnishtest
from tests.compare.proxies import PROXIES, Start, version
from tests.integration.process.harness import free_host
from tests.pages import put

PAGE = Path("docs/reliability.md")
RESULTS = Path("benchmarks/results/compare.json")
_AT_ONCE = 2


async def play(case: Case, start: Start) -> str:
    """Play a case against a proxy of its own; return what failed."""
    worker = free_host(), 8080
    with TemporaryDirectory() as folder:
        async with start(f"{worker[0]}:{worker[1]}", Path(folder)) as port:
            return await case.failure(port, worker)


async def play_all(start: Start, chosen: list[Case]) -> dict[str, str]:
    """Play the cases, a few at once; return by name what failed."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def play_one(case: Case) -> str:
        async with room:
            return await play(case, start)

    failures = await asyncio.gather(*(play_one(case) for case in chosen))
    return {case.name: failure for case, failure in zip(chosen, failures, strict=True)}


def reason(failure: str) -> str:
    """Find the line that says what failed."""
    lines = [line for line in failure.splitlines() if line.startswith("----")]
    return re.sub(r"\s+", " ", lines[0][4:]).strip() if lines else "took too long"


def table(chosen: list[Case], versions: dict[str, str], failures: dict[str, dict[str, str]]) -> str:
    """Write the table."""
    names = [f"{name} {version}" for name, version in versions.items()]
    lines = [f"| what | RFC | | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    for case in chosen:
        marks = ["**no**" if failures[name][case.name] else "yes" for name in versions]
        link = f"[{case.title}](../tests/compare/cases/{case.path.name})"
        cells = [link, case.rfc.replace("section ", ""), case.level.lower(), *marks]
        lines.append(f"| {' | '.join(cells)} |")
    sums = [f"{sum(not f for f in failures[name].values())} of {len(chosen)}" for name in versions]
    lines.append(f"| **passed** | | | {' | '.join(sums)} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--only", default="", help="Only cases whose name contains this; writes nothing.")
@click.option("--proxy", "proxies", multiple=True, help="Only these; writes nothing.")
@click.option("--verbose", is_flag=True, help="Show the whole log of what failed.")
def main(only: str, proxies: tuple[str, ...], *, verbose: bool) -> None:
    """Play the cases against all proxies."""
    if not varnishtest():
        sys.exit("varnishtest is missing: apt-get install varnish")
    chosen = [case for case in cases() if only in case.name]
    versions = {name: version(name) for name in proxies or PROXIES}
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        sys.exit(f"missing: apt-get install {' '.join(missing).lower()}")
    failures = {name: uvloop.run(play_all(PROXIES[name], chosen)) for name in versions}
    for name, found in failures.items():
        for case, failure in found.items():
            if failure:
                print(f"{name}: {case}: {reason(failure)}")
                if verbose:
                    print(failure)
    generated = table(chosen, {k: v or "" for k, v in versions.items()}, failures)
    print(generated.splitlines()[-1])
    if not only and not proxies:
        put(PAGE, "make compare", generated)
        told = {
            name: {case: reason(failure) for case, failure in found.items() if failure}
            for name, found in failures.items()
        }
        result = {"cases": len(chosen), "versions": versions, "failed": told}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(any(failures.get("leastwise", {}).values()))


if __name__ == "__main__":
    main()
