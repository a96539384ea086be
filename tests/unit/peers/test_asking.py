"""The side that asks, and the pools of the side that decides: what is said, and what is counted."""

from math import inf

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.errors import QueueFull
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import OnClientGone, Policy, QueuePolicy, RetryPolicy, TimeoutPolicy
from app.balancing.pool import Pool
from app.balancing.waiters import Waiter
from app.peers import messages
from app.peers.docket import LONGEST, WORKERS_STOP, Docket, free_at
from app.peers.follower import Follower, PoolFollower
from app.peers.messages import ProtocolError
from tests.unit.balancing.test_pool import Client
from tests.unit.peers.judging import settle
from tests.unit.peers.said import Said
from tests.unit.peers.test_scenarios import a_world, run

SPEC = EndpointSpec("x", "10.0.0.1", 80, "x")


class Asking:
    """A pool that follows, with its link."""

    def __init__(self) -> None:
        self.follower = Follower()
        self.pool = Pool(Policy(max_in_flight=1), name="pool", key="pool")
        self.pool.own_leases = set()
        self.pool.apply_snapshot([SPEC], 0.0)
        decider = PoolFollower(self.follower, self.pool)
        self.pool.observers.append(decider)
        self.pool.decide_by(decider, 0.0)
        self.link = Said()

    def report(self, now: float = 0.0) -> Said:
        self.link = Said()
        self.follower.report(self.link, [self.pool], 1, now, leaving=False)
        return self.link

    def ask(self, client: Client, now: float = 0.0, deadline: float = 60.0) -> Waiter:
        got = self.pool.acquire(client, now, deadline=deadline)
        assert isinstance(got, Waiter)
        return got

    def grant(self, ask: int, now: float = 0.0) -> None:
        """Grant as an arbiter does, whose number for x is 1."""
        self.follower.take(messages.NamePool(9, "pool"), now)
        self.follower.take(messages.NameEndpoint(1, 9, "x", "10.0.0.1", 80, "x"), now)
        self.follower.take(messages.Grant(ask, 1), now)


def test_what_is_asked_granted_and_given_back() -> None:
    side, client = Asking(), Client()
    side.report().heard()
    side.ask(client, deadline=7.0)
    assert side.link.meant() == [messages.Acquire(1, 1, False, 0.0, 7.0, 7.0, ())]
    side.grant(1)
    client.lease.unbound()
    client.lease.release(Outcome.DIED, 1.0, detail="reset")
    assert side.link.meant() == [
        messages.Unbound(1), messages.Release(1, Outcome.DIED, None, "reset")
    ]  # fmt: skip
    assert client.told == 1


def test_one_that_left_is_not_granted_and_has_said_so() -> None:
    side, client = Asking(), Client()
    side.report()
    waiter = side.ask(client)
    side.pool.cancel(waiter)
    assert side.link.meant()[-1] == messages.Cancel(1)
    side.grant(1)  # it was on its way
    side.follower.take(messages.Refuse(1, QueueFull), 0.0)
    assert (client.told, side.pool.in_flight) == (0, 0)


def test_a_refusal_ends_the_wait_once() -> None:
    side, client = Asking(), Client()
    side.report()
    side.ask(client)
    side.link.heard()
    side.follower.take(messages.Refuse(1, QueueFull), 0.0)
    assert ([type(r) for r in client.refusals], side.pool.queued) == ([QueueFull], 0)
    assert side.link.heard() == []


def test_numbers_stay_from_one_arbiter_to_the_next_and_what_ended_meanwhile_is_forgotten() -> None:
    side, holds, waits, gone = Asking(), Client(), Client(), Client()
    side.report()
    for client in (holds, waits, gone):
        side.ask(client)
    side.grant(1)
    side.follower.unlink()
    assert side.pool.decider is not None
    assert side.pool.decider.away
    side.pool.cancel(side.pool.waiting()[1])
    late = Client()
    side.ask(late, now=2.0)
    said = side.report(now=3.0).meant()
    assert said == [
        messages.Promise(1, leaving=False),
        messages.Held(1, 1, 57.0),
        messages.Reported(),
        messages.Acquire(2, 2, False, 3.0, 57.0, 57.0, ()),
        messages.Acquire(4, 2, False, 1.0, 57.0, 57.0, ()),
    ]
    side.follower.unlink()
    holds.lease.release(Outcome.ANSWERED, 4.0)
    assert messages.Held not in map(type, side.report(now=5.0).meant())


