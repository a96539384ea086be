"""A closed loop that saturates a proxy: wrk with as many requests in flight as connections."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import OTHER_CORES, find, on_cores

CONNECTIONS = 64
MARK = "result "

_BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Content-Type": "application/json",
    "Origin": "https://tasks.example.org",
    "Referer": "https://tasks.example.org/board?view=running",
    "Cookie": "session=9c1185a5c5e9fc54612808977ee8f548b2258d31; theme=dark",
    "Cache-Control": "no-cache",
    "DNT": "1",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}
PROFILES = {"small": {"Content-Type": "application/json"}, "browser": _BROWSER}
"""Header fields of the requests, beside Host and Content-Length."""

BODY = '{"payload":"x"}'

_SCRIPT = """
wrk.method = "POST"
wrk.body = %(body)s
%(headers)s
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '%(mark)s{"requests":%%d,"microseconds":%%d,"failed":%%d}\\n', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk did."""

    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def scripts(folder: Path) -> dict[str, Path]:
    """Write wrk's script for each profile; return the paths."""
    paths = {}
    for profile, fields in PROFILES.items():
        lines = [f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in fields.items()]
        values = {"body": _lua(BODY), "headers": "\n".join(lines), "mark": MARK}
        paths[profile] = folder / f"{profile}.lua"
        paths[profile].write_text(_SCRIPT % values)
    return paths


def _lua(text: str) -> str:
    return json.dumps(text)  # for ASCII without control characters, Lua's notation is the same


def run(port: int, script: Path, seconds: float, midway: Callable[[], None] | None = None) -> Load:
    """Saturate a port for whole `seconds`, 1 at least; call `midway` while it goes on.

    Raises RuntimeError if a request failed.
    """
    command = [find("wrk") or "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{port}/compute"]
    with on_cores(OTHER_CORES):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        if midway is not None:
            try:
                process.wait(timeout=0.7 * seconds)
            except subprocess.TimeoutExpired:
                midway()
        out = process.communicate(timeout=seconds + 60)[0].decode()
    finally:
        process.kill()
        process.wait()
    return parse(out)


def parse(out: str) -> Load:
    """Read what our script made wrk print. Raises RuntimeError, with all it printed."""
    for line in out.splitlines():
        if line.startswith(MARK):
            told: dict[str, Any] = json.loads(line.removeprefix(MARK))
            if told["failed"] or not told["requests"]:
                break
            return Load(told["requests"], told["microseconds"] / 1e6)
    raise RuntimeError(f"wrk failed:{os.linesep}{out}")
