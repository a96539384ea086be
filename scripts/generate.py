"""Writes what is made of the pydantic models: the CRD, and docs/workerpool.md's table of fields.

`make generate` writes; `--check` only says what differs, or what no API server would accept, and
then exits with 1.
"""

import argparse
import sys
from pathlib import Path

from app.config.crd import as_yaml, custom_resource_definition
from scripts.structural import problems
from scripts.workerpool_page import page

ROOT = Path(__file__).parents[1]
CRD = ROOT / "charts" / "lb" / "crds" / "workerpools.yaml"
PAGE = ROOT / "docs" / "workerpool.md"


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    wrong = [f"{CRD.name}: {problem}" for problem in problems(custom_resource_definition())]
    for path, text in ((CRD, as_yaml()), (PAGE, page(PAGE.read_text()))):
        if check and path.read_text() != text:
            wrong.append(f"{path.relative_to(ROOT)} is not what is made now: make generate")
        elif not check:
            path.write_text(text)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
