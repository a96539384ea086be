import io
from collections.abc import Callable

import pytest
from rich.console import Console

from app.demo.criteria import Criterion
from app.demo.load import Load
from app.demo.monitor import Monitor
from app.demo.records import Changed, Granted, Queued, Recording, Released, Response, Retried
from app.demo.scenario import Fault, Scenario
from app.demo.screen import Screen, rhythm, verdict


def monitor(fault: Fault = Fault.KILL) -> Monitor:
    new = Monitor(Scenario(fault=fault))
    new.started = 50.0
    return new


def told(watched: Monitor) -> list[tuple[float, str]]:
    return [(round(event.at, 3), event.text) for event in watched.events]


def test_the_story_of_a_kill() -> None:
    watched = monitor()
    watched.feed([Changed(49, 49, "worker1", "ready", True, "")])
    watched.fault(60.0)
    watched.feed(
        [
            Changed(60.01, 60.009, "worker1", "suspect", False, "died"),
            Retried(60.0101, "a", 1, "connection died"),
            Retried(60.0102, "b", 1, "connection died"),
            Changed(60.0111, 60.011, "worker1", "ejected", False, "refused"),
        ]
    )
    watched.restarting(70.0)
    watched.returned(70.5)
    watched.feed([Changed(70.6, 70.6, "worker1", "ready", True, "check passed")])
    assert told(watched) == [
        (100.0, "worker1 is killed (SIGKILL)"),
        (100.1, "worker1 gets nothing new: died, 10.0 ms after the fault"),
        (100.101, "2 requests are sent again: connection died"),
        (100.111, "worker1 is ejected: refused, 11.1 ms after the fault"),
        (200.0, "worker1 is started again, on the same port"),
        (205.0, "worker1 listens"),
        (206.0, "worker1 is in rotation again, 100 ms later"),
    ]
    assert watched.retried == 2
    assert watched.phases["worker1"] == "ready"


def test_the_story_of_a_hang() -> None:
    watched = monitor(Fault.HANG)
    watched.fault(60.0)
    watched.feed([Retried(62.0, "a", 1, "no answer in time")])
    watched.returned(70.0)
    watched.feed(
        [
            Changed(70.1, 70.1, "worker1", "refusing", False, ""),
            Changed(70.2, 70.2, "worker1", "ready", True, ""),
        ]
    )
    assert [text for _, text in told(watched)] == [
        "worker1 is stopped (SIGSTOP)",
        "1 request is sent again: no answer in time",
        "worker1 goes on (SIGCONT)",
        "worker1 says that it is full",
        "worker1 is in rotation again, 200 ms later",
    ]


def test_what_befalls_another_worker_is_no_effect_of_the_fault() -> None:
    watched = monitor()
    watched.fault(60.0)
    watched.feed(
        [
            Changed(61, 61, "worker2", "ejected", False, "refused"),
            Changed(62, 62, "worker2", "ready", True, "check passed"),
        ]
    )
    assert [text for _, text in told(watched)][1:] == [
        "worker2 is ejected: refused",
        "worker2 is in rotation again",
    ]


def test_enough_is_seen_some_time_after_the_return_and_not_after_a_flap() -> None:
    watched = monitor()
    out = Changed(60.1, 60.1, "worker1", "ejected", False, "refused")
    flap = Changed(61, 61, "worker1", "ready", True, "check passed")
    watched.fault(60.0)
    watched.feed([out, flap])
    assert not watched.seen_enough(1000)
    watched.restarting(70.0)
    watched.feed([out])
    assert not watched.seen_enough(1000)
    watched.feed([Changed(71, 71, "worker1", "ready", True, "check passed")])
    assert not watched.seen_enough(71 + 4.0)  # two task times, and ten requests
    assert watched.seen_enough(71 + 4.01)


def test_the_state() -> None:
    watched = monitor()
    watched.feed([Granted(51, "worker2", {"worker1": 0, "worker2": 3}, []), Queued(51, 2)])
    assert (watched.in_flight["worker2"], watched.queued) == (3, 2)
    watched.feed([Released(52, "worker2", 2, "answered")])
    assert watched.in_flight["worker2"] == 2


def test_a_wrong_answer_is_told() -> None:
    watched = monitor()
    watched.answered(Response(7, 51, 51, 52, ""))
    watched.answered(Response(8, 51, 51, 52, "502 died"))
    assert watched.failed == 1
    assert told(watched) == [(20.0, "request 8 failed: 502 died")]


@pytest.mark.parametrize("interval", [0.02, 0.04, 0.1, 0.125, 0.2, 1.0, 10.0])
def test_the_screen_is_drawn_between_two_requests(interval: float) -> None:
    period, offset = rhythm(interval)
    assert 0.1 <= period <= 0.25
    for turn in range(100):
        into = (offset + turn * period) % interval
        assert into >= min(0.003, interval / 5)
        assert interval - into >= min(0.01, interval / 5)


def screen(console: Console, fault: Fault = Fault.KILL) -> tuple[Screen, Monitor]:
    watched = monitor(fault)
    load = Load(watched.scenario, "http://127.0.0.1:1", watched.answered, watched.seen_enough)
    return Screen(console, watched, load), watched


def test_in_a_pipe_each_event_is_one_line() -> None:
    file = io.StringIO()
    shown, watched = screen(Console(file=file, width=20))
    with shown:
        shown.draw()
        watched.fault(60.0)
        shown.draw()
        shown.draw()
        watched.restarting(70.0)
        shown.draw()
    assert file.getvalue() == (
        " 100.0 s  worker1 is killed (SIGKILL)\n"
        " 200.0 s  worker1 is started again, on the same port\n"
    )


def test_on_a_terminal_the_workers_are_bars() -> None:
    file = io.StringIO()
    shown, watched = screen(Console(file=file, force_terminal=True, width=100, height=40))
    watched.feed([Granted(51, "worker2", {"worker2": 3}, []), Queued(51, 2)])
    with shown:
        watched.fault(60.0)
        shown.draw()
    text = file.getvalue()
    for part in ("worker5", "3 of 4", "2 waiting", "worker1 is killed"):
        assert part in text


def test_the_verdict_has_a_line_for_each_criterion() -> None:
    file = io.StringIO()
    found = [Criterion("one", 1, 1), Criterion("two", 3.0, 2.0, "ms"), Criterion("three", None, 1)]
    verdict(Console(file=file, width=80), found)
    lines = [" ".join(line.replace("│", " ").split()) for line in file.getvalue().splitlines()]
    assert lines[2:] == ["PASS one 1 ≤ 1", "FAIL two 3.00 ms ≤ 2.00 ms",
                         "FAIL three not measured ≤ 1"]  # fmt: skip


def test_all_records_of_a_run_can_be_told(record_run: Callable[[Fault], Recording]) -> None:
    for fault in Fault:
        run = record_run(fault)
        watched = Monitor(run.scenario)
        watched.started = run.started
        watched.feed(run.records)
        assert watched.in_flight == {"worker1": 1, "worker2": 1}
