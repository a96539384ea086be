"""Run leastwise from its Python sources, whether or not it is compiled.

`python -m benchmarks.plain serve ...` is `python -m app serve ...` without the extension modules
that a build may have put beside the sources: for a comparison of the two.
"""

import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

APP = Path(__file__).parents[1] / "app"


def compiled() -> bool:
    """Say whether there are extension modules beside the sources."""
    return any(APP.rglob("*.so"))


def find_sources_only(path: str) -> FileFinder:
    """Find modules in a folder of ours by their sources alone; see `sys.path_hooks`."""
    if not Path(path).is_relative_to(APP):
        raise ImportError
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


if __name__ == "__main__":
    sys.path_hooks.insert(0, find_sources_only)
    from app.cli import main

    main()
