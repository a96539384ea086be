"""The cases: varnishtest scripts that play a client and a worker, with a proxy between them.

Each says in its head which sections of which RFC it is about, and what must come out; where the
RFC leaves a choice, the case takes either. A script is told the addresses by two macros: it
connects to `${proxy}` and listens at `${worker}`.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from shutil import which

FOLDER = Path(__file__).with_name("cases")
LIMIT = 10
"""Seconds that one script may take."""

_HEAD = re.compile(
    r'varnishtest "(?P<title>.+)"\n\n# RFC: (?P<rfc>.+)\n'
    r"# (?P<level>Must|Should): (?P<outcome>.+\n(?:#   .+\n)*)"
)


@dataclass(frozen=True)
class Case:
    """One script."""

    path: Path
    title: str
    rfc: str
    """Sections of RFC 9110 and 9112."""

    level: str
    """Must or Should: how strongly the RFC says it."""

    outcome: str
    """What must, or should, come out."""

    @property
    def name(self) -> str:
        return self.path.stem

    async def failure(self, proxy: int, worker: tuple[str, int]) -> str:
        """Play it against the proxy at a local port; return what failed, empty if nothing did."""
        process = await asyncio.create_subprocess_exec(
            *("varnishtest", "-t", str(LIMIT), "-v"),
            *("-D", f"proxy=127.0.0.1 {proxy}", "-D", f"worker={worker[0]} {worker[1]}"),
            str(self.path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return output.decode("latin-1") if process.returncode else ""


def cases() -> list[Case]:
    """Read all cases, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.vtc"))]


def varnishtest() -> bool:
    """Whether it is installed."""
    return which("varnishtest") is not None


def _read(path: Path) -> Case:
    match = _HEAD.match(path.read_text())
    assert match is not None, f"{path.name} does not say what it is about"
    title = match["title"].replace('\\"', '"')
    outcome = re.sub(r"\n(#   )?", " ", match["outcome"]).strip()
    return Case(path, title, match["rfc"], match["level"], outcome)
