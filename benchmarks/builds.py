"""The two builds of leastwise: plain Python from the sources, and what `make compiled` makes.

Both are the same files. Only a compiled build that is as new as the sources is used, so that nobody
measures what was there before a change.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
SOURCES = _ROOT / "app"
COMPILED = _ROOT / "build" / "compiled"


def has_compiled() -> bool:
    """Say whether there is a compiled build of the sources as they are."""
    made = COMPILED / ".built"
    if not made.exists():
        return False
    when = made.stat().st_mtime
    return all(source.stat().st_mtime <= when for source in SOURCES.rglob("*.py"))


def program(*, compiled: bool) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs leastwise, and the environment it takes."""
    if compiled:  # -P: not the sources, if they are in the current folder
        return [sys.executable, "-P", "-m", "app"], {"PYTHONPATH": str(COMPILED)}
    return [sys.executable, "-m", "app"], {}


def told() -> str:
    """Say which build is measured, and if it is the plain one, why."""
    if has_compiled():
        return "leastwise compiled"
    if COMPILED.exists():
        return "leastwise in plain Python (the compiled build is older than the sources)"
    return "leastwise in plain Python (`make compiled` was not run)"
