"""The demo as its users run it: a process with seven others, which all go when it goes.

Times depend on the machine and are the demo's own criteria; they are not looked at here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from app.demo.processes import Child, Fleet, ProcessFailedError, free_addresses

LIMIT = 60.0
"""Longer than anything takes on a machine that is busy with other things."""

MARK = "DEMO_TEST_MARK"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"
)


def processes_of(mark: str) -> list[int]:
    """Return the living processes with this mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (
                entry / "environ"
            ).read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def demo(directory: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """Run the demo; its processes can be found by the mark, its words in the file."""
    mark, said = uuid4().hex, directory / "said"
    command = [sys.executable, "-W", "error", "-m", "app", "demo", *flags]
    with said.open("w") as output:
        process = subprocess.Popen(
            [*command, "--report-dir", str(directory / "report")],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {MARK: mark, "TMPDIR": str(directory)},
        )
    try:
        yield process, mark, said
    finally:
        process.kill()
        process.wait()


def test_a_kill_loses_no_request(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "25") as (process, mark, said):
        code = process.wait(LIMIT)
        assert processes_of(mark) == []
    report = tmp_path / "report"
    found = json.loads((report / "demo.json").read_text())
    told = said.read_text()
    assert code == (0 if found["passed"] else 1), told
    assert found["requests"] >= 250
    assert (found["responses_ok"], found["responses_failed"]) == (found["requests"], 0)
    assert found["max_in_flight"]["overall"] == 4
    assert found["worker_refusals"] == 0
    assert found["misplaced"] == 0
    assert found["sent_while_out"] == 0
    assert found["retried"] >= 1
    assert told.startswith("Dashboard: http://127.0.0.1:")
    assert "worker1 is killed (SIGKILL)" in told
    assert "worker1 is in rotation again" in told
    for name in ("in-flight.svg", "report.html"):
        assert (report / name).stat().st_size > 10_000
    assert not list(tmp_path.glob("leastwise-demo-*"))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_whatever_ends_it_leaves_no_process_behind(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with demo(tmp_path, "--speed", "50", "--fault", "hang") as (process, mark, said):
        wait_until(lambda: "SIGSTOP" in said.read_text() or process.poll() is not None)
        assert len(processes_of(mark)) == 8  # with a stopped one among them
        process.send_signal(number)
        assert process.wait(LIMIT) == code
        wait_until(lambda: processes_of(mark) == [])
    assert not (tmp_path / "report" / "demo.json").exists()


def test_ctrl_c_while_it_starts_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "50") as (process, mark, said):
        wait_until(lambda: len(processes_of(mark)) > 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130, said.read_text()
        wait_until(lambda: processes_of(mark) == [])


def test_a_worker_that_dies_unasked_ends_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "25") as (process, mark, said):
        wait_until(lambda: len(processes_of(mark)) == 8)
        os.kill(named(mark, "worker3"), signal.SIGKILL)
        assert process.wait(LIMIT) == 1
        wait_until(lambda: processes_of(mark) == [])
    assert "worker3 " in said.read_text()


def named(mark: str, name: str) -> int:
    (pid,) = (
        pid
        for pid in processes_of(mark)
        if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    )
    return pid


# --- the fleet by itself


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module that does what its arguments say."""
    (tmp_path / "obedient.py").write_text(
        "import sys, time\n"
        "for word in sys.argv[1:]:\n"
        "    if word == 'listen': print('{\"port\": 1}', flush=True)\n"
        "    if word == 'sleep': time.sleep(3600)\n"
        "    if word == 'fail': sys.exit('it was not to be')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "obedient"


async def test_a_child_tells_that_it_listens(program: str, tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        child = fleet.start("one", program, ["listen", "sleep"])
        assert await child.listening() == {"port": 1}
        assert child.runs
        await fleet.stop("one")
        child.check()  # its end was asked for
    assert child.process.returncode == -signal.SIGTERM


async def test_a_child_that_does_not_start_is_quoted(program: str, tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        child = fleet.start("one", program, ["fail"])
        with pytest.raises(ProcessFailedError, match=r"(?s)one did not start.*it was not to be"):
            await child.listening()
        child.process.wait(LIMIT)
        with pytest.raises(ProcessFailedError, match=r"(?s)one has ended with 1.*it was not"):
            await fleet.watch()


async def test_leaving_the_fleet_kills_what_is_left(program: str, tmp_path: Path) -> None:
    children: list[Child] = []

    async def fail() -> None:
        with Fleet(tmp_path) as fleet:
            children.extend(fleet.start(name, program, ["listen", "sleep"]) for name in "ab")
            for child in children:
                await child.listening()
            children[0].signal(signal.SIGSTOP)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert [child.process.returncode for child in children] == [-signal.SIGKILL] * 2


def test_the_children_know_nothing_of_our_settings(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEASTWISE_LISTEN", "nonsense")
    with Fleet(tmp_path) as fleet:
        child = fleet.start("one", program, ["sleep"])
        environment = Path(f"/proc/{child.process.pid}/environ")
        wait_until(lambda: bool(environment.read_bytes()))
        assert b"LEASTWISE_" not in environment.read_bytes()


def test_each_worker_has_an_address_to_itself() -> None:
    addresses = free_addresses(5)
    assert len(set(addresses)) == 5
    assert all(host.startswith("127.0.0.") for host, _ in addresses)
