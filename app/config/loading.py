"""A file into a WorkerPool, or into a ConfigError that says all that is wrong with it.

Called by `app.cli` at the start and by `watching` from then on. Whatever the file holds, nothing
but a ConfigError comes out.
"""

import stat
from pathlib import Path

from pydantic import ValidationError

from app.config.errors import ConfigError, Problem
from app.config.explain import Finding, allowed_at, findings, show
from app.config.workerpool import WorkerPool
from app.config.yamltext import Document, read_document

MAX_BYTES = 256 * 1024
"""Largest file that is read. A thousand endpoints take a tenth of it."""


def load_pool(path: Path) -> WorkerPool:
    """Read the pool of the YAML file at `path`. Raises ConfigError."""
    return parse_pool(read_pool_file(path), str(path))


def read_pool_file(path: Path) -> bytes:
    """Read the bytes of a file that may hold a pool. Raises ConfigError."""
    try:
        # A pipe would block, and a device would not end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _file_error(path, "no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _file_error(path, "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise _file_error(path, f"a file that cannot be read ({reason})") from None
    if len(content) > MAX_BYTES:
        raise _file_error(path, f"more than {MAX_BYTES // 1024} KiB")
    return content


def parse_pool(content: bytes, source: str) -> WorkerPool:
    """Read the pool in `content`; `source` is the name of its file. Raises ConfigError."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"bytes that are not UTF-8, the first at byte {error.start}"
        raise ConfigError([Problem(source, "", found, "text in UTF-8", line)]) from None
    document = read_document(text, source)
    pool, wrong = _validate(document)
    problems = [*document.problems, *map(document.problem, wrong)]
    if pool is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return pool


def _validate(document: Document) -> tuple[WorkerPool | None, list[Finding]]:
    if not isinstance(document.value, dict):
        return None, [Finding((), show(document.value), allowed_at(WorkerPool, ()))]
    try:
        return WorkerPool.model_validate(document.value), []
    except ValidationError as error:
        return None, findings(error, WorkerPool)


def _file_error(path: Path, found: str) -> ConfigError:
    allowed = "a readable YAML file with one WorkerPool"
    return ConfigError([Problem(str(path), "", found, allowed)])
