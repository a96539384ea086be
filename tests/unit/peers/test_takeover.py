"""When a replica takes over, hands over, stands back, and stops."""

import pytest

from app.balancing.lease import Lease
from app.peers import messages
from app.peers.candidacy import COURTESY, YIELDED
from app.peers.record import EXPIRY, Record
from app.peers.replica import GREETING, SELF_HELP, Role
from tests.unit.balancing.test_pool import Client
from tests.unit.peers.alone import ME, NOW, A, B, a_pool, a_replica, come, deciding, following
from tests.unit.peers.said import Said

# --- when to take over


def test_the_lease_has_to_stand_still_before_a_silent_one_loses_it() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(3, A.id, (A, ME)), "v1", NOW)
    replica.dial_failed(A, NOW)  # it was never followed: that proves nothing
    assert wanted.taken() == [("read",), ("dial", A)]
    replica.tick(NOW + EXPIRY)
    replica.lease_read(Record(3, A.id, (A, ME)), "v2", NOW + EXPIRY)
    assert wanted.taken() == [("read",), ("dial", A)]
    replica.dial_failed(A, NOW + EXPIRY)
    replica.tick(NOW + 2 * EXPIRY)
    replica.lease_read(Record(3, A.id, (A, ME)), "v2", NOW + 2 * EXPIRY)
    assert wanted.taken() == [("read",), ("write", Record(4, ME.id, (A, ME)), "v2")]


def test_one_whose_link_ended_and_that_cannot_be_reached_again_loses_it_at_once() -> None:
    replica, wanted, link = following()
    replica.link_lost(link, NOW)
    replica.dial_failed(A, NOW)
    replica.lease_read(Record(3, A.id, (A, B, ME)), "v1", NOW)
    assert wanted.taken() == [
        ("dial", A), ("read",), ("write", Record(4, ME.id, (A, B, ME)), "v1")
    ]  # fmt: skip


def test_one_that_is_about_to_stop_lets_others_go_first_and_does_not_hurry_meanwhile() -> None:
    replica, wanted, link = following()
    replica.leave()
    assert link.meant() == [messages.Leaving()]
    replica.link_lost(link, NOW)
    replica.dial_failed(A, NOW)
    record = Record(3, A.id, (A, B, ME))
    replica.lease_read(record, "v1", NOW)
    assert wanted.taken() == [("dial", A), ("read",), ("dial", A)]
    replica.dial_failed(A, NOW)
    replica.tick(NOW)
    assert wanted.taken() == []
    replica.tick(NOW + COURTESY)
    replica.lease_read(record, "v1", NOW + COURTESY)
    assert wanted.taken() == [("read",), ("write", Record(4, ME.id, (A, B, ME)), "v1")]


def test_one_that_is_reached_and_does_not_say_that_it_decides_is_left() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(3, A.id, (A, ME)), "v1", NOW)
    link = Said()
    link.heard_at = NOW
    replica.dialed(A, link, NOW)
    wanted.taken()
    replica.tick(NOW + GREETING / 2)
    assert not link.closed
    replica.tick(NOW + GREETING)
    assert (link.closed, wanted.taken()) == (True, [("read",)])


def test_a_successor_decides_when_it_hears_of_it_and_not_before_it_has_read_it() -> None:
    replica, wanted, link = following()
    replica.received(link, [messages.Handover(4, "v2", ME.id)], NOW)
    assert (replica.role, link.closed) == (Role.SEEKING, True)
    assert wanted.taken() == [("read",)]
    replica.lease_read(Record(4, ME.id, (A, B, ME)), "v2", NOW)
    assert (replica.role, replica.term) == (Role.DECIDING, 4)


def test_the_one_that_joined_last_succeeds_unless_it_leaves_too() -> None:
    replica, wanted = deciding()
    members = (A, ME, B)
    replica.lease_read(Record(3, ME.id, members), "v2", NOW)
    come(replica, A)
    link = come(replica, B, [messages.Leaving()])
    replica.leave()
    assert wanted.taken() == [("write", Record(4, A.id, members), "v2")]
    assert link.meant() == []  # not before it is written
    replica.lease_written(Record(4, A.id, members), "v3", NOW)
    assert link.meant() == [messages.Handover(4, "v3", A.id)]
    assert (replica.role, link.closed) == (Role.SEEKING, True)
    assert wanted.taken() == [("dial", A)]


