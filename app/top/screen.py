"""A picture as text: figures, a bar for each worker, the last events. rich draws it."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.top.feed import Picture

_STYLES = {
    "ready": "green",
    "suspect": "yellow",
    "refusing": "yellow",
    "draining": "yellow",
    "ejected": "bold red",
}
_SIGNS = {
    "ready": "●", "suspect": "◐", "refusing": "◌", "ejected": "✕", "draining": "▽",
}  # fmt: skip
_KINDS = {"ejected": "red", "back": "green", "joined": "green", "lost": "yellow"}
_TROUBLE = ["ejected", "suspect", "refusing", "draining", "unready", "gone"]
_EVENTS = 8
_BAR = 24
_NAME = 40
_WIDE = 110
"""Columns from which on all is shown."""

_AROUND = 9
"""Lines that are neither workers, events nor troubles."""

ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "trouble": lambda w: (
        _TROUBLE.index(w["phase"]) if w["phase"] in _TROUBLE else len(_TROUBLE),
        w["name"],
    ),
    "name": lambda w: w["name"],
    "load": lambda w: (-w["in_flight"], w["name"]),
    "latency": lambda w: (-(w["answer_seconds"] or 0), w["name"]),
}


def draw(
    picture: Picture, order: str, width: int, height: int | None = None, lost: str = ""
) -> RenderableType:
    """Draw the picture; `height` lines at the most, `lost` says why it is not fresh."""
    parts: list[RenderableType] = [_figures(picture, lost)]
    parts += [Text(f"⚠ {trouble}", style="yellow") for trouble in picture.troubles]
    events = picture.events[-_EVENTS:]
    room = None if height is None else height - _AROUND - len(picture.troubles) - len(events)
    parts.append(_workers(picture, order, width, room))
    if events:
        parts.append(Text())
        parts += [_event(event) for event in reversed(events)]
    return Group(*parts)


def draw_pools(pools: list[dict[str, Any]]) -> RenderableType:
    """Draw the pools that one may choose from."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("pool", overflow="fold")
    for name in ("in flight", "waiting", "workers in rotation"):
        table.add_column(name, justify="right")
    for pool in pools:
        waiting, rotation, workers = pool["queued"], pool["rotation"], pool["workers"]
        table.add_row(
            Text(pool["name"], style="bold"),
            str(pool["in_flight"]),
            Text(str(waiting), style="yellow" if waiting else ""),
            Text(f"{rotation} of {workers}", style="yellow" if rotation < workers else ""),
        )
    return table


def duration(seconds: float | None) -> str:
    """Write a duration as people say it."""
    if seconds is None:
        return "–"
    if seconds < 0.1:  # noqa: PLR2004 - what is short is told in ms
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _figures(picture: Picture, lost: str) -> RenderableType:
    pool = picture.pool
    cap = pool["cap"]
    slots = "" if cap is None else f" of {cap * pool['rotation']}"
    recent = picture.rows[-10:]
    rate = sum(row["ended"] for row in recent) / len(recent) if recent else 0.0
    p50 = next((row["p50"] for row in reversed(recent) if row["p50"] is not None), None)
    failed = sum(row["failed"] for row in picture.rows)
    figures = Text("  ").join(
        [
            Text(f"pool {pool['name']}", style="bold"),
            Text(f"{pool['in_flight']}{slots} in flight"),
            Text(f"{pool['queued']} waiting", style="yellow" if pool["queued"] else ""),
            Text(f"{pool['rotation']} of {pool['workers']} workers in rotation"),
            Text(f"{rate:.1f}/s"),
            Text(f"half within {duration(p50)}"),
            Text(f"{failed} failed", style="bold red" if failed else ""),
            Text(f"{pool['retried']} sent again"),
        ]
    )
    state = Text(f"◌ {lost}", style="bold yellow") if lost else Text("● live", style="green")
    state.append(f"  {_clock(picture.now)}  leastwise {picture.version}", style="dim")
    if picture.replicas is None:
        return Group(state, figures, Text())
    return Group(state, figures, _replicas(picture.replicas), Text())


def _replicas(replicas: dict[str, Any]) -> Text:
    """Say in a line who decides and what each replica holds."""
    if not replicas["arbiter"]:
        return Text("no replica decides: requests wait", style="yellow")
    text = Text(f"{replicas['arbiter']} decides, term {replicas['term']}; held: ")
    for place, replica in enumerate(replicas["replicas"]):
        known = replica["state"] in {"arbiter", "following"}
        text.append(", " if place else "")
        text.append(f"{replica['holds']} by {replica['pod']}")
        text.append("" if known else f" ({replica['state']})", style="yellow")
    if replicas["reserved"]:
        text.append(f", {replicas['reserved']} for the silent", style="yellow")
    return text


def _workers(picture: Picture, order: str, width: int, room: int | None) -> RenderableType:
    cap = picture.pool["cap"]
    workers = sorted(picture.workers.values(), key=ORDERS[order])
    shown = workers if room is None else workers[: max(1, room)]
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="dim")
    more = ("requests", "failed", "refused", "no connection") if wide else ()
    names = min(_NAME, max((len(worker["name"]) for worker in shown), default=_NAME))
    bars = _BAR if wide else _BAR // 2
    # The reason of a state takes what the others leave: it is what can be long.
    left = width - names - bars - len("999 of 999") - sum(len(name) + 2 for name in more) - 18
    table.add_column("worker", no_wrap=True, width=names)
    table.add_column("in flight", no_wrap=True, width=bars)
    table.add_column("", no_wrap=True)
    table.add_column("state", no_wrap=True, overflow="ellipsis", width=max(11, left))
    for name in ("answers in", *more):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in shown:
        phase, count = worker["phase"], worker["in_flight"]
        style = _STYLES.get(phase, "dim")
        reason = f" {worker['reason']}" if worker["reason"] else ""
        bar = ProgressBar(
            total=cap or max(1, count),
            completed=count,
            width=bars,
            complete_style=style,
            finished_style=style,
        )
        counts = [str(worker[key]) for key in ("requests", "failed", "refused", "connect_errors")]
        table.add_row(
            worker["name"],
            bar,
            str(count) if cap is None else f"{count} of {cap}",
            Text.assemble((f"{_SIGNS.get(phase, '○')} {phase}", style), (reason, "dim")),
            duration(worker["answer_seconds"]),
            *(counts if wide else ()),
        )
    if len(shown) == len(workers):
        return table
    return Group(table, Text(f"… and {len(workers) - len(shown)} more", style="dim"))


def _event(event: dict[str, Any]) -> Text:
    text = event["text"]
    if event.get("after") is not None:
        text += f", after {duration(event['after'])}"
    style = _KINDS.get(event["kind"], "")
    return Text.assemble(
        (f"{_clock(event['at'])}  ", "dim"),
        (f"{event['kind']:<9}", style),
        text,
        no_wrap=True,
        overflow="ellipsis",
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
