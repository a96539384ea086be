import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app.demo.analysis import figures
from app.demo.criteria import criteria
from app.demo.monitor import Event
from app.demo.plot import FAINT, INK, PAPER, draw
from app.demo.records import Recording
from app.demo.report import Report, as_json, page, write
from app.demo.scenario import Fault

EVENTS = [Event(100.0, "worker1 is <killed> & gone", grave=True), Event(200.0, "it is back")]
VOID = {"meta", "br", "link", "img"}


def report_of(recording: Recording) -> Report:
    found = figures(recording)
    return Report(recording.scenario, found, criteria(recording.scenario, found), EVENTS)


class Nesting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [v for k, v in attrs if k in {"src", "href"} and v and v[0] != "#"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("fault", Fault)
def test_the_files(record_run: Callable[[Fault], Recording], fault: Fault, tmp_path: Path) -> None:
    run = record_run(fault)
    paths = write(report_of(run), run, tmp_path)
    assert {path.name for path in paths} == {"report.html", "in-flight.svg", "demo.json"}
    found = json.loads((tmp_path / "demo.json").read_text())
    assert found["passed"] is True
    assert (found["fault"], found["speed"]) == (fault.value, 1.0)
    assert set(found) >= {
        "requests", "responses_ok", "responses_failed", "retried", "max_in_flight",
        "worker_refusals", "max_spread", "misplaced", "sent_while_out", "fault_to_sign_ms",
        "react_ms", "detect_ms", "rejoin_ms", "dispatch_ms", "queue_wait_ms", "criteria",
        "versions",
    }  # fmt: skip
    assert all(set(entry) >= {"name", "figure", "limit", "pass"} for entry in found["criteria"])
    svg = (tmp_path / "in-flight.svg").read_text()
    ET.fromstring(svg)
    assert "worker1 " + ("killed" if fault is Fault.KILL else "stopped") + " at 100 s" in svg


def test_the_page_is_whole_and_needs_no_other_file(killed: Recording) -> None:
    text = page(report_of(killed), draw(killed))
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert parser.references == []
    assert "worker1 is &lt;killed&gt; &amp; gone" in text
    assert "PASS: 14 of 14 criteria met" in text
    assert "FAIL" not in text.split("</style>")[1]
    svg = text[text.index("<svg") : text.index("</svg>")]
    for colour in (INK, FAINT, PAPER):
        assert colour not in svg  # all of them follow the theme
    assert "var(--ink)" in svg


def test_a_failure_is_said(killed: Recording) -> None:
    broken = replace(killed, responses=killed.responses[1:])
    report = report_of(broken)
    assert not report.passed
    assert as_json(report)["passed"] is False
    assert "FAIL: 13 of 14 criteria met" in page(report, "<svg></svg>")


def test_the_same_run_gives_the_same_picture(killed: Recording) -> None:
    assert draw(killed) == draw(killed)


def test_a_picture_of_a_run_that_went_wrong(killed: Recording) -> None:
    never_out = replace(killed, records=[], lives=[], responses=[], returned_at=None)
    ET.fromstring(draw(never_out))
    # Ejected, and never back.
    records = [record for record in killed.records if record.t < killed.started + 150]
    ET.fromstring(draw(replace(killed, records=records)))
