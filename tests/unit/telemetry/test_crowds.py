"""What is told of the workers, one by one or together."""

import logging
from collections.abc import Iterable

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import Sign
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry.events import FEW, Events
from app.telemetry.ring import Ring


def specs(numbers: Iterable[int], *, serving: bool = True) -> list[EndpointSpec]:
    return [
        EndpointSpec(f"uid-{n}", "10.0.0.1", 1 + n, name=f"w-{n}", serving=serving) for n in numbers
    ]


class Rig:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self.pool = Pool(Policy())
        self.events = Events(self.pool, Ring())
        self._caplog = caplog

    def snapshot(self, endpoints: list[EndpointSpec]) -> list[str]:
        """Apply it; return what was said."""
        self._caplog.clear()
        with self.events.together():
            self.pool.apply_snapshot(endpoints, 0.0)
            assert not self._caplog.messages
        return self._caplog.messages


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Rig:
    return Rig(caplog)


def test_a_few_have_a_line_each(rig: Rig) -> None:
    said = rig.snapshot(specs(range(FEW)))
    assert said == [f"w-{n}: new -> ready, 0 in flight" for n in range(FEW)]


def test_many_have_one_line(rig: Rig) -> None:
    said = rig.snapshot(specs(range(1000)))
    assert said == ["1000 workers: new -> ready, 0 in flight: w-0, w-1, w-2 and 997 more"]
    (event,) = rig.events
    assert (event.number, event.kind, event.phase, event.worker) == (1, "joined", "ready", "")


def test_each_kind_has_its_own(rig: Rig) -> None:
    rig.snapshot(specs(range(20)))
    for _ in range(20):  # one on each
        rig.pool.acquire(None, 0.0)  # type: ignore[arg-type] # nobody has to wait
    said = rig.snapshot([*specs([0], serving=False), *specs(range(20, 40))])
    assert said == [
        "19 workers: ready -> gone, 19 in flight: w-1, w-2, w-3 and 16 more",
        "w-0: ready -> unready, 1 in flight",
        "20 workers: new -> ready, 0 in flight: w-20, w-21, w-22 and 17 more",
    ]


def test_a_return_of_many_is_told_apart_from_those_that_were_never_out(rig: Rig) -> None:
    rig.snapshot(specs(range(40)))
    for endpoint in list(rig.pool.endpoints.values())[:20]:
        rig.pool.observe(endpoint, Sign.CONNECT_REFUSED, 0.0)
    rig.snapshot(specs(range(40), serving=False))
    for endpoint in rig.pool.endpoints.values():
        rig.pool.observe(endpoint, Sign.CHECK_PASSED, 0.0)
    said = rig.snapshot(specs(range(40)))
    assert [line.partition(":")[0] for line in said] == ["20 workers", "20 workers"]
    was_out, was_not = list(rig.events)[-2:]
    assert (was_out.kind, was_out.after) == ("back", 0.0)
    assert (was_not.kind, was_not.after) == ("back", None)


def test_outside_of_a_snapshot_all_is_said_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.snapshot(specs([1]))
    (endpoint,) = rig.pool.endpoints.values()
    caplog.clear()
    rig.pool.observe(endpoint, Sign.CONNECT_REFUSED, 0.0, "refused")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "w-1: ready -> ejected (connection refused: refused), 0 in flight")
    ]


def test_what_failed_within_is_said_all_the_same(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def apply() -> None:
        with rig.events.together():
            rig.pool.apply_snapshot(specs([1]), 0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        apply()
    assert caplog.messages == ["w-1: new -> ready, 0 in flight"]
