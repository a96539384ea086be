"""The side that decides: what it makes of what the others say."""

from math import inf

from app.balancing.endpoint import Phase
from app.balancing.errors import QueueFull
from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.balancing.policy import Policy, QueuePolicy
from app.balancing.pool import Pool
from app.peers import messages
from app.peers.docket import WORKERS_STOP
from app.peers.messages import Message
from app.peers.record import Member, Record
from app.peers.replica import Replica
from tests.unit.peers.alone import ME, NOW, A, B, a_pool, come, deciding
from tests.unit.peers.said import Said

NAMES: list[Message] = [
    messages.NamePool(1, "pool"),
    messages.NameEndpoint(2, 1, "x", "10.0.0.1", 80, "x"),
]


def ask(number: int, expires: float = 9.0) -> messages.Acquire:
    return messages.Acquire(number, 1, False, 0.0, 9.0, expires, ())


def asked() -> tuple[Replica, Pool, Said]:
    """An arbiter of which A has a slot, as request 7, and waits for another, as 8."""
    replica, _ = deciding()
    pool = a_pool()
    replica.add_pool(pool, NOW)
    link = come(replica, A, [*NAMES, ask(7), ask(8)])
    assert [type(message) for message in link.meant()] == [messages.Grant]
    assert (pool.in_flight, pool.elsewhere, pool.queued) == (1, 1, 1)
    return replica, pool, link


def test_what_is_given_back_goes_to_the_first_that_waits() -> None:
    replica, pool, link = asked()
    replica.received(link, [messages.Release(7, Outcome.DIED, None, "reset")], NOW)
    assert (pool.in_flight, link.meant()) == (0, [])  # withheld until its check is through
    pool.observe(pool.endpoints["x"], Sign.CHECK_PASSED, NOW)
    assert (pool.in_flight, link.meant()) == (1, [messages.Grant(8, 1)])


def test_a_grant_under_way_to_one_that_leaves_is_free_again() -> None:
    replica, pool, link = asked()
    replica.received(link, [messages.Cancel(7)], NOW)
    assert (pool.in_flight, link.meant()) == (1, [messages.Grant(8, 1)])
    replica.received(link, [messages.Cancel(8), messages.Cancel(9)], NOW)
    assert (pool.in_flight, pool.queued) == (0, 0)


def test_what_a_report_leaves_out_was_given_back_while_nobody_heard_it() -> None:
    replica, pool, link = asked()
    replica.link_lost(link, NOW)
    assert (pool.in_flight, pool.queued) == (1, 0)  # the end of a connection proves nothing
    come(replica, A)
    assert pool.in_flight == 0


def test_a_slot_that_is_held_without_a_limit_is_not_freed_at_its_deadline() -> None:
    for unbound in (False, True):
        replica, pool, link = asked()
        arbiter = replica.arbiter
        assert arbiter is not None
        if unbound:
            replica.received(link, [messages.Unbound(7), messages.Unbound(99)], NOW)
            assert arbiter.books.peers[A.id].holdings[7].expires == inf
        replica.link_lost(link, NOW)
        arbiter.books.confirmed = NOW + 10.0
        arbiter.books.tick(NOW + 10.0)
        assert pool.in_flight == unbound


def test_a_deadline_frees_nothing_before_the_lease_was_asked_again() -> None:
    replica, pool, link = asked()
    arbiter = replica.arbiter
    assert arbiter is not None
    replica.link_lost(link, NOW)
    arbiter.books.tick(NOW + 60.0)
    assert pool.in_flight == 1
    replica.tick(NOW + 60.0)  # writes it
    assert replica.lease.record is not None
    replica.lease_written(replica.lease.record, "v2", NOW + 61.0)
    arbiter.books.tick(NOW + 61.0)
    assert pool.in_flight == 0


def test_a_sign_of_health_is_taken_in() -> None:
    replica, pool, link = asked()
    said = [messages.Observed(2, Sign.IDLE_CLOSED, "FIN")]
    other = [messages.NameEndpoint(3, 1, "z", "10.0.0.1", 80, "z")]
    replica.received(link, [*said, *other, messages.Observed(3, Sign.IDLE_CLOSED, "")], NOW)
    assert pool.endpoints["x"].phase is Phase.SUSPECT


def test_a_newer_process_of_the_pod_proves_the_older_dead() -> None:
    replica, _, _ = asked()
    arbiter = replica.arbiter
    assert arbiter is not None
    come(replica, Member("a.2", A.pod, A.uid, A.address))
    assert arbiter.books.peers[A.id].dead_at == NOW


