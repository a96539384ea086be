"""A pool that is one of several replicas': slots that others hold, and others who decide."""

from math import inf
from random import Random

import pytest

from app.balancing.endpoint import EndpointSpec, Phase
from app.balancing.errors import QueueFull, QueueTimeout
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy, QueuePolicy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from tests.unit.balancing.test_lease import Recorder
from tests.unit.balancing.test_pool import Client, fill, pool_of, some, take, wait

SPEC = EndpointSpec("a", "10.0.0.1", 8000)


class Elsewhere:
    """A decider that notes what it is told."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.told: list[tuple[object, ...]] = []

    def asked(self, waiter: Waiter) -> None:
        self.told.append(("asked", waiter))

    def left(self, waiter: Waiter) -> None:
        self.told.append(("left", waiter))

    def released(
        self, lease: Lease, outcome: Outcome, retry_after: float | None, detail: str
    ) -> None:
        self.told.append(("released", lease, outcome, retry_after, detail))

    def unbounded(self, lease: Lease) -> None:
        self.told.append(("unbounded", lease))


def led_pool(names: str = "ab", cap: int = 1, *, size: int = 100, away: bool = False) -> Pool:
    """A pool in whose place another decides."""
    pool = pool_of(names, cap, size=size)
    pool.own_leases = set()
    pool.decide_by(Elsewhere(away=away), 0.0)
    return pool


def told(pool: Pool) -> list[tuple[object, ...]]:
    """What its decider was told since it was last asked."""
    decider = pool.decider
    assert isinstance(decider, Elsewhere)
    said, decider.told = decider.told, []
    return said


# --- slots that are only counted here


def test_a_slot_that_is_held_elsewhere_counts_as_one_that_is_taken() -> None:
    pool = pool_of("ab")
    held = pool.hold(SPEC, 0.0, elsewhere=True)
    assert take(pool).endpoint.name == "b"
    client = Client()
    wait(pool, client)
    held.release(Outcome.ANSWERED, 1.0)
    assert client.lease.endpoint.name == "a"


def test_it_is_counted_apart_and_is_no_grant_of_this_replica() -> None:
    pool = pool_of("a", 2)
    pool.own_leases = set()
    own, held = take(pool), pool.hold(SPEC, 0.0, expires=9.0, elsewhere=True)
    endpoint = pool.endpoints["a"]
    assert (pool.in_flight, pool.elsewhere) == (2, 1)
    assert (endpoint.in_flight, endpoint.elsewhere, endpoint.granted) == (2, 1, 1)
    assert (pool.own_leases, own.elsewhere, held.elsewhere, held.expires) == ({own}, False, True, 9)
    held.release(Outcome.DIED, 1.0)
    assert (pool.in_flight, pool.elsewhere, endpoint.elsewhere) == (1, 0, 0)
    assert (endpoint.failed, endpoint.phase) == (0, Phase.SUSPECT)  # not ours, but a sign
    own.release(Outcome.ANSWERED, 1.0)
    assert pool.own_leases == set()


def test_it_is_held_whatever_the_cap_and_the_phase() -> None:
    pool = pool_of("a")
    pool.apply_snapshot([EndpointSpec("a", "10.0.0.1", 8000, serving=False)], 0.0)
    held = [pool.hold(SPEC, 0.0, elsewhere=True) for _ in range(3)]
    pool.apply_snapshot([SPEC], 1.0)
    client = Client()
    wait(pool, client)
    for lease in held[:2]:
        lease.release(Outcome.ANSWERED, 2.0)
        assert not client.leases
    held[2].release(Outcome.ANSWERED, 2.0)
    assert client.lease.endpoint.in_flight == 1


def test_an_endpoint_that_is_not_known_is_kept_until_it_joins_or_is_free() -> None:
    pool = pool_of("")
    held = pool.hold(SPEC, 0.0, elsewhere=True)
    assert (pool.endpoints["a"].phase, pool.rotation) == (Phase.GONE, set())
    pool.apply_snapshot([SPEC], 1.0)
    client = Client()
    wait(pool, client)
    held.release(Outcome.ANSWERED, 2.0)
    assert client.lease.endpoint is held.endpoint
    other = pool.hold(EndpointSpec("z", "10.0.0.9", 8000), 0.0, elsewhere=True)
    other.release(Outcome.ANSWERED, 2.0)
    assert list(pool.endpoints) == ["a"]


def test_a_request_of_another_replica_waits_here_and_gets_a_lease_that_is_elsewhere() -> None:
    pool = pool_of("a")
    first = pool.acquire(Client(), 0.0, elsewhere=True)
    assert isinstance(first, Lease)
    assert first.elsewhere
    client = Client()
    got = pool.acquire(client, 0.0, deadline=5.0, elsewhere=True)
    assert isinstance(got, Waiter)
    first.release(Outcome.ANSWERED, 1.0)
    assert (client.lease.elsewhere, client.lease.expires) == (True, 5.0)
    assert (pool.elsewhere, pool.endpoints["a"].granted) == (1, 0)


def test_a_lease_knows_until_when_its_request_may_last() -> None:
    pool = pool_of("a")
    lease = pool.acquire(Client(), 0.0, deadline=7.0)
    assert isinstance(lease, Lease)
    assert lease.expires == 7.0
    lease.unbound()
    assert lease.expires == inf


def test_who_measures_is_told_of_slots_elsewhere_too() -> None:
    pool, recorder = pool_of("a"), Recorder()
    pool.dispatch_observer = recorder
    held = pool.hold(SPEC, 0.0, elsewhere=True)
    held.release(Outcome.ANSWERED, 1.0)
    assert recorder.seen == [
        ("granted", held, 1, 1), ("released", held, Outcome.ANSWERED, 0)
    ]  # fmt: skip


# --- the queue of those who waited elsewhere before


def test_those_who_waited_elsewhere_stand_where_their_age_says() -> None:
    pool = pool_of("a")
    lease = fill(pool)["a"]
    clients = {name: Client() for name in "abcxy"}
    wait(pool, clients["b"], now=2.0)
    wait(pool, clients["x"], now=3.0, retried=True)
    others = [
        Waiter(clients[name], since, inf, frozenset(), retried=retried)
        for name, since, retried in (("c", 2.5, False), ("a", 1.0, False), ("y", 4.0, True))
    ]
    pool.line_up(others, 5.0)
    order = ""
    for _ in clients:
        lease.release(Outcome.ANSWERED, 6.0)
        ((name, lease),) = [(n, c.leases.pop()) for n, c in clients.items() if c.leases]
        order += name
    assert order == "xyabc"


def test_they_are_served_at_once_if_there_are_slots_and_expire_like_all() -> None:
    pool = pool_of("a")
    one, other = Client(), Client()
    pool.line_up([Waiter(c, 0.0, 2.0, frozenset(), retried=False) for c in (one, other)], 1.0)
    assert one.lease.endpoint.name == "a"
    pool.tick(2.0)
    assert [type(refusal) for refusal in other.refusals] == [QueueTimeout]


# --- another decides


def test_nothing_is_given_here_while_another_decides() -> None:
    pool, client = led_pool(), Client()
    waiter = wait(pool, client)
    assert told(pool) == [("asked", waiter)]
    pool.apply_snapshot([SPEC], 1.0)
    pool.apply_policy(Policy(max_in_flight=9), 1.0)
    pool.tick(1.0)
    assert (client.told, pool.waiting()) == (0, [waiter])


def test_what_was_decided_is_assigned_whatever_is_known_here() -> None:
    pool, client = led_pool("a"), Client()
    waiter = wait(pool, client, deadline=7.0)
    lease = pool.assign(waiter, EndpointSpec("z", "10.0.0.9", 8000, "far"), 1.0)
    assert (lease.endpoint.name, lease.endpoint.granted, lease.elsewhere) == ("far", 1, False)
    assert (lease.expires, pool.queued, pool.own_leases) == (7.0, 0, {lease})
    assert told(pool) == [("asked", waiter)]


def test_the_decider_is_told_of_slots_given_back_and_held_without_limit() -> None:
    pool, waiting = led_pool("a"), Client()
    lease = pool.assign(wait(pool, Client()), SPEC, 1.0)
    wait(pool, waiting)
    told(pool)
    lease.unbound()
    lease.release(Outcome.REFUSED, 2.0, retry_after=0.5, detail="full")
    assert told(pool) == [
        ("unbounded", lease), ("released", lease, Outcome.REFUSED, 0.5, "full")
    ]  # fmt: skip
    pool.tick(3.0)  # the pause is over: it still gives nothing
    assert waiting.told == 0


def test_it_is_told_of_those_who_leave_and_of_those_whose_wait_is_over() -> None:
    pool, gone, late = led_pool(), Client(), Client()
    first, second = wait(pool, gone), wait(pool, late)
    told(pool)
    assert pool.cancel(first)
    assert not pool.cancel(first)
    pool.tick(60.0)
    assert told(pool) == [("left", first), ("left", second)]
    assert (gone.told, [type(r) for r in late.refusals]) == (0, [QueueTimeout])


@pytest.mark.parametrize(("away", "cap", "most"), [(True, 2, 1), (False, 2, 1 + 4), (False, 1, 3)])
def test_the_queue_is_bounded_here_too_but_for_those_who_only_ask(
    away: bool, cap: int, most: int
) -> None:
    pool = led_pool(cap=cap, size=1, away=away)
    for _ in range(most):
        wait(pool, Client())
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 0.0)
    wait(pool, Client(), retried=True)
    assert pool.queued == most + 1


def test_without_a_cap_all_only_ask() -> None:
    pool = pool_of("ab", None, size=0)
    pool.decide_by(Elsewhere(), 0.0)
    for _ in range(9):
        wait(pool, Client())
    pool.apply_snapshot([], 0.0)
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 0.0)


def test_a_pool_that_decides_again_serves_those_who_wait() -> None:
    pool, client = led_pool(), Client()
    wait(pool, client, tried="a")
    pool.decide_by(None, 1.0)
    assert client.lease.endpoint.name == "b"
    assert some(pool, "b") == {client.lease.endpoint}


def test_a_pool_that_nobody_asks_for_its_leases_does_not_keep_them() -> None:
    pool = Pool(Policy(queue=QueuePolicy()), random=Random(1))
    lease = pool.hold(SPEC, 0.0, elsewhere=False)
    lease.release(Outcome.ANSWERED, 0.0)
    assert pool.own_leases is None
