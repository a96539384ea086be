"""The pictures of the docs' pages of results, as SVG that is legible on light and on dark pages.

Each says in its metadata from which results it was drawn, so that a test can tell whether it is up
to date without drawing it.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.connections import KINDS
from benchmarks.drawing import FAINT, INK, PAPER, drawing, tidy
from benchmarks.queueing import OPERATIONS
from benchmarks.simulation.picture import balance
from benchmarks.simulation.replicas_picture import replicas
from benchmarks.stats import LATENCIES
from benchmarks.targets import Results

_DARK = {INK: "#e6edf3", FAINT: "#7d8590", PAPER: "#0d1117"}
"""What these become where dark colours are preferred."""

COLOURS = {
    "leastwise": "#0072b2",
    "leastwise_plain": "#56b4e9",
    "nginx": "#009e73",
    "haproxy": "#e69f00",
    "aiohttp": "#cc79a7",
    "httpx": "#d55e00",
    "direct": FAINT,
}
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart."""

_CURVES = ("#0072b2", "#e69f00", "#009e73")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "leastwise",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlecolor": INK,
    "legend.frameon": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, and whose results it shows."""

    benchmarks: tuple[str, ...]
    compose: Callable[[Mapping[str, Any]], Figure]

    def digest(self, results: Results) -> str:
        """Return what tells one set of results from another."""
        text = json.dumps([results[name] for name in self.benchmarks], sort_keys=True)
        return f"results sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def draw(self, results: Results) -> str | None:
        """Return the picture as SVG, None if something was not measured."""
        if any(results[name] is None for name in self.benchmarks):
            return None
        about = {"Date": None, "Creator": None, "Description": self.digest(results)}
        with mpl.rc_context(_STYLE):
            file = io.StringIO()
            self.compose(results).savefig(file, format="svg", metadata=about)
        return themed(file.getvalue())


def themed(svg: str) -> str:
    """Let the picture follow the reader's preference for dark colours."""
    rules = "".join(
        f'[style*="fill: {light}"]{{fill:{dark} !important}}'
        f'[style*="stroke: {light}"]{{stroke:{dark} !important}}'
        for light, dark in _DARK.items()
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return svg.replace("<defs>", f"<defs>{style}", 1)


# --- the proxies


def proxies(results: Mapping[str, Any]) -> Figure:
    """Draw CPU time per request, and latencies at a fixed rate."""
    figures = results["proxy"]
    figure = drawing(9.6, 3.1)
    left, right = figure.subplots(1, 2)
    _bars(left, figures)
    _dots(right, figures["latency_ms_at"]["1000"])
    return figure


def _bars(axes: Axes, figures: dict[str, Any]) -> None:
    """Bars of user and system time; what is far off the scale is cut, and says so."""
    totals = figures["cpu_us_per_request"]
    names = list(reversed(totals))
    shown = 1.25 * max(cpu for name, cpu in totals.items() if name != "httpx")
    user = [min(shown, figures["cpu_user_us"][name]) for name in names]
    system = [
        min(shown - used, figures["cpu_system_us"][name])
        for name, used in zip(names, user, strict=True)
    ]
    colours = [COLOURS[name] for name in names]
    axes.barh(names, user, color=colours, height=0.6)
    axes.barh(names, system, left=user, color=colours, height=0.6, alpha=0.45)
    for row, name in enumerate(names):
        cut = totals[name] > shown
        text = f"{totals[name]:,.0f}" if totals[name] >= 100 else f"{totals[name]:.1f}"
        axes.annotate(
            f"{text} → " if cut else f" {text}",
            (min(shown, totals[name]), row),
            ha="right" if cut else "left",
            va="center",
            color=PAPER if cut else INK,
        )
    axes.set_xlim(0, shown)
    tidy(axes, "CPU time per request (solid: user, pale: system)", "µs, saturated")


def _dots(axes: Axes, latencies: dict[str, Any]) -> None:
    names = list(reversed(latencies))
    for marker, key in zip("o|D", LATENCIES, strict=True):
        axes.plot(
            [latencies[name][key] for name in names],
            names,
            linestyle="none",
            marker=marker,
            color=INK,
            markersize={"o": 6, "|": 12, "D": 4}[marker],
            markerfacecolor="none" if marker == "D" else INK,
            label=key.replace("_", "."),
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=FAINT, linewidth=0.4, alpha=0.5)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.42), handletextpad=0.2)
    tidy(axes, "Latency at 1,000 requests a second", "ms, from when each was due")


# --- the curves


def curves(results: Mapping[str, Any]) -> Figure:
    """Draw how each cost grows with the number or the length of things."""
    figure = drawing(9.6, 5.4)
    (picking, queue, memory), (cpu, down, up) = figure.subplots(2, 3)
    _curve(picking, {"": results["picking"]["us"]})
    tidy(picking, "Acquire and release", "endpoints", "µs")
    operations = {told: results["queueing"]["us"][key] for key, told in OPERATIONS.items()}
    _curve(queue, operations)
    tidy(queue, "The queue", "waiting", "µs")
    for axes, key, title, unit in (
        (memory, "kib_each", "Memory of each client", "KiB"),
        (cpu, "cpu_us_each", "CPU of each newcomer", "µs"),
    ):
        found = {
            told.partition(",")[0]: {
                step["clients"]: step[key] for step in results["connections"][kind]["steps"]
            }
            for kind, told in KINDS.items()
        }
        _curve(axes, found)
        tidy(axes, title, "clients at once", unit)
    for axes, way, title in ((down, "down", "Response bodies"), (up, "up", "Request bodies")):
        found = {
            name: {size: one["cpu_us_per_mb"] for size, one in sizes.items()}
            for name, sizes in results["bodies"][way].items()
        }
        _curve(axes, found, [COLOURS[name] for name in found])
        tidy(axes, title, "MB each", "CPU µs per MB")
    return figure


def _curve(
    axes: Axes, lines: Mapping[str, Mapping[Any, float]], colours: "list[str] | None" = None
) -> None:
    for (name, points), colour in zip(lines.items(), colours or _CURVES, strict=False):
        xs = [float(x) for x in points]
        axes.plot(xs, list(points.values()), marker="o", markersize=3.5, color=colour, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, 1.35 * max(max(points.values()) for points in lines.values()))
    if len(lines) > 1:
        axes.legend(fontsize=8, loc="best")


PICTURES = {
    "performance-proxy": Picture(("proxy",), proxies),
    "performance-curves": Picture(("picking", "queueing", "connections", "bodies"), curves),
    "balancing-policies": Picture(("balance",), balance),
    "balancing-replicas": Picture(("replicas_simulated",), replicas),
}
"""All pictures, by the names of their files."""
