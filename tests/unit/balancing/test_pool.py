"""Slots and the queue: who gets what, who waits, and who is told. Membership: test_rotation.py."""

from collections import Counter
from collections.abc import Callable
from math import inf
from random import Random

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy, QueuePolicy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter


class Client:
    """A claimant that notes what it is told; `then` is what it does with a slot at once."""

    def __init__(self, then: Callable[[Lease], object] | None = None) -> None:
        self.leases: list[Lease] = []
        self.refusals: list[Refusal] = []
        self._then = then

    def granted(self, lease: Lease) -> None:
        self.leases.append(lease)
        if self._then is not None:
            self._then(lease)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    @property
    def lease(self) -> Lease:
        (lease,) = self.leases
        return lease

    @property
    def told(self) -> int:
        return len(self.leases) + len(self.refusals)


def pool_of(names: str, cap: int | None = 1, *, size: int = 100, timeout: float = 60.0) -> Pool:
    queue = QueuePolicy(size=size, timeout=timeout)
    pool = Pool(Policy(max_in_flight=cap, queue=queue), random=Random(1))
    pool.apply_snapshot([EndpointSpec(name, "10.0.0.1", 8000) for name in names], 0.0)
    return pool


def some(pool: Pool, names: str) -> frozenset[Endpoint]:
    return frozenset(pool.endpoints[name] for name in names)


def take(pool: Pool, *, tried: str = "") -> Lease:
    """A slot that is there."""
    got = pool.acquire(Client(), 0.0, tried=some(pool, tried))
    assert isinstance(got, Lease)
    return got


def fill(pool: Pool) -> dict[str, Lease]:
    """All slots, one an endpoint, by its name."""
    leases = [take(pool) for _ in pool.rotation]
    return {lease.endpoint.name: lease for lease in leases}


def wait(
    pool: Pool,
    client: Client,
    *,
    now: float = 0.0,
    deadline: float = inf,
    waited: float = 0.0,
    tried: str = "",
    retried: bool = False,
) -> Waiter:
    """A place in the queue, since there is no slot."""
    excluded = some(pool, tried)
    got = pool.acquire(
        client, now, deadline=deadline, waited=waited, tried=excluded, retried=retried
    )
    assert isinstance(got, Waiter)
    assert client.told == 0
    return got


# --- a slot at once


def test_a_burst_spreads_evenly_since_each_choice_counts_at_once() -> None:
    pool = pool_of("abcde", cap=None)
    burst = Counter(take(pool).endpoint.name for _ in range(100))
    assert burst == dict.fromkeys("abcde", 20)
    assert pool.in_flight == 100


def test_an_idle_pool_is_used_in_turn() -> None:
    pool, turns = pool_of("abc"), []
    for _ in range(9):
        lease = take(pool)
        turns.append(lease.endpoint.name)
        lease.release(Outcome.ANSWERED, 0.0)
    assert sorted(turns[:3]) == ["a", "b", "c"]
    assert turns[:3] == turns[3:6] == turns[6:]


def test_the_cap_holds_for_each_endpoint() -> None:
    pool = pool_of("ab", cap=2)
    assert Counter(take(pool).endpoint.name for _ in range(4)) == {"a": 2, "b": 2}
    wait(pool, Client())
    assert (pool.in_flight, pool.queued) == (4, 1)


# --- the queue


def test_a_freed_slot_goes_to_the_first_who_waits_before_release_returns() -> None:
    pool = pool_of("a")
    lease, first, second = take(pool), Client(), Client()
    wait(pool, first)
    wait(pool, second)
    lease.release(Outcome.ANSWERED, 7.0)
    assert (first.lease.endpoint.name, first.lease.granted_at) == ("a", 7.0)
    assert second.told == 0
    assert (pool.in_flight, pool.queued) == (1, 1)


