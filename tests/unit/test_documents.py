"""What the pages on safety say: their tests exist, their tables are those of the code."""

import re
from pathlib import Path

import pytest

from app.balancing.retry import IDEMPOTENT
from app.config.durations import parse_duration
from app.config.settings import Settings
from app.config.workerpool import PoolSpec
from app.proxy.connections import MAX_IDLE
from app.runtime.limits import RESERVE

ROOT = Path(__file__).parents[2]
THREATS = (ROOT / "docs" / "THREAT_MODEL.md").read_text()
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()
FOLDERS = {name: f"tests/{name}" for name in ("unit", "compare", "integration")} | {
    name: f"tests/integration/{name}" for name in ("proxy", "process")
}
NAMED = sorted(set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[^`]*)`", THREATS)))
LINK = re.compile(
    r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)|^\[[^\]]+\]: (?!https?:)(\S+)$", re.MULTILINE
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_threat_model_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_the_threat_model_names_exists(named: str) -> None:
    folder, _, rest = named.partition("/")
    assert (ROOT / FOLDERS[folder] / rest).exists()


def test_the_threat_model_counts_the_cases() -> None:
    cases = len(list((ROOT / "tests" / "compare" / "cases").glob("*.vtc")))
    assert f"({cases} cases, " in THREATS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_files_that_the_repository_has(page: Path) -> None:
    """As they are followed there; those of the built site are `make docs`'s to hold."""
    linked = [target for match in LINK.findall(page.read_text()) for target in match if target]
    assert [target for target in linked if not (page.parent / target).exists()] == []


def test_the_sites_navigation_names_pages_that_exist() -> None:
    """`make docs` fails for others; this tells it without the site's tools."""
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    named = re.findall(r"^ +- .+: (\S+)", nav, re.MULTILINE)
    assert len(named) > 10
    made = {"fields.md"}  # by scripts/site.py
    assert [page for page in named if not (ROOT / "docs" / page).exists()] == [*made]


def test_the_core_is_as_short_as_is_said() -> None:
    files = (ROOT / "app" / "balancing").glob("*.py")
    lines = sum(len(path.read_text().splitlines()) for path in files)
    for name in ("README.md", "docs/comparison.md"):
        (said,) = re.findall(r"is\s+([\d,]+)\s+lines\s+without\s+I/O", (ROOT / name).read_text())
        assert int(said.replace(",", "")) == round(lines, -2), name


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading, by their first cell."""
    part = RELIABILITY.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("| ")
    ]
    assert cells, f"no table under {heading}"
    return {row[0]: row[1:] for row in cells}


def test_the_methods_that_are_sent_again() -> None:
    row = rows("What is sent again")[
        "written, and the connection died before anything of the answer was passed on"
    ]
    assert set(re.findall("[A-Z]{3,}", row[0])) == {method.decode() for method in IDEMPOTENT}


def default(name: str) -> object:
    """The default of a setting, by the name that people know."""
    if name.startswith("LEASTWISE_"):
        return Settings.model_fields[name.removeprefix("LEASTWISE_").lower()].default
    first, _, second = name.partition(".")
    fields = {field.alias: field for field in PoolSpec.model_fields.values()}
    value = fields[first].default
    if not second:
        return value
    inside = {field.alias: name for name, field in type(value).model_fields.items()}
    return getattr(value, inside[second])


@pytest.mark.parametrize("heading", ["Timeouts", "Limits"])
def test_the_defaults(heading: str) -> None:
    table = rows(heading)
    settings = [row for what, row in table.items() if row[0] not in {"setting", ""}]
    assert len(settings) > 8
    for name, said, _ in settings:
        is_value = default(name)
        if is_value is None:
            assert said in {"none", "from nofile"}, name
        elif isinstance(is_value, float):
            assert (float(said) if said.isdigit() else parse_duration(said)) == is_value, name
        else:
            assert said == str(is_value), name


def test_the_numbers_that_are_no_settings() -> None:
    assert rows("Limits")["idle connections to one worker"][1] == str(MAX_IDLE)
    assert f"{RESERVE} files are kept" in RELIABILITY
