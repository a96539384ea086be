"""`leastwise check`: what is wrong with a pool's file, or what a good one says and leaves open.

Each problem is shown with its line and a mark below its column, as compilers do it. Called by
`app.cli`. Nothing is run and nobody is asked.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from app.config.durations import format_duration
from app.config.errors import ConfigError, Problem
from app.config.loading import parse_pool, read_pool_file
from app.config.workerpool import WorkerPool

_WORD = re.compile(r"""\"[^"]*"|'[^']*'|[^\s,\]}]+""")
_LONGEST = 100
"""Characters of a line that are shown."""


def check(path: Path) -> tuple[bool, list[str]]:
    """Tell whether the file can be accepted, and say why not, or what it means."""
    content = b""
    try:
        content = read_pool_file(path)
        pool = parse_pool(content, str(path))
    except ConfigError as error:
        return False, list(excerpts(error, content))
    return True, [f"{path}: a valid pool, {summary(pool)}", *hints(pool)]


def summary(pool: WorkerPool) -> str:
    """Say what the pool is, in a line."""
    spec = pool.spec
    if spec.service is not None:
        workers = f"the pods of Service {spec.service.name}"
    else:
        workers = f"{len(spec.endpoints or ())} endpoints"
    cap = "any number" if spec.max_in_flight is None else f"at most {spec.max_in_flight}"
    wait = format_duration(spec.queue.timeout)
    queue = f"up to {spec.queue.size} wait for up to {wait}" if spec.queue.size else "none waits"
    return f'"{pool.name}": {workers}, {cap} requests each at once, {queue}'


def hints(pool: WorkerPool) -> Iterator[str]:
    """Say what is allowed and maybe not meant."""
    spec = pool.spec
    if spec.max_in_flight is None:
        yield "hint: without maxInFlight no request waits, and a worker gets any number at once"
    if spec.health.probe is None:
        yield (
            "hint: without health.probe a worker that hangs comes back as soon as its kernel"
            " accepts a connection"
        )
    request = spec.timeouts.request
    if request is not None and spec.queue.timeout >= request:
        yield (
            f"hint: a request may wait for {format_duration(spec.queue.timeout)} (queue.timeout),"
            f" and has {format_duration(request)} for everything (timeouts.request)"
        )


def excerpts(error: ConfigError, content: bytes) -> Iterator[str]:
    """Say each problem with its line of `content` and a mark below its column, line by line."""
    lines = content.decode(errors="replace").splitlines()
    for problem in error.problems:
        yield _said(problem)
        if 0 < problem.line <= len(lines):
            yield from _excerpt(lines[problem.line - 1], problem)


def _said(problem: Problem) -> str:
    if not problem.column:
        return str(problem)
    place = f"{problem.source}:{problem.line}"
    return str(problem).replace(place, f"{place}:{problem.column}", 1)


def _excerpt(line: str, problem: Problem) -> Iterator[str]:
    number = f"{problem.line:>6}"
    column = problem.column
    shown = "".join(c if c.isprintable() else " " for c in line[:_LONGEST])
    yield f"{number} | {shown}"
    if 0 < column <= len(shown):
        word = _WORD.match(shown, column - 1)
        length = len(word[0].rstrip(":")) if word else 1
        yield f"{' ' * len(number)} | {' ' * (column - 1)}{'^' * length}"
