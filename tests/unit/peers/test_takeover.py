"""When a replica takes over, hands over, stands back, and stops."""

from dataclasses import replace
from itertools import pairwise
from unittest.mock import ANY

import pytest

from app.balancing.lease import Lease
from app.peers import messages
from app.peers.candidacy import COURTESY, YIELDED
from app.peers.record import EXPIRY, Held, Member, Record
from app.peers.replica import GREETING, SELF_HELP, Replica, Role
from app.peers.sight import PAUSE, RETRY_MAX
from app.peers.tenure import THROTTLED, UNSURE
from tests.unit.balancing.test_pool import Client
from tests.unit.peers.alone import (
    ME,
    NOW,
    A,
    B,
    Wanted,
    a_pool,
    a_replica,
    come,
    deciding,
    following,
)
from tests.unit.peers.said import Said

# --- when to take over


def a_record(renewed: str, *more: Member) -> Record:
    return Record(3, A.id, (A, ME, *more), renewed=renewed)


def test_the_arbiter_has_to_stop_writing_the_lease_before_it_loses_it_by_silence() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(a_record("one"), "v1", NOW)
    replica.dial_failed(A, NOW)  # it was never followed: that proves nothing
    assert wanted.taken() == [("read",), ("dial", A)]
    replica.tick(NOW + EXPIRY)
    replica.lease_read(a_record("two"), "v2", NOW + EXPIRY)
    assert wanted.taken() == [("read",), ("dial", A)]
    replica.dial_failed(A, NOW + EXPIRY)
    replica.tick(NOW + 2 * EXPIRY)
    replica.lease_read(a_record("two", B), "v3", NOW + 2 * EXPIRY)  # who joins is no sign of A
    assert wanted.taken() == [("read",), ("write", Record(4, ME.id, (A, ME, B)), "v3")]


def test_what_a_silent_arbiter_said_of_its_last_write_counts() -> None:
    replica, wanted, link = following()
    replica.lease_read(a_record("one"), "v1", NOW)
    replica.received(link, [messages.Alive("two")], NOW + 1.0)
    link.heard_at = NOW + 2.0
    replica.received(link, [messages.Alive("two"), messages.Alive("")], NOW + 2.0)
    silent = NOW + 2.0 + EXPIRY
    replica.tick(silent)
    assert wanted.taken() == [("read",)]
    replica.lease_read(a_record("two"), "v2", silent)
    assert wanted.taken() == [("write", Record(4, ME.id, (A, ME)), "v2")]


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
    replica.received(link, [messages.Handover()], NOW)
    assert (replica.role, link.closed) == (Role.SEEKING, True)
    assert wanted.taken() == [("read",)]
    replica.lease_read(Record(4, ME.id, (A, B, ME)), "v2", NOW)
    assert (replica.role, replica.promised) == (Role.DECIDING, 4)


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
    assert link.meant() == [messages.Handover()]
    assert (replica.role, link.closed) == (Role.SEEKING, True)
    assert wanted.taken() == [("dial", A)]


def cut_off(*, renews: bool) -> tuple[Replica, Wanted, float]:
    """An arbiter that hears neither A nor B; return when it has found out, or not."""
    replica, wanted = deciding()
    pool = a_pool(cap=2)
    replica.add_pool(pool, NOW)
    link = come(replica, A)
    assert isinstance(pool.acquire(Client(), NOW), Lease)
    assert isinstance(pool.acquire(Client(), NOW, deadline=NOW + 1.0), Lease)  # ended by then
    wanted.taken()
    replica.lease_read(Record(3, ME.id, (A, B, ME)), "v2", NOW)
    other = come(replica, B)
    now = NOW
    for tenth in range(10, 60):
        now = NOW + tenth / 10
        replica.tick(now)
        if replica.role is not Role.DECIDING:
            break
        if renews:
            renewed = Record(3, ME.id, (A, B, ME), renewed=str(tenth))
            replica.lease_written(renewed, "v2", now)
        else:
            replica.lease_failed(now)
    assert link.closed
    assert other.closed
    return replica, wanted, now


def test_an_arbiter_that_is_cut_off_from_most_leaves_its_books_and_stands_back() -> None:
    replica, wanted, now = cut_off(renews=True)
    assert (replica.role, now) == (Role.SEEKING, NOW + 4.0)
    writes = [call for call in wanted.taken() if call[0] == "write"]
    left = Record(3, "", (A, B, ME), {ME.id: {"pool": {"x": (None,)}}, A.id: {}, B.id: {}})
    assert writes[-1] == ("write", left, "v2")
    replica.lease_read(left, "v3", now)
    assert wanted.taken() == []
    replica.tick(now + YIELDED)
    replica.lease_read(left, "v3", now + YIELDED)
    assert wanted.taken()[-1] == ("write", Record(4, ME.id, (A, B, ME)), "v3")


