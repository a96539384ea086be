"""The ring of events: one sequence for all pools, and what was lost of it."""

from app.balancing.endpoint import EndpointSpec, Phase
from app.balancing.health import Sign
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry.events import Events
from app.telemetry.ring import Ring


def flapping(ring: Ring, times: int, name: str = "p") -> Events:
    """The events of a pool whose only worker joins, is ejected and comes back so often."""
    pool = Pool(Policy(), name=name)
    events = Events(pool, ring)
    pool.apply_snapshot([EndpointSpec("w", "::1", 80, name="worker-0")], 0.0)
    endpoint = pool.endpoints["w"]
    for i in range(times):
        pool.observe(endpoint, Sign.CONNECT_REFUSED, 2.0 * i + 1.0, "refused")
        pool.observe(endpoint, Sign.CHECK_PASSED, 2.0 * i + 2.0)
        assert endpoint.phase is Phase.READY
    return events


def test_an_ejection_and_a_return_are_numbered() -> None:
    ring = Ring(wall=lambda: 7.0)
    flapping(ring, 1)
    events, lost = ring.since(1)
    assert lost == 0
    assert [(event.number, event.kind) for event in events] == [(2, "ejected"), (3, "back")]
    assert {(event.pool, event.worker, event.address) for event in events} == {
        ("p", "worker-0", "[::1]:80")
    }
    assert events[0].at == 7.0
    assert "refused" in events[0].reason


def test_all_pools_have_one_sequence_and_each_reads_its_own() -> None:
    ring = Ring()
    one = flapping(ring, 1, "one")
    two = flapping(ring, 1, "two")
    one.note("config", "changed")
    events, _ = ring.since(0)
    assert [event.number for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.pool for event in events] == ["one"] * 3 + ["two"] * 3 + ["one"]
    assert [event.number for event in one] == [1, 2, 3, 7]
    assert [event.number for event in two.since(4)] == [5, 6]
    assert one.last == two.last == 7


def test_a_pool_in_which_much_happens_pushes_out_its_own_only() -> None:
    ring = Ring(each=3)
    quiet = flapping(ring, 1, "quiet")
    flapping(ring, 50, "loud")
    assert [event.number for event in quiet] == [1, 2, 3]
    events, lost = ring.since(0)
    assert ([event.number for event in events], lost) == ([1, 2, 3, 102, 103, 104], 98)


def test_who_asks_late_learns_how_many_were_lost() -> None:
    ring = Ring(each=3)
    flapping(ring, 3)
    assert ring.last == 7
    events, lost = ring.since(1)
    assert ([event.number for event in events], lost) == ([5, 6, 7], 3)
    assert ring.since(4)[1] == 0
    assert ring.since(7) == ([], 0)
    assert ring.since(99) == ([], 0)


def test_those_of_a_pool_that_left_make_room_for_the_next_only() -> None:
    ring = Ring(each=3)
    flapping(ring, 1, "one").close()
    stays = flapping(ring, 1, "stays")
    assert ring.since(0)[1] == 0
    flapping(ring, 1, "two").close()
    events, lost = ring.since(0)
    assert {event.pool for event in events} == {"stays", "two"}
    assert lost == 3
    assert len(list(stays)) == 3


def test_each_process_has_its_own_numbers() -> None:
    assert Ring().instance != Ring().instance
