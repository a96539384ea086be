"""What goes on, for people: the state of the workers now, and the events so far, in words.

Fed with records as they come, and by `stage` with what it does itself. `screen` shows it while
the scenario runs, `report` its events afterwards. Times of events are in scenario seconds.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.demo.records import Changed, Granted, Queued, Record, Released, Response, Retried
from app.demo.scenario import Fault, Scenario


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling."""

    at: float
    text: str
    grave: bool = False
    """Whether it is bad news."""


class Monitor:
    """The state and the story of one run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.started = 0.0
        """The monotonic time of scenario time 0."""

        self.in_flight = dict.fromkeys(scenario.names, 0)
        self.phases = dict.fromkeys(scenario.names, "starting")
        self.queued = 0
        self.retried = 0
        self.failed = 0
        self.events: list[Event] = []
        self._out: dict[str, bool] = {}
        self._fault_at: float | None = None
        self._returned_at: float | None = None
        self._returning = False
        self._back_at: float | None = None

    def clock(self, t: float) -> float:
        """Return a monotonic time in scenario seconds."""
        return (t - self.started) * self.scenario.speed

    def seen_enough(self, t: float) -> bool:
        """Tell whether the victim is back, and the workers have settled, and that was seen."""
        scenario, back = self.scenario, self._back_at
        return back is not None and t > back + scenario.wall(scenario.settling + scenario.looked_at)

    # --- from the stage and the load

    def fault(self, t: float) -> None:
        """Tell that the victim was struck."""
        self._fault_at = t
        if self.scenario.fault is Fault.KILL:
            self._tell(t, f"{self.scenario.victim} is killed (SIGKILL)", grave=True)
        else:
            self._tell(t, f"{self.scenario.victim} is stopped (SIGSTOP)", grave=True)

    def restarting(self, t: float) -> None:
        """Tell that a new process was started in the victim's place."""
        self._returning = True
        self._tell(t, f"{self.scenario.victim} is started again, on the same port")

    def returned(self, t: float) -> None:
        """Tell that the victim could work again."""
        self._returned_at = t
        self._returning = True
        if self.scenario.fault is Fault.KILL:
            self._tell(t, f"{self.scenario.victim} listens")
        else:
            self._tell(t, f"{self.scenario.victim} goes on (SIGCONT)")

    def answered(self, response: Response) -> None:
        """Take note of an answer; a wrong one is told."""
        if response.error:
            self.failed += 1
            text = f"request {response.number} failed: {response.error}"
            self._tell(response.ended, text, grave=True)

    # --- from the balancer

    def feed(self, records: Iterable[Record]) -> None:
        """Take in what was recorded since the last time."""
        known = len(self.events)
        again: Counter[str] = Counter()
        first = 0.0
        for record in records:
            match record:
                case Changed():
                    self._changed(record)
                case Granted():
                    self.in_flight[record.worker] = record.counts[record.worker]
                case Released():
                    self.in_flight[record.worker] = record.in_flight
                case Queued():
                    self.queued = record.queued
                case Retried():
                    first = first or record.t
                    again[record.outcome] += 1
                case _:
                    pass
        for outcome, count in again.items():
            self.retried += count
            requests = "1 request is" if count == 1 else f"{count} requests are"
            self._tell(first, f"{requests} sent again: {outcome}")
        self.events[known:] = sorted(self.events[known:], key=lambda event: event.at)

    def _changed(self, change: Changed) -> None:
        self.phases[change.worker] = change.phase
        was_out, out = self._out.get(change.worker, False), not change.choosable
        self._out[change.worker] = out
        if change.phase == "ejected":
            text = f"{change.worker} is ejected: {change.reason}{self._since_fault(change)}"
            self._tell(change.t, text, grave=True)
        elif out and change.phase == "suspect":
            text = f"{change.worker} gets nothing new: {change.reason}{self._since_fault(change)}"
            self._tell(change.t, text, grave=True)
        elif out and not was_out and change.phase == "refusing":
            self._tell(change.t, f"{change.worker} says that it is full")
        elif was_out and not out:
            if change.worker == self.scenario.victim and self._returning:
                self._back_at = change.t
            self._tell(change.t, f"{change.worker} is in rotation{self._since_return(change)}")

    def _since_fault(self, change: Changed) -> str:
        ours = change.worker == self.scenario.victim and self._returned_at is None
        if not ours or self._fault_at is None or change.t < self._fault_at:
            return ""
        return f", {(change.t - self._fault_at) * 1000:.1f} ms after the fault"

    def _since_return(self, change: Changed) -> str:
        ours = change.worker == self.scenario.victim
        if not ours or self._returned_at is None or change.t < self._returned_at:
            return " again"
        return f" again, {(change.t - self._returned_at) * 1000:.0f} ms later"

    def _tell(self, t: float, text: str, *, grave: bool = False) -> None:
        self.events.append(Event(self.clock(t), text, grave))
