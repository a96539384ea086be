"""The ring of events: numbers without gaps, and what was lost of them."""

from dataclasses import replace

from app.balancing.endpoint import EndpointSpec, Phase
from app.balancing.health import Sign
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.runtime.ring import Ring


def flapping(ring: Ring, times: int) -> Pool:
    """A pool whose only worker is ejected and comes back so often."""
    pool = Pool(Policy(), name="p")
    pool.observers.append(ring.observer(pool))
    pool.apply_snapshot([EndpointSpec("w", "::1", 80, name="worker-0")], 0.0)
    endpoint = pool.endpoints["w"]
    for i in range(times):
        pool.observe(endpoint, Sign.CONNECT_REFUSED, 2.0 * i + 1.0, "refused")
        pool.observe(endpoint, Sign.CHECK_PASSED, 2.0 * i + 2.0)
        assert endpoint.phase is Phase.READY
    return pool


def test_an_ejection_and_a_return_are_numbered() -> None:
    ring = Ring(clock=lambda: 7.0)
    flapping(ring, 1)
    events, lost = ring.since(0)
    assert lost == 0
    assert [(event.number, event.kind) for event in events] == [(1, "Ejected"), (2, "Returned")]
    assert {(event.pool, event.worker, event.address) for event in events} == {
        ("p", "worker-0", "[::1]:80")
    }
    assert events[0].time == 7.0
    assert "refused" in events[0].reason


def test_a_worker_that_is_unready_before_it_is_back_has_returned_too() -> None:
    ring = Ring()
    pool = Pool(Policy(), name="p")
    pool.observers.append(ring.observer(pool))
    spec = EndpointSpec("w", "10.0.0.1", 80)
    pool.apply_snapshot([spec], 0.0)
    endpoint = pool.endpoints["w"]
    pool.observe(endpoint, Sign.CONNECT_REFUSED, 1.0)
    pool.apply_snapshot([replace(spec, serving=False)], 2.0)
    pool.observe(endpoint, Sign.CHECK_PASSED, 3.0)
    assert [event.kind for event in ring.since(0)[0]] == ["Ejected"]
    pool.apply_snapshot([spec], 4.0)
    assert [event.kind for event in ring.since(0)[0]] == ["Ejected", "Returned"]


def test_one_that_goes_while_it_is_out_does_not_return() -> None:
    ring = Ring()
    pool = Pool(Policy(), name="p")
    pool.observers.append(ring.observer(pool))
    spec = EndpointSpec("w", "10.0.0.1", 80)
    pool.apply_snapshot([spec], 0.0)
    pool.observe(pool.endpoints["w"], Sign.CONNECT_REFUSED, 1.0)
    pool.apply_snapshot([], 2.0)
    pool.apply_snapshot([spec], 3.0)
    assert [event.kind for event in ring.since(0)[0]] == ["Ejected"]


def test_who_asks_late_learns_how_many_were_lost() -> None:
    ring = Ring(size=3)
    flapping(ring, 3)
    assert ring.last == 6
    events, lost = ring.since(1)
    assert ([event.number for event in events], lost) == ([4, 5, 6], 2)
    assert ring.since(3)[1] == 0
    assert ring.since(6) == ([], 0)
    assert ring.since(99) == ([], 0)


def test_each_process_has_its_own_numbers() -> None:
    assert Ring().instance != Ring().instance
