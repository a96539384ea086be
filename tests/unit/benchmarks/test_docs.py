"""The docs' pages of results say what the results say, and no more."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.demo.scenario import Fault
from benchmarks import demo, docs, plots, targets
from benchmarks.run import Run, told
from benchmarks.tables import Table, figure


def _pages() -> str:
    return "".join(path.read_text("utf-8") for path in docs.PAGES)


@pytest.mark.parametrize("path", docs.PAGES, ids=lambda path: path.stem)
def test_a_page_is_made_from_the_results(path: Path) -> None:
    page = path.read_text("utf-8")
    assert page == docs.render(page, docs.found()), "run: python -m benchmarks docs"


def test_the_pages_have_every_benchmark() -> None:
    sections = re.findall(r"<!-- bench:([\w/]+) -->", _pages())
    assert sorted(sections) == sorted([*docs.TABLES, *docs.ACROSS])


def test_the_scenarios_picture_is_that_of_the_run_in_the_table() -> None:
    kept = docs.found()[demo.NAMES[Fault.KILL]]
    assert kept is not None
    assert demo.digest(demo.PICTURE.read_text("utf-8")) == kept["picture_sha256"]
    assert demo.PICTURE.name in docs.README.read_text("utf-8")


def test_a_run_of_the_scenario_that_showed_too_little_says_so() -> None:
    name = demo.NAMES[Fault.HANG]
    kept = docs.found()
    hang = dict(kept[name] or {})
    hang |= {"responses_failed": 2, "react_ms": None}
    hang["criteria"] = [one | {"pass": False} for one in hang["criteria"][:3]]
    rows = {row[0]: row[2] for row in demo.table({**kept, name: hang}).rows}
    assert rows["failed requests"].startswith("2 of ")
    assert rows["from the first sign to out of rotation"] == "not seen"
    assert rows["criteria met"] == "0 of 3"
    assert demo.markdown({**kept, name: None}) == "Not measured yet."


@pytest.mark.parametrize("name", plots.PICTURES)
def test_a_picture_is_drawn_from_the_results(name: str) -> None:
    svg = (docs.IMAGES / f"{name}.svg").read_text("utf-8")
    digest = plots.PICTURES[name].digest(docs.found())
    assert digest in svg, "run: python -m benchmarks docs"
    assert f"images/{name}.svg" in _pages()


@pytest.mark.parametrize("name", plots.PICTURES)
def test_a_picture_follows_the_readers_theme_and_tells_nothing_of_the_machine(name: str) -> None:
    svg = plots.PICTURES[name].draw(docs.found())
    assert svg is not None
    assert "prefers-color-scheme: dark" in svg
    assert str(Path.home()) not in svg
    assert str(docs.PAGE.parents[1]) not in svg


def test_a_section_is_replaced_and_nothing_else() -> None:
    page = "before\n<!-- bench:picking -->\nold\n<!-- /bench -->\nafter 5 µs\n"
    results: dict[str, Any] = dict.fromkeys(docs.TABLES)
    rendered = docs.render(page, results)
    assert rendered == (
        "before\n<!-- bench:picking -->\n\nNot measured yet.\n\n<!-- /bench -->\nafter 5 µs\n"
    )
    assert docs.render(rendered, results) == rendered


def test_a_section_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="guess"):
        docs.render("<!-- bench:guess -->\n<!-- /bench -->", {})


def test_what_was_not_measured_is_not_drawn() -> None:
    picture = plots.PICTURES["performance-proxy"]
    assert picture.draw({"proxy": None}) is None


@pytest.mark.parametrize(
    ("ratio", "row"), [(1.7, ["1.70×", "yes"]), (1.8, ["1.80×", "yes"]), (1.81, ["1.81×", "no"])]
)
def test_a_target_is_met_up_to_its_limit(ratio: float, row: list[str]) -> None:
    target = targets.TARGETS[0]
    found = {"proxy": {"cpu_ratio": {"nginx": {"median": ratio}}}}
    assert target.row(found) == [target.what, "≤ 1.8×", *row]


def test_a_target_without_a_measurement_is_not_called_met() -> None:
    assert {row[2] for row in targets.table(dict.fromkeys(docs.TABLES)).rows} == {"not measured"}
    assert {row[3] for row in targets.table(dict.fromkeys(docs.TABLES)).rows} == {""}


def test_a_table_is_the_same_for_the_terminal_and_for_the_docs() -> None:
    table = Table("Things", ["", "µs"], [["one", "1.00"], ["a thousand", "1,000"]])
    assert table.text() == "Things\n                 µs\n  one          1.00\n  a thousand  1,000"
    assert table.markdown() == (
        "Things:\n\n|  | µs |\n| --- | ---: |\n| one | 1.00 |\n| a thousand | 1,000 |"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (0.0456, "0.0456"), (1.8, "1.80"), (99.96, "100"), (123.4, "123"),
     (8031.8, "8,032"), (-0.17, "-0.170")],
)  # fmt: skip
def test_a_figure_has_three_digits(value: float, told: str) -> None:
    assert figure(value) == told


def test_a_run_keeps_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tables(kept: dict[str, Any]) -> list[Table]:
        return [Table("It", ["", "µs"], [["a", str(kept["us"])]])]

    run = Run(quick=True, results=tmp_path / "new", busy_before=0.25)
    run.conclude("thing", {"us": 1.23456}, tables)
    printed = capsys.readouterr().out
    assert "1.235" in printed
    kept = json.loads((tmp_path / "new" / "thing.json").read_text())
    assert kept == {"us": 1.235, "run": run.about}
    assert told(run.about).startswith("A quick run of")
    assert "25% of it was busy" in told(run.about)
