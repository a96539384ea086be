"""docs/performance.md: its tables and pictures come from the results, between markers.

    <!-- bench:NAME -->
    whatever stands here is replaced
    <!-- /bench -->

So no figure stands there that a run did not print. A unit test holds the page and its pictures
against the results.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    bodies,
    connections,
    features,
    picking,
    plots,
    proxy_figures,
    queueing,
    targets,
)
from benchmarks.run import RESULTS, load, told
from benchmarks.tables import Table

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
IMAGES = PAGE.parent / "images"

TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "proxy": proxy_figures.tables,
    "picking": picking.tables,
    "queueing": queueing.tables,
    "connections": connections.tables,
    "bodies": bodies.tables,
    "features": features.tables,
}
"""What makes the tables of each benchmark from its results."""

_SECTION = re.compile(r"(<!-- bench:(?P<name>\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def found(results: Path = RESULTS) -> targets.Results:
    """Return what all benchmarks found last."""
    return {name: load(name, results) for name in TABLES}


def render(page: str, results: targets.Results) -> str:
    """Return the page with its sections made anew. Raises KeyError for one that nobody makes."""
    return _SECTION.sub(
        lambda match: f"{match[1]}\n{_section(match['name'], results)}\n\n{match[3]}", page
    )


def _section(name: str, results: targets.Results) -> str:
    if name == "targets":
        return targets.table(results).markdown()
    figures = results[name]
    if figures is None:
        return "Not measured yet."
    tables = [table.markdown() for table in TABLES[name](figures)]
    return "\n\n".join([told(figures["run"]), *tables])


def main() -> None:
    """Write the page and its pictures."""
    results = found()
    page = PAGE.read_text("utf-8")
    PAGE.write_text(render(page, results), "utf-8")
    written = [PAGE]
    for name, picture in plots.PICTURES.items():
        drawn = picture.draw(results)
        if drawn is not None:
            (IMAGES / f"{name}.svg").write_text(drawn, "utf-8")
            written.append(IMAGES / f"{name}.svg")
    root = PAGE.parents[1]
    print("wrote", ", ".join(str(path.relative_to(root)) for path in written))
