"""docs/rfc.md names tests: they must exist, or the page would say what nobody holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = {
    "proxy": ROOT / "tests/integration/proxy",
    "process": ROOT / "tests/integration/process",
    "http1": ROOT / "tests/unit/http1",
    "cases": ROOT / "tests/compare/cases",
}
NAMED = re.findall(r"`(\w+)/([\w.-]+?)(?:::(\w+))?`", (ROOT / "docs/rfc.md").read_text())


@pytest.mark.parametrize(("folder", "file", "test"), sorted(set(NAMED)))
def test_what_the_catalogue_names_exists(folder: str, file: str, test: str) -> None:
    text = (FOLDERS[folder] / file).read_text()
    assert test or file.endswith(".vtc")
    assert f"def {test}(" in text or not test


def test_every_demand_names_a_test() -> None:
    rows = [line for line in (ROOT / "docs/rfc.md").read_text().splitlines() if "| " in line]
    demands = [row for row in rows if re.match(r"\| \d", row)]
    assert len(demands) > 60
    assert [row for row in demands if not re.search(r"`\w+/[\w.-]+", row)] == []