def test_one_that_cannot_write_the_lease_either_goes_on() -> None:
    """Nobody could take its place: without the API there is nobody else."""
    replica, _, _ = cut_off(renews=False)
    assert replica.role is Role.DECIDING


def taking_over(before: Record, promised: int = 0) -> Replica:
    """One that takes over after the arbiter that left these books."""
    replica, wanted = a_replica()
    replica.promised = promised
    replica.add_pool(a_pool(cap=2), NOW)
    replica.tick(NOW)
    replica.lease_read(before, "v1", NOW)
    assert wanted.taken()[1][0] == "write"
    term = max(before.term, promised) + 1
    replica.lease_written(before.held_by(ME.id, term), "v2", NOW)
    assert replica.arbiter is not None
    return replica


def test_the_next_one_takes_the_books_over() -> None:
    books: dict[str, Held] = {A.id: {"pool": {"x": (2,)}, "other": {"z": (None,)}}, B.id: {}}
    replica = taking_over(Record(3, "", (A, B, ME), books))
    arbiter = replica.arbiter
    assert arbiter is not None
    (pool,) = replica.pools
    assert (arbiter.books.accounted, pool.in_flight, pool.elsewhere) == (True, 1, 1)
    arbiter.books.confirmed = NOW + 2.0
    arbiter.books.tick(NOW + 1.9)
    assert pool.in_flight == 1
    arbiter.books.tick(NOW + 2.0)
    assert pool.in_flight == 0


def test_books_are_worth_nothing_if_another_may_have_decided_since() -> None:
    books: dict[str, Held] = {A.id: {}, B.id: {}}
    replica = taking_over(Record(3, "", (A, B, ME), books), promised=4)
    assert replica.arbiter is not None
    assert not replica.arbiter.books.accounted


def test_a_successor_is_found_though_somebody_has_edited_the_lease() -> None:
    replica, wanted = deciding()
    come(replica, A)
    come(replica, B)
    edited = replace(B, address="elsewhere:1")
    replica.lease_read(Record(3, ME.id, (edited, ME, A)), "v2", NOW)
    wanted.taken()
    replica.leave()
    assert wanted.taken() == [("write", Record(4, A.id, (edited, ME, A)), "v2")]


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


def test_one_that_has_stopped_takes_no_link_that_it_dialed_before() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(3, A.id, (A, ME)), "v1", NOW)
    assert wanted.taken() == [("read",), ("dial", A)]
    replica.stop()
    link = Said()
    replica.dialed(A, link, NOW)
    replica.received(link, [messages.Term(3)], NOW)
    assert (replica.role, link.closed, link.meant()) == (Role.JOINING, True, [])


# --- an API that answers badly


def test_after_a_second_conflict_in_a_row_there_is_a_pause() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    for _ in range(2):
        replica.lease_read(Record(3, A.id, (A,)), "v1", NOW)
        replica.lease_conflict(NOW)
    assert [call[0] for call in wanted.taken()] == ["read", "write", "read", "write"]
    replica.tick(NOW + PAUSE / 2)
    assert wanted.taken() == []
    replica.tick(NOW + PAUSE)
    assert wanted.taken() == [("read",)]
    replica.lease_read(Record(3, A.id, (A,)), "v1", NOW + PAUSE)
    replica.lease_written(Record(3, A.id, (A, ME)), "v2", NOW + PAUSE)
    replica.dial_failed(A, NOW + PAUSE)
    replica.tick(NOW + 1.0)
    replica.lease_read(Record(3, A.id, (A,)), "v3", NOW + 1.0)  # somebody has struck it
    replica.lease_conflict(NOW + 1.0)
    assert wanted.taken()[-1] == ("read",)  # the first in a row


def test_an_arbiter_looks_at_the_lease_after_each_conflict() -> None:
    replica, wanted = deciding()
    for number in range(3):
        replica.tick(NOW + 1.0 + number)
        replica.lease_conflict(NOW + 1.0 + number)
        assert wanted.taken()[-2:] == [("write", ANY, "v1"), ("read",)]
        replica.lease_read(Record(3, ME.id, (A, ME)), "v1", NOW + 1.0 + number)


