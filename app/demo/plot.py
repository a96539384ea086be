"""The picture of a run: what each worker had in flight over time, with the fault and the return.

One strip for each worker, so that position and not colour tells them apart, and one for the
queue. The area is the balancer's count, the line on it the worker's own.
"""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from app.demo.analysis import back_at, ejected_at, out_at
from app.demo.records import Life, Recording
from app.demo.replay import Step, attempts, full_intervals, in_flight, lengths
from app.demo.scenario import Fault

INK, FAINT, PAPER = "#1f2328", "#8a929c", "#ffffff"
"""Replaced in the report by colours that follow its theme; used for nothing else."""

AREA, VICTIM, QUEUE = "#56b4e9", "#e69f00", "#cc79a7"
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart."""

FAULT, RETURN = "#d55e00", "#009e73"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "leastwise",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(recording: Recording) -> str:
    """Return the picture as SVG."""
    with mpl.rc_context(_STYLE):
        figure = compose(recording)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "leastwise demo"})
    return file.getvalue()


def compose(recording: Recording) -> Figure:
    """Return the picture as a figure."""
    scenario = recording.scenario
    figure = Figure(figsize=(10, 6.4), layout="constrained", facecolor=PAPER)
    FigureCanvasSVG(figure)
    heights = [1.0] * scenario.workers + [0.7]
    axes = figure.subplots(len(heights), sharex=True, height_ratios=heights, squeeze=False)
    strips: list[Axes] = list(axes[:, 0])
    _draw_workers(recording, strips)
    _draw_queue(recording, strips[-1])
    _mark(recording, strips)
    strips[-1].set_xlabel(
        f"scenario time in seconds; {scenario.speed:g} pass in one second of wall time"
    )
    strips[-1].set_xlim(0, _end(recording))
    return figure


def _end(recording: Recording) -> float:
    ends = [recording.scenario_time(response.ended) for response in recording.responses]
    return max([recording.scenario.length, *ends])


def _draw_workers(recording: Recording, strips: Sequence[Axes]) -> None:
    scenario = recording.scenario
    counts = in_flight(recording.records, scenario.names)
    for name, axes in zip(scenario.names, strips, strict=False):
        colour = VICTIM if name == scenario.victim else AREA
        times, values = _stairs(recording, counts[name])
        axes.fill_between(times, values, step="post", color=colour, linewidth=0)
        for life in recording.lives:
            if life.worker == name:
                times, values = _stairs(recording, _own(life), until=life.ended)
                axes.step(times, values, where="post", color=INK, linewidth=0.6)
        axes.axhline(scenario.cap, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_ylim(0, scenario.cap + 0.9)
        axes.set_yticks([0, scenario.cap])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
        _tidy(axes)


def _draw_queue(recording: Recording, axes: Axes) -> None:
    full = full_intervals(recording.records, recording.scenario.cap)
    steps = lengths(attempts(recording.records, full))
    times, values = _stairs(recording, steps)
    axes.fill_between(times, values, step="post", color=QUEUE, linewidth=0)
    highest = max([2, *values])
    axes.set_ylim(0, highest + 0.5)
    axes.set_yticks([0, highest])
    axes.set_ylabel("waiting", rotation=0, ha="right", va="center", labelpad=8)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, color=FAINT)


def _own(life: Life) -> list[Step]:
    return [(life.began, 0), *((count.t, count.in_flight) for count in life.counts)]


def _stairs(
    recording: Recording, steps: Sequence[Step], until: float | None = None
) -> tuple[list[float], list[int]]:
    """Return times in scenario seconds and values, from 0 or later to the end."""
    first = [(recording.started, 0)] if not steps or steps[0][0] > recording.started else []
    whole = [*first, *steps]
    kept = [step for step, after in pairwise(whole) if after[0] > recording.started] + whole[-1:]
    times = [max(0.0, recording.scenario_time(t)) for t, _ in kept]
    values = [value for _, value in kept]
    end = _end(recording) if until is None else recording.scenario_time(until)
    return [*times, end], [*values, values[-1]]


def _mark(recording: Recording, strips: Sequence[Axes]) -> None:
    """Mark the fault and the return on all strips, and the time out of rotation on the victim's."""
    kill = recording.scenario.fault is Fault.KILL
    out, ejected, back = out_at(recording), ejected_at(recording), back_at(recording)
    fault = recording.scenario_time(recording.fault_at)
    for axes in strips:
        axes.axvline(fault, color=FAULT, linewidth=1.2)
        if back is not None:
            axes.axvline(recording.scenario_time(back.t), color=RETURN, linewidth=1.2)
    top = strips[0]
    name = recording.scenario.victim
    text = f"{name} {'killed' if kill else 'stopped'} at {fault:.0f} s"
    if out is not None:
        text += f"\nout of rotation after {_told(out.t - recording.fault_at)}"
        if ejected is not None and ejected.t != out.t:
            text += f", ejected after {_told(ejected.t - recording.fault_at)}"
        end = back.t if back is not None else recording.started + 1e9
        top.axvspan(recording.scenario_time(out.t), min(recording.scenario_time(end),
                    _end(recording)), facecolor="none", edgecolor=FAINT, hatch="///",
                    linewidth=0, alpha=0.6)  # fmt: skip
    _note(top, fault, text, FAULT)
    if back is not None and recording.returned_at is not None:
        verb = "listens again" if kill else "continued"
        returned = recording.scenario_time(recording.returned_at)
        text = (f"{name} {verb} at {returned:.0f} s\n"
                f"in rotation after {_told(back.t - recording.returned_at)}")  # fmt: skip
        _note(top, recording.scenario_time(back.t), text, RETURN)


def _note(axes: Axes, x: float, text: str, colour: str) -> None:
    axes.annotate(
        text,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=colour,
    )


def _told(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