def test_a_queue_beyond_its_size_is_full() -> None:
    pool = pool_of("a", size=2)
    lease, clients = take(pool), [Client(), Client()]
    for client in clients:
        wait(pool, client)
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 0.0)
    lease.release(Outcome.ANSWERED, 1.0)
    wait(pool, Client())


def test_a_queue_of_size_0_refuses_what_does_not_fit() -> None:
    pool = pool_of("a", size=0)
    take(pool)
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 0.0)


def test_retried_requests_go_before_the_fresh_in_their_own_order_beyond_the_queues_size() -> None:
    pool = pool_of("ab", size=1)
    leases, fresh, one, two = fill(pool), Client(), Client(), Client()
    wait(pool, one, retried=True)
    wait(pool, fresh)
    wait(pool, two, retried=True)
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 0.0)
    leases["a"].release(Outcome.ANSWERED, 1.0)
    assert (one.told, two.told, fresh.told) == (1, 0, 0)
    leases["b"].release(Outcome.ANSWERED, 1.0)
    assert (two.told, fresh.told) == (1, 0)
    one.lease.release(Outcome.ANSWERED, 2.0)
    assert fresh.lease.endpoint.name == "a"


def test_who_cancels_has_left_and_hears_nothing_more() -> None:
    pool = pool_of("a", timeout=1.0)
    lease, gone, stays = take(pool), Client(), Client()
    waiter = wait(pool, gone)
    wait(pool, stays)
    assert pool.cancel(waiter)
    assert not pool.cancel(waiter)
    lease.release(Outcome.ANSWERED, 0.5)
    pool.tick(10.0)
    assert (gone.told, stays.told, pool.queued) == (0, 1, 0)


def test_a_cancel_that_comes_too_late_says_so() -> None:
    pool = pool_of("a")
    lease, client = take(pool), Client()
    waiter = wait(pool, client)
    lease.release(Outcome.ANSWERED, 0.5)
    assert not pool.cancel(waiter)
    assert client.lease.released is False


# --- the end of a wait


@pytest.mark.parametrize(("deadline", "until"), [(inf, 60.0), (20.0, 20.0), (600.0, 60.0)])
def test_a_wait_ends_with_the_queues_timeout_or_the_requests_deadline(
    deadline: float, until: float
) -> None:
    pool, client = pool_of("a", timeout=50.0), Client()
    take(pool)
    wait(pool, client, now=10.0, deadline=deadline)
    pool.tick(until - 0.01)
    assert client.told == 0
    pool.tick(until)
    assert [type(refusal) for refusal in client.refusals] == [QueueTimeout]
    pool.tick(until + 100.0)
    assert (client.told, pool.queued) == (1, 0)


@pytest.mark.parametrize(
    ("waited", "deadline", "until"),
    [
        *((0.0, inf, 60.0), (20.0, inf, 40.0), (49.5, inf, 10.5)),
        *((20.0, 30.0, 30.0), (20.0, 50.0, 40.0)),
    ],
)
def test_earlier_waits_of_a_request_are_taken_off_its_time_in_the_queue(
    waited: float, deadline: float, until: float
) -> None:
    pool, client = pool_of("a", timeout=50.0), Client()
    take(pool)
    waiter = wait(pool, client, now=10.0, deadline=deadline, waited=waited, retried=True)
    assert (waiter.since, waiter.deadline) == (10.0, until)
    pool.tick(until - 0.01)
    assert client.told == 0
    pool.tick(until)
    assert [type(refusal) for refusal in client.refusals] == [QueueTimeout]


@pytest.mark.parametrize("waited", [50.0, 50.1, 1e9])
def test_one_that_has_waited_its_time_may_have_a_slot_and_is_else_refused_at_the_next_tick(
    waited: float,
) -> None:
    pool, lucky, late = pool_of("a", timeout=50.0), Client(), Client()
    lease = take(pool)
    for client in (lucky, late):
        assert wait(pool, client, now=10.0, waited=waited, retried=True).deadline == 10.0
    lease.release(Outcome.ANSWERED, 10.0)
    assert (lucky.told, late.told) == (1, 0)
    pool.tick(10.0)
    assert [type(refusal) for refusal in late.refusals] == [QueueTimeout]
    lucky.lease.release(Outcome.ANSWERED, 11.0)
    assert isinstance(pool.acquire(Client(), 11.0, waited=waited), Lease)


