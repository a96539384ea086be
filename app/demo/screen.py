"""The screen: bars, events and the clock while the scenario runs, and the criteria at its end.

On a terminal it is drawn anew about eight times a second, at moments when no request is due; in a
pipe or a file the events are lines of text.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import ceil
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.demo.criteria import Criterion
from app.demo.load import Load
from app.demo.monitor import Event, Monitor

_REFRESH = 0.125
_AFTER = 0.03
"""Seconds after a request is due, at the most, that the screen is drawn."""

_SHOWN_EVENTS = 10
_STYLES = {"ready": "green", "suspect": "yellow", "refusing": "yellow", "ejected": "red"}


class Screen:
    """Shows `monitor` and `load`."""

    def __init__(self, console: Console, monitor: Monitor, load: Load) -> None:
        self._console = console
        self._monitor = monitor
        self._load = load
        self._told = 0
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    async def run(self, started: float, follow: Callable[[], object]) -> None:
        """Call `follow` and draw, again and again, until cancelled."""
        period, offset = rhythm(self._monitor.scenario.wall(self._monitor.scenario.interval))
        while True:
            turns = max(0, ceil((monotonic() - started - offset) / period))
            await asyncio.sleep(started + turns * period + offset - monotonic())
            follow()
            self.draw()

    def draw(self) -> None:
        """Show how things stand."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            return
        for event in self._monitor.events[self._told :]:
            self._console.print(_event(event), soft_wrap=True)
        self._told = len(self._monitor.events)

    # --- inside

    def _picture(self) -> RenderableType:
        events = self._monitor.events[-_SHOWN_EVENTS:]
        lines = [_event(event) for event in events]
        lines += [Text()] * (_SHOWN_EVENTS - len(lines))
        return Group(
            self._head(),
            Panel(self._bars(), title="workers", title_align="left", border_style="dim"),
            Panel(Group(*lines), title="events", title_align="left", border_style="dim"),
        )

    def _head(self) -> RenderableType:
        monitor, load = self._monitor, self._load
        scenario = monitor.scenario
        now = max(0.0, monitor.clock(monotonic()))
        head = Table.grid(padding=(0, 3), expand=True)
        answered = len(load.responses)
        head.add_row(
            Text(f"{now:5.0f} s of {max(now, scenario.length):.0f}", style="bold"),
            Text(f"speed {scenario.speed:g}, {scenario.fault}"),
            Text(f"{load.sent} sent"),
            Text(f"{answered - monitor.failed} answered"),
            Text(f"{monitor.failed} failed", style="bold red" if monitor.failed else ""),
            Text(f"{monitor.retried} sent again"),
            Text(f"{monitor.queued} waiting"),
        )
        return head

    def _bars(self) -> RenderableType:
        bars = Table.grid(padding=(0, 2))
        cap = self._monitor.scenario.cap
        for worker, count in self._monitor.in_flight.items():
            phase = self._monitor.phases[worker]
            style = _STYLES.get(phase, "dim")
            bar = ProgressBar(total=cap, completed=count, width=10 * cap, complete_style=style,
                              finished_style=style)  # fmt: skip
            bars.add_row(worker, bar, f"{count} of {cap}", Text(phase, style=style))
        return bars


def rhythm(interval: float) -> tuple[float, float]:
    """Return the seconds between two drawings, and how long after a request's time they are.

    `interval` is the seconds between two requests. Each drawing falls between two of them.
    """
    if interval < _REFRESH:
        period = interval * ceil(_REFRESH / interval)
    else:
        period = interval / ceil(interval / _REFRESH)
    return period, min(0.3 * min(interval, period), _AFTER)


def verdict(console: Console, found: Sequence[Criterion]) -> None:
    """Print each criterion with its figure and PASS or FAIL."""
    table = Table(title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("criterion")
    table.add_column("figure", justify="right")
    table.add_column("limit", justify="right")
    for criterion in found:
        passed = criterion.passed
        word = Text("PASS", style="green") if passed else Text("FAIL", style="bold red")
        table.add_row(word, criterion.name, criterion.told_figure, criterion.told_limit)
    console.print(table)


def _event(event: Event) -> Text:
    return Text.assemble(
        (f"{event.at:6.1f} s  ", "dim"), (event.text, "red" if event.grave else "")
    )
