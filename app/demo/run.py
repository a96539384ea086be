"""One run of the demo, from the first process to the report. Called by the CLI."""

import asyncio
import signal
import tempfile
from pathlib import Path
from time import monotonic

import uvloop
from rich.console import Console

from app.demo.analysis import figures
from app.demo.criteria import criteria
from app.demo.load import Load
from app.demo.monitor import Monitor
from app.demo.processes import Fleet, ProcessFailedError
from app.demo.records import Recording
from app.demo.report import Report, write
from app.demo.scenario import Fault, Scenario
from app.demo.screen import Screen, verdict
from app.demo.stage import Stage

EXIT_PASSED, EXIT_FAILED = 0, 1
_SIGNALLED = 128
_LEAD = 0.3
"""Seconds between everything being ready and the first request."""


def run(speed: float, fault: str, report_dir: Path) -> int:
    """Run the scenario and write the report.

    Returns 0 if every criterion is met, 1 if one is not or a process failed, 128 and the signal's
    number after Ctrl-C. No process is left behind, whichever it is.
    """
    console = Console()
    scenario = Scenario(speed=speed, fault=Fault(fault))
    monitor = Monitor(scenario)
    try:
        report_dir.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="leastwise-demo-") as directory,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            recording = runner.run(_play(scenario, monitor, console, Path(directory)))
        if isinstance(recording, signal.Signals):
            console.print(f"{recording.name}: stopped, and all processes with it")
            return _SIGNALLED + recording
        found = figures(recording)
        report = Report(scenario, found, criteria(scenario, found), monitor.events)
        paths = write(report, recording, report_dir)
    except (ProcessFailedError, OSError) as error:
        text = f"the demo has failed: {error}"
        console.print(text, style="bold red", markup=False, highlight=False, soft_wrap=True)
        return EXIT_FAILED
    verdict(console, report.criteria)
    if any(criterion.figure is None for criterion in report.criteria):
        console.print("\nNot measured: it did not happen, or too late to be seen.")
    console.print(f"\nWritten: {', '.join(map(str, paths))}", soft_wrap=True, highlight=False)
    return EXIT_PASSED if report.passed else EXIT_FAILED


async def _play(
    scenario: Scenario, monitor: Monitor, console: Console, directory: Path
) -> Recording | signal.Signals:
    """Run the scenario; return what was recorded, or the signal that cut it short."""
    loop = asyncio.get_running_loop()
    playing = loop.create_task(_perform(scenario, monitor, console, directory))
    got: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        got.append(number)
        playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await playing
    except asyncio.CancelledError:
        if not got:
            raise
        return got[0]


async def _perform(
    scenario: Scenario, monitor: Monitor, console: Console, directory: Path
) -> Recording:
    """Set the stage, run load, faults and screen together, and clear the stage."""
    try:
        with Fleet(directory) as fleet:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(fleet.watch())
                stage = Stage(scenario, fleet, directory, monitor)
                url = await stage.set_up()
                _announce(console, stage.dashboard, scenario)
                load = Load(scenario, url, monitor.answered, monitor.seen_enough)
                started = monitor.started = monotonic() + _LEAD
                with Screen(console, monitor, load) as screen:
                    drawing = group.create_task(screen.run(started, stage.follow))
                    acting = group.create_task(stage.play(started))
                    await load.run(started)
                    await acting
                    drawing.cancel()
                    await stage.clear()
                    watching.cancel()
                    stage.follow()
                    screen.draw()
            return stage.recording(started, load)
    except ExceptionGroup as group:
        raise _first(group) from group


def _announce(console: Console, dashboard: str, scenario: Scenario) -> None:
    """Say where one can look on, and what is going to happen."""
    plan = (
        f"{scenario.workers} workers with {scenario.cap} slots each, a request each second, "
        f"{scenario.task:g} s a task, {scenario.speed:g} times as fast. "
        f"{scenario.victim}: {scenario.fault} at {scenario.fault_at:g} s, "
        f"back at {scenario.return_at:g} s."
    )
    for line in (f"Dashboard: {dashboard}", plan):
        console.print(line, highlight=False, soft_wrap=not console.is_terminal)


def _first(error: Exception) -> Exception:
    """Return the first error of a group, however deep; the others follow from it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