def test_a_grant_that_came_too_late_is_given_back() -> None:
    side, client = Asking(), Client()
    side.report()
    side.ask(client, deadline=7.0)
    side.link.heard()
    side.grant(1, now=7.0)
    assert (side.link.meant(), client.told, side.pool.in_flight) == ([messages.Cancel(1)], 0, 0)
    side.pool.tick(7.0)
    assert (len(client.refusals), side.link.meant()) == (1, [])


def test_a_grant_of_an_endpoint_without_a_name_loses_nothing() -> None:
    side, client = Asking(), Client()
    side.report()
    side.ask(client)
    with pytest.raises(ProtocolError, match="endpoint 5 has no name"):
        side.follower.take(messages.Grant(1, 5), 0.0)
    assert side.pool.queued == 1
    side.follower.unlink()
    assert side.report().meant()[-1] == messages.Acquire(1, 1, False, 0.0, 60.0, 60.0, ())


def test_endpoints_that_were_tried_are_named_in_the_request() -> None:
    side = Asking()
    side.report()
    tried = frozenset(side.pool.endpoints.values())
    side.pool.acquire(Client(), 0.0, deadline=60.0, tried=tried, retried=True)
    name, pool, ask = side.link.heard()[2:]
    assert isinstance(ask, messages.Acquire)
    assert {type(name), type(pool)} == {messages.NamePool, messages.NameEndpoint}
    assert (ask.retried, [side.link.named.endpoint(n)[1] for n in ask.tried]) == (True, [SPEC])


def test_only_an_idle_connection_that_was_closed_is_told() -> None:
    side = Asking()
    side.report().heard()
    endpoint = side.pool.endpoints["x"]
    side.pool.observe(endpoint, Sign.IDLE_CLOSED, 0.0, "FIN")
    (observed,) = side.link.meant()
    assert observed == messages.Observed(1, Sign.IDLE_CLOSED, "idle connection closed: FIN")
    side.pool.observe(endpoint, Sign.DIED, 0.0)
    side.pool.observe(endpoint, Sign.CHECK_PASSED, 0.0)
    side.follower.unlink()
    side.pool.observe(endpoint, Sign.IDLE_CLOSED, 0.0)
    assert side.link.meant() == []


def test_the_queue_of_a_pool_that_the_arbiter_does_not_know_is_bounded_here() -> None:
    side = Asking()
    side.pool.apply_policy(Policy(max_in_flight=1, queue=QueuePolicy(size=3)), 0.0)
    side.report()
    for _ in range(3 + 1):  # one of them may be about to get the slot
        side.ask(Client())
    with pytest.raises(QueueFull):
        side.pool.acquire(Client(), 0.0)


# --- the docket


def a_pool(cap: int | None = 2, names: str = "xy", **limits: object) -> Pool:
    pool = Pool(Policy(max_in_flight=cap, **limits), name="pool", key="pool")  # type: ignore[arg-type]
    pool.own_leases = set()
    pool.apply_snapshot([EndpointSpec(name, "10.0.0.1", 80, name) for name in names], 0.0)
    return pool


def test_all_that_is_not_known_is_held_until_it_is() -> None:
    pool, client = a_pool(), Client()
    own = pool.acquire(Client(), 0.0)
    assert isinstance(own, Lease)
    docket = Docket(pool, 0.0, accounted=False)
    assert (docket.reserved, pool.in_flight, pool.elsewhere) == (3, 4, 3)
    assert isinstance(pool.acquire(client, 0.0), Waiter)
    placed = docket.place(SPEC, 0.0, 9.0)
    assert (docket.reserved, pool.in_flight, placed.expires) == (2, 4, 9.0)
    placed.release(Outcome.ANSWERED, 1.0)
    assert client.lease.endpoint.name == "x"  # what reporters give back is given again
    docket.account(1.0)
    assert (docket.reserved, pool.in_flight) == (0, 2)


def test_more_than_the_cap_may_be_said_and_is_counted() -> None:
    pool = a_pool(cap=1, names="x")
    docket = Docket(pool, 0.0, accounted=False)
    for _ in range(3):
        docket.place(SPEC, 0.0, inf)
    docket.place(EndpointSpec("unknown", "10.0.0.9", 80), 0.0, inf)
    assert (docket.reserved, pool.endpoints["x"].in_flight, pool.in_flight) == (0, 3, 4)


