"""Run the benchmarks: `python -m benchmarks`, or those named: `python -m benchmarks proxy`."""

from collections.abc import Callable
from pathlib import Path
from time import sleep

import click

from benchmarks import (
    balance,
    bodies,
    connections,
    demo,
    discovery,
    docs,
    features,
    metrics,
    picking,
    proxy,
    queueing,
    replicas,
    replicas_simulated,
    targets,
    telemetry,
)
from benchmarks.contenders import NAMES
from benchmarks.machine import ALL_CORES, busy_seconds
from benchmarks.run import RESULTS, Run, show, told

ALL: dict[str, Callable[[Run], None]] = {
    "proxy": proxy.main,
    "picking": picking.main,
    "queueing": queueing.main,
    "connections": connections.main,
    "bodies": bodies.main,
    "features": features.main,
    "metrics": metrics.main,
    "discovery": discovery.main,
    "telemetry": telemetry.main,
    "balance": balance.main,
}

APART: dict[str, Callable[[Run], None]] = {"replicas": replicas.main, "demo": demo.main}
"""What is run only if it is named: the first takes as long as half of the others together, the
second changes the README and its picture."""

PARTS: dict[str, Callable[[Run], None]] = {"replicas_simulated": replicas_simulated.main}
"""What can also be run without the benchmark that it is a part of."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*ALL, *APART, *PARTS, "docs"]))
@click.option("--quick", is_flag=True, help="Short rounds, and few.")
@click.option(
    "--results",
    default=RESULTS,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the JSON goes. The docs follow the default place, and no other.",
)
@click.option(
    "--contenders",
    metavar="NAME,...",
    default="",
    help=f"proxy: of {', '.join(NAMES)}; the result is printed and not kept.",
)
@click.option("--no-latency", is_flag=True, help="proxy: no open loops; printed and not kept.")
def main(
    names: tuple[str, ...], *, quick: bool, results: Path, contenders: str, no_latency: bool
) -> None:
    """Measure side by side, print tables, and keep JSON in benchmarks/results.

    At the end docs/performance.md, docs/balancing.md and the README's table are made anew from the
    JSON; `docs` does that alone.
    """
    chosen = tuple(filter(None, contenders.split(",")))
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise click.UsageError(f"no contender {', '.join(unknown)}: there are {', '.join(NAMES)}")
    wanted = [name for name in names or ALL if name != "docs"]
    if wanted:
        run = Run(quick, results, chosen, latency=not no_latency, busy_before=_busy())
        print(told(run.about))
        for name in wanted:
            {**ALL, **APART, **PARTS}[name](run)
    show([targets.table(docs.found(results))])
    if results.resolve() == RESULTS:
        docs.main()


def _busy() -> float:
    """Say how busy the machine is with other things; complain if it is."""
    before, seconds = busy_seconds(), 1.0
    sleep(seconds)
    share = (busy_seconds() - before) / seconds / len(ALL_CORES)
    if share > 0.1:
        print(f"the machine is {share:.0%} busy with other things: trust ratios, and few of them")
    return share


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