def test_one_that_leaves_does_not_hurry_while_its_writes_fail() -> None:
    replica, wanted = deciding()
    come(replica, A)
    replica.leave()
    writes = 0
    for tick in range(200):
        now = NOW + tick / 20
        replica.tick(now)
        writes += sum(call[0] == "write" for call in wanted.taken())
        if replica.lease.busy:
            replica.lease_failed(now)
    assert 10 < writes < 30


def test_the_api_is_left_alone_for_as_long_as_it_asks() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_failed(NOW, 5.0)
    replica.tick(NOW + 4.9)
    assert wanted.taken() == [("read",)]
    replica.tick(NOW + 5.0)
    assert wanted.taken() == [("read",)]
    replica.lease_failed(NOW + 5.0, 3600.0)
    replica.tick(NOW + 5.0 + RETRY_MAX)
    assert wanted.taken() == [("read",)]


def test_an_arbiter_leaves_it_alone_too_but_keeps_the_lease() -> None:
    replica, _ = deciding()
    come(replica, A)
    tries = [NOW]
    for tick in range(1, 200):
        now = NOW + tick / 20
        replica.tick(now)
        if replica.lease.busy:
            tries.append(now)
            replica.lease_failed(now, 3600.0)
    assert tries[2] < NOW + EXPIRY  # the first that came through was at NOW
    pauses = [later - now for now, later in pairwise(tries[1:])]
    assert pauses == pytest.approx([THROTTLED] * len(pauses))


def test_nor_does_an_arbiter_ask_for_pods_meanwhile() -> None:
    replica, wanted = deciding()
    replica.tick(NOW)
    assert wanted.taken() == [("pod", A)]
    replica.pod_failed(NOW, 5.0)
    for second in range(1, 5):
        replica.tick(NOW + second)
        assert [call[0] for call in wanted.taken()] == ["write"]  # its Lease is more urgent
        replica.lease_written(Record(3, ME.id, (A, ME)), "v1", NOW + second)
    replica.tick(NOW + 5.0)
    assert wanted.taken()[0] == ("pod", A)


def test_nor_does_whatever_hurries_meanwhile() -> None:
    replica, wanted, link = following()
    replica.tick(NOW + UNSURE)
    assert wanted.taken() == [("read",)]
    replica.lease_failed(NOW + UNSURE, 5.0)
    replica.link_lost(link, NOW + UNSURE)
    replica.dial_failed(A, NOW + UNSURE)
    assert wanted.taken() == [("dial", A)]
    decider, wants = deciding()
    decider.lease_failed(NOW, 5.0 + UNSURE)
    other = Said()
    decider.accepted(A, other, NOW)
    decider.received(other, [messages.Higher(7)], NOW)
    assert decider.role is Role.SEEKING
    for one, calls in ((replica, wanted), (decider, wants)):
        one.tick(NOW + UNSURE + 4.9)
        assert calls.taken() == []
        one.tick(NOW + UNSURE + 5.0)
        assert calls.taken() == [("read",)]


def test_nor_does_looking_for_the_arbiter_meanwhile_disturb_the_api() -> None:
    replica, wanted, link = following()
    replica.link_lost(link, NOW)
    replica.dial_failed(A, NOW)
    replica.lease_failed(NOW, 5.0)
    again = Said()
    replica.dialed(A, again, NOW + 1.0)
    replica.link_lost(again, NOW + 1.0)  # it does not decide
    assert wanted.taken() == [("dial", A), ("read",), ("dial", A)]
    replica.tick(NOW + 4.9)
    assert wanted.taken() == []
    replica.tick(NOW + 5.0)
    assert wanted.taken() == [("read",)]


def test_one_that_lost_its_arbiter_looks_where_the_lease_last_said() -> None:
    replica, wanted, link = following()
    replica.link_lost(link, NOW)
    replica.dial_failed(A, NOW)
    assert wanted.taken() == [("dial", A), ("read",)]
    replica.lease_failed(NOW)
    assert wanted.taken() == [("dial", A)]
    replica.tick(NOW + 1.0)
    assert wanted.taken() == []  # one thing after the other


@pytest.mark.parametrize(
    "record",
    [
        Record(3, A.id, (A,)),  # it has not joined
        Record(3, "", (A, ME)),
        Record(3, "gone", (A, ME)),
        Record(3, ME.id, (A, ME)),
    ],
)
def test_nor_does_it_look_elsewhere(record: Record) -> None:
    replica, wanted = a_replica()
    replica.promised = 3
    replica.lease.record = record
    replica.tick(NOW)
    replica.lease_failed(NOW)
    assert wanted.taken() == [("read",)]


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
