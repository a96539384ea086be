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
FOLDERS = {"unit": "tests/unit", "compare": "tests/compare"} | {
    name: f"tests/integration/{name}" for name in ("proxy", "process")
}
NAMED = sorted(set(re.findall(r"`((?:unit|compare|proxy|process)/[^`]*)`", THREATS)))


def test_the_threat_model_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_the_threat_model_names_exists(named: str) -> None:
    folder, _, rest = named.partition("/")
    assert (ROOT / FOLDERS[folder] / rest).exists()


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
    row = rows("What is sent again")["written, and the connection died before a final status line"]
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
