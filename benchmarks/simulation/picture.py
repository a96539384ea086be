"""The picture of docs/balancing.md: tail latency and wasted slots, by workload and policy."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.drawing import FAINT, drawing, tidy
from benchmarks.simulation.report import POLICY_NAMES

_MARKS = {
    "random": ("#cc79a7", "v"),
    "round_robin": ("#e69f00", "s"),
    "power_of_two": ("#009e73", "^"),
    "least": ("#56b4e9", "D"),
    "capped": ("#0072b2", "o"),
}
"""Colour and shape, so that neither has to be told apart alone."""

_NAMES = {name: told.replace("…", "least connections") for name, told in POLICY_NAMES.items()}


def balance(results: Mapping[str, Any]) -> Figure:
    """Draw a row for each workload, and a mark on it for each policy."""
    found = results["balance"]["policies"]
    figure = drawing(9.6, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = {name: name.replace("_", "-") for name in found}
    draw_rows(left, found, "p99", factor=1.0, rows=rows, marks=_MARKS, names=_NAMES)
    left.set_xscale("log")
    left.set_xticks([20, 50, 100, 200, 500, 1000, 2000])
    left.xaxis.set_major_formatter("{x:,.0f}")
    tidy(left, "p99 latency of what was answered", "seconds; the line is the range over the seeds")
    draw_rows(right, found, "idle", factor=100.0, rows=rows, marks=_MARKS, names=_NAMES)
    tidy(right, "A slot is free while a request waits", "% of the time")
    figure.legend(*left.get_legend_handles_labels(), ncols=5, loc="outside lower center")
    return figure


def draw_rows(
    axes: Axes,
    found: Mapping[str, Any],
    key: str,
    *,
    factor: float,
    rows: Mapping[str, str],
    marks: Mapping[str, tuple[str, str]],
    names: Mapping[str, str],
) -> None:
    """Draw `factor` times the figure `key`: its range as a line, its median as a mark.

    `rows` names those of `found`, from the top; `marks` and `names` what stands in each of them.
    """
    upwards = list(rows)[::-1]
    step = 0.56 / (len(marks) - 1)
    for number, (name, (colour, shape)) in enumerate(marks.items()):
        at = [row + 0.28 - step * number for row in range(len(rows))]
        spreads = [found[row][name][key] for row in upwards]
        axes.hlines(
            at,
            [factor * one["min"] for one in spreads],
            [factor * one["max"] for one in spreads],
            color=colour,
            linewidth=1.2,
        )
        axes.plot(
            [factor * one["median"] for one in spreads],
            at,
            linestyle="none",
            marker=shape,
            markersize=4.5,
            color=colour,
            label=names[name],
        )
    axes.set_yticks(range(len(rows)), [rows[row] for row in upwards])
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color=FAINT, linewidth=0.4, alpha=0.5)