def test_endpoints_and_caps_that_become_known_in_doubt_are_held_too() -> None:
    pool = a_pool(cap=1, names="")
    docket = Docket(pool, 0.0, accounted=False)
    placed = docket.place(EndpointSpec("y", "10.0.0.1", 80, "y"), 0.0, inf)
    pool.apply_snapshot([SPEC, EndpointSpec("y", "10.0.0.1", 80, "y")], 1.0)
    assert (docket.reserved, pool.in_flight) == (1, 2)
    higher = Policy(max_in_flight=3)
    docket.prepare_policy(higher, 1.0)
    pool.apply_policy(higher, 1.0)
    assert (docket.reserved, pool.in_flight) == (5, 6)
    pool.apply_snapshot([], 2.0)
    pool.apply_snapshot([SPEC], 3.0)  # it had left, and is still held
    assert docket.reserved == 5
    docket.close(4.0)
    placed.release(Outcome.ANSWERED, 4.0)
    assert (pool.in_flight, pool.observers, list(pool.endpoints)) == (0, [], ["x"])


def test_nothing_is_held_where_there_is_no_cap_or_workers_refuse() -> None:
    refusing = a_pool(retry=RetryPolicy(refused_statuses=frozenset({503})))
    for pool in (a_pool(cap=None), refusing):
        assert Docket(pool, 0.0, accounted=False).reserved == 0


def test_nor_once_it_is_accounted() -> None:
    pool = a_pool(cap=1, names="")
    docket = Docket(pool, 0.0, accounted=True)
    pool.apply_snapshot([SPEC], 0.0)
    docket.prepare_policy(Policy(max_in_flight=9), 0.0)
    assert (docket.reserved, pool.in_flight) == (0, 0)


def test_an_own_slot_past_its_deadline_is_held_for_others_beside() -> None:
    pool = a_pool(cap=1, names="x")
    own = pool.acquire(Client(), 0.0, deadline=5.0)
    assert isinstance(own, Lease)
    docket = Docket(pool, 5.0, accounted=False)
    own.release(Outcome.EXPIRED, 5.0)
    assert (docket.reserved, pool.in_flight) == (1, 1)


def test_those_who_rejoin_are_lined_up_by_age_and_may_leave_from_wherever_they_are() -> None:
    pool = a_pool(cap=1, names="x")
    docket = Docket(pool, 0.0, accounted=True)
    lease = pool.acquire(Client(), 0.0)
    assert isinstance(lease, Lease)
    clients = [Client() for _ in range(3)]
    waiters = [
        Waiter(client, since, inf, frozenset(), retried=False)
        for client, since in zip(clients, (3.0, 1.0, 2.0), strict=True)
    ]
    docket.rejoining += waiters
    docket.withdraw(waiters[2])
    docket.line_up(4.0)
    assert pool.waiting() == [waiters[1], waiters[0]]
    docket.withdraw(waiters[1])
    docket.withdraw(waiters[1])
    lease.release(Outcome.ANSWERED, 5.0)
    assert [client.told for client in clients] == [1, 0, 0]


@pytest.mark.parametrize(
    ("policy", "at"),
    [
        (Policy(), 10.0 + WORKERS_STOP),
        (Policy(on_client_gone=OnClientGone.FINISH), 610.0),
        (Policy(on_client_gone=OnClientGone.FINISH, timeouts=TimeoutPolicy(request=5.0)), 15.0),
        (
            Policy(on_client_gone=OnClientGone.FINISH, timeouts=TimeoutPolicy(request=None)),
            10.0 + LONGEST,
        ),
        (None, 10.0 + LONGEST),
    ],
)
def test_when_requests_of_the_dead_no_longer_run(policy: Policy | None, at: float) -> None:
    assert free_at(policy, 10.0) == at


# --- order


def test_order_is_kept_across_replicas_and_arbiters() -> None:
    world, (p, q, r) = a_world("p", "q", "r")
    p.accept("cancel", 16.0)
    for process in (q, r, q, r):
        world.advance(0.25)
        process.accept("cancel", 16.0)
    asked = sorted((one.expires, side.pod) for side in (q, r) for one in side.requests)
    run(world, 0.25)
    p.replica.leave()
    run(world, 0.5)
    assert p.replica.arbiter is None
    served = []
    for _ in asked:
        world.finish(0)
        run(world, 0.25)
        ((request,),) = world.running.values()
        served.append((request.expires, request.process.pod))
    assert served == asked


def test_the_queue_of_all_is_bounded_where_it_is_decided() -> None:
    world, (p, q) = a_world("p", "q")
    p.accept("cancel", 16.0)
    size = p.pools["cancel"].policy.queue.size
    assert isinstance(p.pools["cancel"].policy.queue, QueuePolicy)
    for _ in range(size):
        p.accept("cancel", 16.0)
    q.accept("cancel", 16.0)
    waiting = q.requests[-1]
    run(world, 0.25)
    assert waiting.over
    settle(world)
