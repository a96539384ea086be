"""The last events: what is told of a worker's way out and back, and in the log."""

import logging

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry import events as module
from app.telemetry.events import Events
from app.telemetry.ring import KEPT, Event, Ring


class Nobody:
    def granted(self, lease: Lease) -> None:
        raise AssertionError(lease)

    def refused(self, refusal: Exception) -> None:
        raise AssertionError(refusal)


class Stage:
    """A pool whose events are watched, at a wall clock that is 1,000 s ahead of the monotonic."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.pool = Pool(Policy(max_in_flight=4), name="p")
        self.events = Events(self.pool, Ring(wall=lambda: 1000 + self.now))
        self.discover(*names)

    def discover(self, *names: str, serving: bool = True, terminating: bool = False) -> None:
        specs = [
            EndpointSpec(name, "127.0.0.1", 80, name, serving=serving, terminating=terminating)
            for name in names
        ]
        self.pool.apply_snapshot(specs, self.now)

    def see(self, name: str, sign: Sign, detail: str = "") -> None:
        self.pool.observe(self.pool.endpoints[name], sign, self.now, detail)

    @property
    def last(self) -> Event:
        return list(self.events)[-1]

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.worker, event.kind) for event in self.events]


def test_a_worker_joins_is_ejected_and_comes_back() -> None:
    stage = Stage("a", "b")
    lease = stage.pool.acquire(Nobody(), 0.0)
    assert isinstance(lease, Lease)
    name = lease.endpoint.name
    stage.now = 5.0
    stage.see(name, Sign.IDLE_CLOSED)
    stage.now = 5.25
    stage.see(name, Sign.CHECK_FAILED, "Connection refused")
    out = stage.last
    assert (out.kind, out.worker, out.at, out.in_flight) == ("ejected", name, 1005.25, 1)
    assert out.reason == "check failed: Connection refused"
    assert out.after == 0.25  # since the first sign
    assert stage.events.ejections == {Sign.CHECK_FAILED: 1}
    stage.now = 15.25
    stage.see(name, Sign.CHECK_PASSED)
    assert (stage.last.kind, stage.last.after) == ("back", 10.0)
    assert stage.kinds() == [("a", "joined"), ("b", "joined"), (name, "ejected"), (name, "back")]


def test_an_ejection_at_the_first_sign_came_after_nothing() -> None:
    stage = Stage("a")
    stage.see("a", Sign.CONNECT_REFUSED)
    assert (stage.last.kind, stage.last.after) == ("ejected", 0.0)


def test_what_passes_is_no_event() -> None:
    stage = Stage("a")
    for _ in range(3):
        stage.see("a", Sign.IDLE_CLOSED)
        stage.see("a", Sign.CHECK_PASSED)
    assert stage.kinds() == [("a", "joined")]
    stage.now = 50.0
    stage.see("a", Sign.CONNECT_REFUSED)  # and the old suspicion does not count
    assert stage.last.after == 0.0


def test_discovery_takes_workers_away_and_back() -> None:
    stage = Stage("a", "b")
    stage.discover("a", "b", serving=False)
    stage.discover("a", "b")
    stage.discover("a", "b", terminating=True)
    stage.discover("b", terminating=True)
    stage.discover("a", "b")
    assert stage.kinds()[2:] == [
        ("a", "unready"), ("b", "unready"), ("a", "back"), ("b", "back"), ("a", "draining"),
        ("b", "draining"), ("a", "left"), ("a", "joined"), ("b", "back"),
    ]  # fmt: skip


def test_an_ejected_worker_that_leaves_is_not_back_when_its_name_returns() -> None:
    stage = Stage("a", "b")
    stage.see("a", Sign.CONNECT_REFUSED)
    stage.discover("b")
    stage.now = 100.0
    stage.discover("a", "b")
    assert (stage.last.kind, stage.last.after) == ("joined", None)
    stage.see("a", Sign.IDLE_CLOSED)
    stage.see("a", Sign.CHECK_PASSED)
    assert stage.last.kind == "joined"


def test_one_that_is_unready_before_it_is_back_was_out_all_the_while() -> None:
    stage = Stage("a")
    stage.see("a", Sign.CONNECT_REFUSED)
    stage.now = 2.0
    stage.discover("a", serving=False)
    stage.discover("a")  # Kubernetes' word alone does not bring it back
    assert (stage.last.kind, stage.last.after) == ("ejected", None)  # no second ejection
    stage.discover("a", serving=False)
    stage.see("a", Sign.CHECK_PASSED)
    stage.now = 7.0
    stage.discover("a")
    assert (stage.last.kind, stage.last.after) == ("back", 7.0)
    stage.discover("a", serving=False)
    stage.discover("a")
    assert (stage.last.kind, stage.last.after) == ("back", None)  # it was not out


def test_a_draining_worker_that_dies_is_counted_though_its_phase_stays() -> None:
    stage = Stage("a")
    stage.discover("a", terminating=True)
    stage.see("a", Sign.CONNECT_REFUSED)
    assert stage.last.kind == "draining"
    assert stage.events.ejections == {Sign.CONNECT_REFUSED: 1}


def test_a_crowd_is_one_event() -> None:
    stage = Stage()
    crowd = [f"w{n}" for n in range(500)]
    with stage.events.together():
        stage.discover(*crowd)
    (event,) = stage.events
    assert event.kind == "joined"
    assert event.text == "500 workers: new -> ready, 0 in flight: w0, w1, w2 and 497 more"
    with stage.events.together():
        stage.discover(*crowd[:-2])
    assert stage.kinds()[1:] == [("w498", "left"), ("w499", "left")]


def test_only_the_last_are_kept_and_those_after_a_number_can_be_had() -> None:
    events = Events(Pool(Policy()), Ring(wall=lambda: 1.0))
    for n in range(KEPT + 10):
        events.note("config", f"n{n}")
    assert next(event.text for event in events) == "n10"
    assert len(list(events)) == KEPT
    assert [event.text for event in events.since(events.last - 2)] == ["n508", "n509"]
    assert events.since(events.last) == []


def test_each_is_a_line_of_the_log_with_the_same_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, module.log.name)
    stage = Stage("a")
    stage.see("a", Sign.IDLE_CLOSED)
    stage.see("a", Sign.CHECK_FAILED, "reset")
    stage.events.lost(b"id-7", "a", Outcome.DIED, again=True)
    stage.events.lost(b"id-8", "a", Outcome.DIED, again=False)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [
        ("INFO", "a: new -> ready, 0 in flight"),
        ("DEBUG", "a: ready -> suspect (idle connection closed), 0 in flight"),
        ("WARNING", "a: suspect -> ejected (check failed: reset), 0 in flight"),
        ("INFO", "request id-7: connection died, sent again"),
        ("WARNING", "request id-8: connection died, given up"),
    ]
    fields = [getattr(record, "fields", {}) for record in caplog.records]
    assert fields[2]["event"] == stage.last.number - 2
    assert fields[2]["reason"] == "check failed: reset"
    assert fields[3] == {
        "event": 3, "pool": "p", "kind": "lost", "worker": "a", "reason": "connection died",
        "in_flight": 0, "request_id": "id-7",
    }  # fmt: skip
