"""The picture of several replicas: waits, caps and order, by setting and way."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from benchmarks.drawing import FAINT, drawing, tidy
from benchmarks.simulation.picture import draw_rows
from benchmarks.simulation.replicas import SETTINGS
from benchmarks.simulation.replicas_report import WAY_NAMES

_MARKS = {
    "view": ("#0072b2", "o"),
    "divided": ("#e69f00", "s"),
    "local": ("#cc79a7", "v"),
    "told_each": ("#56b4e9", "D"),
    "told": ("#009e73", "^"),
    "refusing": ("#d55e00", "P"),
}
"""Colour and shape, so that neither has to be told apart alone. One balancer is the line at 1."""


def replicas(results: Mapping[str, Any]) -> Figure:
    """Draw a row for each setting, and a mark on it for each way."""
    found = results["replicas_simulated"]["ways"]
    rows = {
        each.name: f"{each.replicas}: {each.workload.workers} × {each.workload.slots},"
        f" {each.workload.load:g}, {each.workload.mean:g} s"
        for each in SETTINGS
    }
    names = {name: told.replace("… and", "told counts, net,") for name, told in WAY_NAMES.items()}
    figure = drawing(9.6, 3.9)
    waits, beyond, disorder = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
    draw = partial(draw_rows, rows=rows, marks=_MARKS, names=names)
    draw(waits, {row: _ratios(by_way) for row, by_way in found.items()}, "over_one", factor=1.0)
    waits.set_xscale("log")
    waits.xaxis.set_major_formatter("{x:g}")
    waits.axvline(1.0, color=FAINT, linewidth=0.8, zorder=0)
    tidy(waits, "Mean wait, over one balancer's", "×; 1 is one balancer")
    draw(beyond, found, "beyond", factor=100.0)
    tidy(beyond, "Sent beyond the cap", "% of what was sent")
    draw(disorder, found, "disorder", factor=100.0)
    tidy(disorder, "Overtook another", "% of the requests")
    figure.legend(*waits.get_legend_handles_labels(), ncols=3, loc="outside lower center")
    return figure


def _ratios(by_way: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the ratios, which are of all seeds, as figures without a range."""
    return {
        way: {"over_one": dict.fromkeys(("median", "min", "max"), found["over_one"])}
        for way, found in by_way.items()
    }
