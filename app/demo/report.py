"""What is left of a run: `demo.json`, `in-flight.svg`, and `report.html`, which needs no other."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from app import __version__
from app.demo.criteria import Criterion
from app.demo.monitor import Event
from app.demo.plot import FAINT, INK, PAPER, draw
from app.demo.records import Recording
from app.demo.scenario import Fault, Scenario

_PAGE = Template((Path(__file__).parent / "report.html.template").read_text("utf-8"))
_THEMED = {INK: "var(--ink)", FAINT: "var(--faint)", PAPER: "var(--paper)"}


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run."""

    scenario: Scenario
    figures: dict[str, Any]
    criteria: Sequence[Criterion]
    events: Sequence[Event]

    @property
    def passed(self) -> bool:
        """Whether every criterion was met."""
        return all(criterion.passed for criterion in self.criteria)


def write(report: Report, recording: Recording, directory: Path) -> list[Path]:
    """Write the files; return their paths. Raises OSError."""
    picture = draw(recording)
    contents = {
        "report.html": page(report, picture),
        "in-flight.svg": picture,
        "demo.json": json.dumps(as_json(report), indent=2) + "\n",
    }
    for name, content in contents.items():
        (directory / name).write_text(content, "utf-8")
    return [directory / name for name in contents]


def as_json(report: Report) -> dict[str, Any]:
    """Return what `demo.json` holds."""
    return {
        "passed": report.passed,
        "fault": report.scenario.fault.value,
        "speed": report.scenario.speed,
        **report.figures,
        "criteria": [criterion.as_json() for criterion in report.criteria],
        "versions": {
            "leastwise": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def page(report: Report, picture: str) -> str:
    """Return the report as one page of HTML."""
    scenario = report.scenario
    met = sum(criterion.passed for criterion in report.criteria)
    verdict = "PASS" if report.passed else "FAIL"
    return _PAGE.substitute(
        fault=escape(scenario.fault),
        verdict=verdict,
        summary=f"{met} of {len(report.criteria)} criteria met",
        what=escape(_what(scenario, report.figures["requests"])),
        picture=_inlined(picture),
        criteria="\n".join(map(_row, report.criteria)),
        events="\n".join(_items(report.events)),
        figures=escape(json.dumps(report.figures, indent=2)),
        versions=escape(f"leastwise {__version__}, Python {platform.python_version()}, "
                        f"{platform.platform()}"),
        at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip


def _what(scenario: Scenario, requests: int) -> str:
    kill = scenario.fault is Fault.KILL
    struck = "gets SIGKILL" if kill else "gets SIGSTOP"
    back = "a new process takes its place" if kill else "it gets SIGCONT"
    return (
        f"{scenario.workers} workers with {scenario.cap} slots each; {requests} requests, "
        f"one each second, {scenario.task:g} s of work in each. At {scenario.fault_at:g} s "
        f"{scenario.victim} {struck}, at {scenario.return_at:g} s {back}. "
        f"All of these times are divided by {scenario.speed:g}."
    )


def _inlined(picture: str) -> str:
    """Make the picture a part of the page, in the colours of its theme."""
    svg = picture[picture.index("<svg") :]
    for colour, themed in _THEMED.items():
        svg = svg.replace(colour, themed)
    return svg


def _row(criterion: Criterion) -> str:
    verdict = "PASS" if criterion.passed else "FAIL"
    cells = [criterion.name, criterion.told_figure, criterion.told_limit]
    told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><td class="{verdict}">{verdict}</td>{told}</tr>'


def _items(events: Iterable[Event]) -> Iterable[str]:
    for event in events:
        grave = ' class="grave"' if event.grave else ""
        yield f"<tr{grave}><td>{event.at:.2f} s</td><td>{escape(event.text)}</td></tr>"
