"""The docs' pages of results: their tables and pictures come from the results, between markers.

    <!-- bench:NAME -->
    whatever stands here is replaced
    <!-- /bench -->

So no figure stands there that a run did not print. NAME is a benchmark's, or `benchmark/part` for
one part of it. A unit test holds the pages and their pictures against the results.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    bodies,
    connections,
    demo,
    discovery,
    features,
    metrics,
    picking,
    plots,
    proxy_figures,
    queueing,
    replicas_figures,
    targets,
    telemetry,
)
from benchmarks.run import RESULTS, load, told
from benchmarks.simulation import replicas_report, report
from benchmarks.tables import Table

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BALANCING = PAGE.with_name("balancing.md")
README = PAGE.parents[1] / "README.md"
PAGES = (PAGE, BALANCING, README)
IMAGES = PAGE.parent / "images"

TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "proxy": proxy_figures.tables,
    "picking": picking.tables,
    "queueing": queueing.tables,
    "connections": connections.tables,
    "bodies": bodies.tables,
    "features": features.tables,
    "replicas": replicas_figures.tables,
    "metrics": metrics.tables,
    "telemetry": telemetry.tables,
    "discovery": discovery.tables,
    **report.SECTIONS,
    **replicas_report.SECTIONS,
}
"""What makes the tables of each section from its benchmark's results."""

ACROSS: dict[str, Callable[[targets.Results], str]] = {
    "targets": lambda results: targets.table(results).markdown(),
    "demo": demo.markdown,
}
"""What makes the sections that show the results of more than one."""

_SECTION = re.compile(r"(<!-- bench:(?P<name>[\w/]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def found(results: Path = RESULTS) -> targets.Results:
    """Return what all benchmarks found last."""
    names = [*map(_benchmark, TABLES), *demo.NAMES.values()]
    return {name: load(name, results) for name in names}


def render(page: str, results: targets.Results) -> str:
    """Return the page with its sections made anew. Raises KeyError for one that nobody makes."""
    return _SECTION.sub(
        lambda match: f"{match[1]}\n{_section(match['name'], results)}\n\n{match[3]}", page
    )


def _section(name: str, results: targets.Results) -> str:
    if name in ACROSS:
        return ACROSS[name](results)
    figures = results[_benchmark(name)]
    if figures is None:
        return "Not measured yet."
    tables = [table.markdown() for table in TABLES[name](figures)]
    about = [told(figures["run"])] if name == _benchmark(name) else []
    return "\n\n".join([*about, *tables])


def _benchmark(section: str) -> str:
    """Return whose results a section shows."""
    return section.partition("/")[0]


def main() -> None:
    """Write the pages and their pictures."""
    results = found()
    written = []
    for page in PAGES:
        page.write_text(render(page.read_text("utf-8"), results), "utf-8")
        written.append(page)
    for name, picture in plots.PICTURES.items():
        drawn = picture.draw(results)
        if drawn is not None:
            (IMAGES / f"{name}.svg").write_text(drawn, "utf-8")
            written.append(IMAGES / f"{name}.svg")
    root = PAGE.parents[1]
    print("wrote", ", ".join(str(path.relative_to(root)) for path in written))