def test_the_time_waited_before_counts_only_in_the_queue_it_is_told_to() -> None:
    pool, patient, late = pool_of("a", timeout=50.0), Client(), Client()
    take(pool)
    wait(pool, patient)
    wait(pool, late, waited=30.0)
    pool.tick(20.0)
    assert (patient.told, late.told, pool.queued) == (0, 1, 1)


def test_with_no_endpoint_in_rotation_the_refusal_says_so() -> None:
    pool, client = pool_of("", timeout=1.0), Client()
    wait(pool, client)
    pool.tick(1.0)
    assert [type(refusal) for refusal in client.refusals] == [NoEndpoint]


def test_a_request_waits_for_the_first_endpoint_to_come() -> None:
    pool, client = pool_of(""), Client()
    wait(pool, client)
    pool.apply_snapshot([EndpointSpec("a", "10.0.0.1", 8000)], 3.0)
    assert client.lease.endpoint.name == "a"


# --- tried endpoints


def test_tried_endpoints_are_passed_over_though_they_are_less_loaded() -> None:
    pool = pool_of("ab", cap=None)
    for _ in range(3):
        assert take(pool, tried="a").endpoint.name == "b"
    assert take(pool).endpoint.name == "a"


def test_with_the_others_full_a_request_rather_waits_than_goes_where_it_was() -> None:
    pool, client = pool_of("ab"), Client()
    busy = take(pool, tried="a")
    wait(pool, client, tried="a", retried=True)
    assert take(pool).endpoint.name == "a"
    busy.release(Outcome.ANSWERED, 1.0)
    assert client.lease.endpoint.name == "b"


def test_who_can_use_a_slot_goes_before_one_who_may_not() -> None:
    pool, picky, plain = pool_of("ab"), Client(), Client()
    leases = fill(pool)
    wait(pool, picky, tried="a", retried=True)
    wait(pool, plain)
    leases["a"].release(Outcome.ANSWERED, 1.0)
    assert (picky.told, plain.lease.endpoint.name) == (0, "a")


def test_when_only_the_picky_wait_a_slot_may_stay_free() -> None:
    pool, picky = pool_of("ab"), Client()
    leases = fill(pool)
    wait(pool, picky, tried="a")
    leases["a"].release(Outcome.ANSWERED, 1.0)
    assert (picky.told, pool.in_flight) == (0, 1)


def test_when_all_in_rotation_were_tried_all_may_be_tried_again() -> None:
    pool, client = pool_of("abc"), Client()
    assert take(pool, tried="abc").endpoint.name in "abc"
    pool = pool_of("ab")
    leases = fill(pool)
    wait(pool, client, tried="a")
    leases["a"].release(Outcome.ANSWERED, 1.0)
    leases["b"].release(Outcome.CONNECT_REFUSED, 2.0)  # b is out: there is none but a
    assert client.lease.endpoint.name == "a"


# --- changed limits


def test_a_higher_cap_serves_those_who_wait_at_once() -> None:
    pool, clients = pool_of("ab"), [Client() for _ in range(5)]
    fill(pool)
    for client in clients:
        wait(pool, client)
    pool.apply_policy(Policy(max_in_flight=3), 1.0)
    assert [client.told for client in clients] == [1, 1, 1, 1, 0]
    pool.apply_policy(Policy(), 1.0)
    assert clients[4].told == 1


