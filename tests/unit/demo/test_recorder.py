import asyncio
import io
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import HealthPolicy, Policy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.demo.recorder import FLUSH, Recorder
from app.demo.records import (
    Changed,
    Granted,
    Queued,
    Record,
    Released,
    Retried,
    Sent,
    from_line,
)

NAMES = {"10.0.0.1:80": "worker1", "10.0.0.2:80": "worker2"}


class Recorded:
    """A pool of two with a cap of one, and what is recorded of it."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        policy = Policy(max_in_flight=1, health=HealthPolicy(failures=2))
        self.pool = Pool(policy)
        self.recorder = Recorder(self.pool, self.file, NAMES)
        self.pool.observers.append(self.recorder)
        self.pool.dispatch_observer = self.recorder
        self.pool.apply_snapshot(
            [EndpointSpec(name, name.split(":")[0], 80, name=name) for name in NAMES], 1.0
        )

    def records(self) -> list[Record]:
        """Return what is new since the last time."""
        self.recorder.flush()
        lines = self.file.getvalue().splitlines()
        self.file.truncate(0)
        self.file.seek(0)
        return [from_line(line) for line in lines]

    def acquire(self) -> Lease | Waiter:
        return self.pool.acquire(cast("Any", Claimant()), time.monotonic())

    def lease(self) -> Lease:
        lease = self.acquire()
        assert isinstance(lease, Lease)
        return lease


class Claimant:
    def granted(self, lease: Lease) -> None:
        pass


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_workers_join(recorded: Recorded) -> None:
    before = time.monotonic()
    one, two = recorded.records()
    assert isinstance(one, Changed)
    assert isinstance(two, Changed)
    assert (one.worker, one.phase, one.choosable, one.sign_at) == ("worker1", "ready", True, 1.0)
    assert two.worker == "worker2"
    assert before - 1 < one.t <= time.monotonic()
    assert recorded.records() == []


def test_a_slot_is_given_and_given_back(recorded: Recorded) -> None:
    recorded.records()
    lease = recorded.lease()
    name = NAMES[lease.endpoint.name]
    lease.release(Outcome.ANSWERED, 2.0)
    granted, released = recorded.records()
    assert isinstance(granted, Granted)
    assert granted.worker == name
    assert granted.counts == {"worker1": 0, "worker2": 0} | {name: 1}
    assert granted.choosable == ["worker1", "worker2"]
    assert isinstance(released, Released)
    assert (released.worker, released.in_flight, released.outcome) == (name, 0, "answered")


def test_one_that_lost_a_request_can_no_longer_be_chosen(recorded: Recorded) -> None:
    recorded.records()
    lease = recorded.lease()
    name = NAMES[lease.endpoint.name]
    lease.release(Outcome.DIED, 7.0, detail="reset")
    _, changed, released = recorded.records()
    assert isinstance(changed, Changed)
    assert (changed.worker, changed.phase, changed.choosable) == (name, "suspect", False)
    assert changed.sign_at == 7.0
    assert "reset" in changed.reason
    assert isinstance(released, Released)
    recorded.pool.observe(lease.endpoint, Sign.CONNECT_REFUSED, 8.0)
    (ejected,) = recorded.records()  # once, though health and phase have both changed
    assert isinstance(ejected, Changed)
    assert (ejected.phase, ejected.choosable, ejected.sign_at) == ("ejected", False, 8.0)


def test_the_queue_is_recorded_when_its_length_has_changed(recorded: Recorded) -> None:
    leases = [recorded.lease() for _ in range(2)]
    recorded.acquire()
    queued = recorded.records()[-1]
    assert isinstance(queued, Queued)
    assert queued.queued == 1
    assert recorded.records() == []
    leases[0].release(Outcome.ANSWERED, 2.0)
    queued = recorded.records()[-1]
    assert isinstance(queued, Queued)
    assert queued.queued == 0


def test_attempts_are_recorded_with_the_request_they_are_of(recorded: Recorded) -> None:
    endpoint = recorded.lease().endpoint
    recorded.records()
    exchange = cast(
        "Any",
        SimpleNamespace(identifier=b"id", endpoint=endpoint, attempts=1, waiting_since=3.0),
    )
    recorded.recorder.sent(exchange)
    exchange.endpoint = None  # as after its release
    recorded.recorder.retried(exchange, Outcome.DIED)
    recorded.recorder.sent(exchange)  # nothing: it has no worker
    sent, retried = recorded.records()
    assert isinstance(sent, Sent)
    name = NAMES[endpoint.name]
    assert (sent.worker, sent.request, sent.attempt, sent.ready) == (name, "id", 1, 3.0)
    assert isinstance(retried, Retried)
    assert (retried.request, retried.attempt, retried.outcome) == ("id", 1, "connection died")


async def test_it_writes_now_and_then_and_what_is_left_at_its_end(recorded: Recorded) -> None:
    running = asyncio.create_task(recorded.recorder.run())
    while not recorded.file.getvalue():
        await asyncio.sleep(FLUSH / 10)
    recorded.records()
    lease = recorded.lease()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    lines = recorded.file.getvalue().splitlines()
    assert [type(from_line(line)) for line in lines] == [Granted]
    lease.release(Outcome.ANSWERED, 2.0)