def test_requests_and_slots_of_a_pool_that_is_not_known_yet_wait_for_it() -> None:
    replica, _ = deciding()
    link = Said()
    link.heard_at = NOW
    replica.accepted(A, link, NOW)
    held: list[Message] = [messages.Held(7, 2, 9.0), messages.Reported()]
    replica.received(link, [messages.Promise(3, leaving=False), *NAMES, *held, ask(8)], NOW)
    pool = a_pool()
    replica.add_pool(pool, NOW)
    assert (pool.in_flight, pool.elsewhere, pool.queued) == (1, 1, 1)
    replica.received(link, [messages.Release(7, Outcome.ANSWERED, None, "")], NOW)
    assert link.meant() == [messages.Term(3), messages.Grant(8, 1)]
    replica.received(link, [messages.Release(8, Outcome.ANSWERED, None, "")], NOW)
    replica.remove_pool(pool, NOW)
    assert (pool.observers, pool.in_flight) == ([], 0)


def test_a_goodbye_is_a_proof_by_itself() -> None:
    replica, pool, link = asked()
    replica.received(link, [messages.Goodbye()], NOW)
    arbiter = replica.arbiter
    assert arbiter is not None
    assert (arbiter.books.peers[A.id].dead_at, link.closed, pool.in_flight) == (NOW, True, 1)
    arbiter.books.confirmed = NOW - 9.0  # it was said to this arbiter: no Lease has to say so
    arbiter.books.tick(NOW + WORKERS_STOP / 2)
    assert pool.in_flight == 1
    arbiter.books.tick(NOW + WORKERS_STOP)
    assert pool.in_flight == 0
    assert arbiter.books.to_strike == {A.id}


def served(link: Said) -> list[int]:
    return [message.ask for message in link.meant() if isinstance(message, messages.Grant)]


def test_a_fresh_request_overtakes_none_that_came_before_it_in_the_same_batch() -> None:
    replica, _ = deciding()
    pool = a_pool()
    replica.add_pool(pool, NOW)
    link = come(replica, A)
    waited = ask(1)._replace(age=5.0)
    replica.received(link, [*NAMES, waited, ask(2), ask(3)._replace(age=4.0)], NOW)
    assert (served(link), pool.queued) == ([1], 2)
    replica.received(link, [messages.Release(1, Outcome.ANSWERED, None, "")], NOW)
    assert served(link) == [3]


def test_nor_does_it_pass_the_bound_of_the_queue() -> None:
    replica, _ = deciding()
    pool = Pool(Policy(max_in_flight=1, queue=QueuePolicy(size=1)), key="pool")
    replica.add_pool(pool, NOW)
    link = come(replica, A, [*NAMES, ask(1)._replace(age=5.0), ask(2)])
    assert link.meant()[-1] == messages.Refuse(2, QueueFull)


def test_what_a_report_frees_goes_to_those_who_have_waited_longest() -> None:
    replica, _ = deciding()
    replica.lease_read(Record(3, ME.id, (A, B, ME)), "v2", NOW)
    pool = a_pool()
    replica.add_pool(pool, NOW)
    first = come(replica, A, [*NAMES, ask(1)._replace(age=1.0)])
    assert (served(first), pool.queued) == ([], 1)  # B may have the slot
    second = come(replica, B, [*NAMES, ask(1)._replace(age=9.0)])
    assert (served(first), served(second), pool.queued) == ([], [1], 1)


def test_those_that_were_struck_are_forgotten_once_the_lease_has_them_no_more() -> None:
    replica, _, link = asked()
    arbiter = replica.arbiter
    assert arbiter is not None
    replica.received(link, [messages.Goodbye()], NOW)
    arbiter.books.tick(NOW + WORKERS_STOP)
    replica.lease_read(Record(3, ME.id, (A, ME)), "v2", NOW)
    assert (arbiter.books.to_strike, list(arbiter.books.peers)) == ({A.id}, [])
    replica.tick(NOW + 2.0)
    replica.lease_written(Record(3, ME.id, (ME,)), "v3", NOW + 2.0)
    assert (arbiter.books.to_strike, list(arbiter.books.peers)) == (set(), [])
    replica.lease_read(Record(3, ME.id, (ME, A)), "v4", NOW + 3.0)  # it was not dead, then
    assert list(arbiter.books.peers) == [A.id]