def test_a_lower_cap_takes_no_slot_away_but_gives_none_until_there_is_room() -> None:
    pool, client = pool_of("a", cap=3), Client()
    leases = [take(pool) for _ in range(3)]
    pool.apply_policy(Policy(max_in_flight=2), 1.0)
    wait(pool, client)
    leases[0].release(Outcome.ANSWERED, 2.0)
    assert (client.told, pool.in_flight) == (0, 2)
    leases[1].release(Outcome.ANSWERED, 2.0)
    assert (client.told, pool.in_flight) == (1, 2)


def test_a_shorter_queue_sends_nobody_away_who_waits() -> None:
    pool, clients = pool_of("a", timeout=10.0), [Client() for _ in range(3)]
    lease = take(pool)
    for client in clients:
        wait(pool, client)
    pool.apply_policy(Policy(max_in_flight=1, queue=QueuePolicy(size=1, timeout=1.0)), 1.0)
    pool.tick(9.0)
    assert pool.queued == 3
    with pytest.raises(QueueFull):
        pool.acquire(Client(), 9.0)
    lease.release(Outcome.ANSWERED, 9.0)
    assert clients[0].told == 1


# --- claimants that call the pool back


def test_a_claimant_may_release_within_granted_and_the_next_is_served_in_the_same_call() -> None:
    pool = pool_of("a")
    lease, last = take(pool), Client()
    hasty = [Client(lambda got: got.release(Outcome.CANCELLED, 1.0)) for _ in range(3)]
    for client in [*hasty, last]:
        wait(pool, client)
    lease.release(Outcome.ANSWERED, 1.0)
    assert [client.told for client in [*hasty, last]] == [1, 1, 1, 1]
    assert (pool.in_flight, pool.queued, last.lease.released) == (1, 0, False)


def test_a_claimant_that_ejects_its_endpoint_within_granted_stops_the_hand_off() -> None:
    pool, after = pool_of("a"), Client()
    fatal = Client(lambda got: got.release(Outcome.CONNECT_REFUSED, 1.0))
    lease = take(pool)
    wait(pool, fatal)
    wait(pool, after)
    lease.release(Outcome.ANSWERED, 1.0)
    assert (fatal.told, after.told, pool.rotation) == (1, 0, set())
    pool.observe(pool.endpoints["a"], Sign.CHECK_PASSED, 2.0)
    assert after.told == 1


def test_a_claimant_may_acquire_again_within_granted() -> None:
    pool, again = pool_of("a"), Client()
    lease, other = take(pool), Client()
    client = Client(lambda _: wait(pool, again))
    wait(pool, client)
    wait(pool, other)
    lease.release(Outcome.ANSWERED, 1.0)
    assert (client.told, other.told, again.told, pool.queued) == (1, 0, 0, 2)
    client.lease.release(Outcome.ANSWERED, 2.0)
    other.lease.release(Outcome.ANSWERED, 3.0)
    assert (again.told, pool.in_flight, pool.queued) == (1, 1, 0)


def test_a_claimant_may_acquire_again_within_refused() -> None:
    pool, again = pool_of("a", size=1, timeout=1.0), Client()
    take(pool)

    class Stubborn(Client):
        def refused(self, refusal: Refusal) -> None:
            super().refused(refusal)
            wait(pool, again, now=1.0)

    wait(pool, client := Stubborn())
    pool.tick(1.0)
    assert (again.told, pool.queued) == (0, 1)
    assert [type(refusal) for refusal in client.refusals] == [QueueTimeout]


# --- the request's own deadline


def test_no_slot_is_given_to_a_request_past_its_own_deadline() -> None:
    pool, late, after = pool_of("a"), Client(), Client()
    lease = take(pool)
    wait(pool, late, deadline=5.0)
    wait(pool, after)
    lease.release(Outcome.ANSWERED, 5.0)  # before the tick that ends the wait
    assert (late.told, after.lease.endpoint.name) == (0, "a")
    after.lease.release(Outcome.ANSWERED, 5.0)
    wait(pool, late, now=6.0, deadline=6.0)
    pool.tick(6.0)
    assert [type(refusal) for refusal in late.refusals] == [QueueTimeout, QueueTimeout]
