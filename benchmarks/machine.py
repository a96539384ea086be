"""The machine: which cores serve what, what must be installed, and what to call it.

The process under test gets a core of its own, and the load, the backend and whatever else is ours
share the others: so the scheduler moves nothing to and fro while it is measured. With
BENCH_PINNED=0 in the environment all run wherever the scheduler puts them.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks.plain import compiled

DEBIAN = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk"}
"""The package that has each program."""

_CORES = sorted(os.sched_getaffinity(0))
ALL_CORES = frozenset(_CORES)
PINNED = len(_CORES) > 1 and os.environ.get("BENCH_PINNED", "1") != "0"
PROXY_CORES = frozenset(_CORES[:1]) if PINNED else ALL_CORES
OTHER_CORES = ALL_CORES - PROXY_CORES if PINNED else ALL_CORES


@contextmanager
def on_cores(cores: AbstractSet[int]) -> Iterator[None]:
    """Start processes on `cores` within the block: children inherit the set."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wanting(programs: list[str]) -> list[str]:
    return [program for program in programs if find(program) is None]


def find(program: str) -> str | None:
    """Return where a program is, also where Debian keeps servers from ordinary users' paths."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def missing(programs: list[str]) -> list[str]:
    """Return which of the programs cannot be had; they are installed if that is possible."""
    absent = _wanting(programs)
    if not absent:
        return []
    packages = [DEBIAN[program] for program in absent]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"missing: {' '.join(absent)}. As root: apt-get install {' '.join(packages)}")
        return absent
    print(f"installing {' '.join(packages)} ...")
    _install(packages)
    absent = _wanting(programs)
    if absent:
        print(f"missing, and apt-get could not install: {' '.join(absent)}")
    return absent


def _install(packages: list[str]) -> None:
    """Install Debian packages and start none of their services. Whatever fails shows up later."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    for command in (["apt-get", "update"], install):
        subprocess.run(command, env=environ, check=False, **quiet)  # type: ignore[call-overload]


def description() -> dict[str, str | int]:
    """Say what was measured on, and with which versions."""
    return {
        "processor": _processor(),
        "cores": len(_CORES),
        "pinned": PINNED,
        "compiled": compiled(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "open_files": os.sysconf("SC_OPEN_MAX"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def busy_seconds() -> float:
    """Return the CPU time that the cores have spent on anything, also on other machines' turns."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")