def test_an_arbiter_that_is_cut_off_from_most_leaves_word_and_stands_back() -> None:
    replica, wanted = deciding()
    pool = a_pool(cap=2)
    replica.add_pool(pool, NOW)
    link = come(replica, A)
    assert isinstance(pool.acquire(Client(), NOW), Lease)
    assert isinstance(pool.acquire(Client(), NOW, deadline=NOW + 1.0), Lease)  # ended by then
    wanted.taken()
    replica.lease_read(Record(3, ME.id, (A, B, ME)), "v2", NOW)
    other = come(replica, B)
    for tenth in range(10, 60):
        replica.tick(NOW + tenth / 10)
        replica.lease_written(Record(3, ME.id, (A, B, ME)), "v2", NOW + tenth / 10)
        if replica.role is not Role.DECIDING:
            break
    assert (link.closed, other.closed, tenth) == (True, True, 40)
    writes = [call for call in wanted.taken() if call[0] == "write"]
    left = Record(3, "", (A, B, ME), {"pool": {"x": 1}}, ME.id)
    assert writes[-1] == ("write", left, "v2")
    since = NOW + tenth / 10
    replica.lease_read(left, "v3", since)
    assert wanted.taken() == []
    replica.tick(since + YIELDED)
    replica.lease_read(left, "v3", since + YIELDED)
    assert wanted.taken()[-1] == ("write", Record(4, ME.id, (A, B, ME)), "v3")


# --- the end


def test_one_that_has_stopped_looks_for_nobody() -> None:
    replica, wanted, link = following()
    replica.stop()
    assert (link.meant(), link.closed) == ([messages.Goodbye()], True)
    replica.tick(NOW + 9.0)
    replica.lease_read(Record(3, A.id, (A, ME)), "v1", NOW + 9.0)
    assert wanted.taken() == []


@pytest.mark.parametrize("busy", [False, True])
def test_an_arbiter_that_stops_strikes_itself_only_if_it_has_no_requests(busy: bool) -> None:
    replica, wanted = deciding()
    pool = a_pool()
    replica.add_pool(pool, NOW)
    come(replica, A)
    if busy:
        assert isinstance(pool.acquire(Client(), NOW), Lease)
    replica.stop()
    members = (A, ME) if busy else (A,)
    assert wanted.taken() == [("write", Record(3, "", members), "v1")]


# --- without an arbiter


def test_a_pool_whose_workers_refuse_helps_itself_and_reports_what_it_gave() -> None:
    replica, _, link = following()
    pool, strict = a_pool(refuses=True), a_pool("strict")
    for one in (pool, strict):
        replica.add_pool(one, NOW)
    client, other = Client(), Client()
    replica.link_lost(link, NOW)
    pool.acquire(client, NOW)
    strict.acquire(other, NOW)
    replica.dial_failed(A, NOW)
    replica.tick(NOW + SELF_HELP / 2)
    assert client.told == 0
    replica.tick(NOW + SELF_HELP)
    assert (len(client.leases), other.told) == (1, 0)
    replica.lease_failed(NOW + SELF_HELP)
    again = Said()
    replica.dialed(A, again, NOW + SELF_HELP)
    replica.received(again, [messages.Term(3)], NOW + SELF_HELP)
    kinds = [type(message) for message in again.meant()]
    assert kinds == [messages.Promise, messages.Held, messages.Reported, messages.Acquire]
    assert replica.without_arbiter == SELF_HELP


def test_it_is_cut_off_if_the_others_have_an_arbiter_that_it_cannot_reach() -> None:
    replica, _, link = following()
    replica.link_lost(link, NOW)
    assert not replica.cut_off(NOW + 1.0)
    late = NOW + 2 * EXPIRY + 1.0
    assert not replica.cut_off(late)  # nobody renews the Lease either
    replica.dial_failed(A, NOW)
    replica.lease_read(Record(4, B.id, (A, B, ME)), "v9", late)
    assert replica.cut_off(late)
