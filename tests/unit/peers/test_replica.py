"""Which terms a replica promises, and what it makes of what others say."""

import pytest

from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.peers import messages
from app.peers.messages import Message, ProtocolError
from app.peers.record import Record
from app.peers.replica import Role
from tests.unit.peers.alone import ME, NOW, A, B, a_pool, a_replica, come, deciding, following
from tests.unit.peers.said import Said

# --- terms and promises


def test_the_first_one_creates_the_lease_and_decides() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(None, "", NOW)
    record = Record(1, ME.id, (ME,))
    assert wanted.taken() == [("read",), ("write", record, "")]
    assert (replica.role, replica.joined) == (Role.JOINING, False)
    replica.lease_written(record, "v1", NOW)
    assert (replica.role, replica.promised) == (Role.DECIDING, 1)
    assert (replica.joined, replica.alone_since) == (True, None)
    assert replica.arbiter is not None
    assert replica.arbiter.books.accounted


def test_one_joins_before_it_dials() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(3, A.id, (A,)), "v1", NOW)
    joined = Record(3, A.id, (A, ME))
    assert wanted.taken() == [("read",), ("write", joined, "v1")]
    replica.lease_conflict(NOW)
    assert wanted.taken() == [("read",)]
    replica.lease_read(Record(3, A.id, (A, B)), "v2", NOW)
    assert wanted.taken() == [("write", Record(3, A.id, (A, B, ME)), "v2")]
    replica.lease_written(Record(3, A.id, (A, B, ME)), "v3", NOW)
    assert wanted.taken() == [("dial", A)]


def test_a_lower_term_than_was_promised_is_refused() -> None:
    replica, wanted, link = following(term=3)
    replica.link_lost(link, NOW)
    assert wanted.taken() == [("dial", A)]
    stale = Said()
    replica.dialed(A, stale, NOW)
    replica.received(stale, [messages.Term(2), messages.Alive("v1")], NOW)
    assert (stale.meant(), stale.closed) == ([messages.Higher(3)], True)
    assert (replica.role, replica.promised) == (Role.SEEKING, 3)


def test_the_same_term_is_promised_again_to_the_one_who_has_it() -> None:
    replica, _, link = following(term=3)
    replica.link_lost(link, NOW)
    again = Said()
    replica.dialed(A, again, NOW)
    replica.received(again, [messages.Term(3)], NOW)
    assert replica.role is Role.FOLLOWING


def test_an_arbiter_that_hears_of_a_higher_promise_resigns_and_takes_a_higher_term() -> None:
    replica, wanted = deciding(term=3)
    link = Said()
    replica.accepted(A, link, NOW)
    replica.received(link, [messages.Higher(7)], NOW)
    assert (replica.role, link.closed) == (Role.SEEKING, True)
    assert wanted.taken() == [("read",)]
    replica.lease_read(Record(3, ME.id, (A, ME)), "v1", NOW)
    assert wanted.taken() == [("write", Record(8, ME.id, (A, ME)), "v1")]


def test_an_arbiter_resigns_when_the_lease_has_a_higher_term() -> None:
    replica, wanted = deciding(term=3)
    pool = a_pool()
    replica.add_pool(pool, NOW)
    assert (pool.decider,) == (None,)
    replica.lease_conflict(NOW)
    replica.lease_read(Record(4, A.id, (A, ME)), "v2", NOW)
    assert replica.role is Role.SEEKING
    assert pool.decider is not None
    assert wanted.taken() == [("read",), ("read",)]


@pytest.mark.parametrize(
    "message", [messages.Alive("v1"), messages.Grant(1, 1), messages.Promise(3, leaving=False)]
)
def test_who_is_no_arbiter_says_nothing_that_counts(message: Message) -> None:
    replica, _ = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(3, A.id, (A, ME)), "v1", NOW)
    link = Said()
    replica.dialed(A, link, NOW)
    with pytest.raises(ProtocolError, match="before a term"):
        replica.received(link, [message], NOW)


@pytest.mark.parametrize(
    "message", [messages.Cancel(1), messages.Term(3), messages.Higher(9), messages.Goodbye()]
)
def test_an_arbiter_that_says_what_only_others_say_is_wrong(message: Message) -> None:
    replica, _, link = following()
    with pytest.raises(ProtocolError, match="from an arbiter"):
        replica.received(link, [message], NOW)


@pytest.mark.parametrize(
    "message",
    [
        messages.Cancel(1),
        messages.Release(1, Outcome.ANSWERED, None, ""),
        messages.Acquire(1, 1, False, 0.0, 1.0, 9.0, ()),
        messages.Observed(1, Sign.IDLE_CLOSED, ""),
        messages.Unbound(1),
    ],
)
def test_nothing_is_wanted_or_given_back_before_the_report(message: Message) -> None:
    replica, _ = deciding()
    link = Said()
    replica.accepted(A, link, NOW)
    with pytest.raises(ProtocolError, match="from a replica that asks"):
        replica.received(link, [messages.Promise(3, leaving=False), message], NOW)


@pytest.mark.parametrize(
    "said",
    [
        [messages.Promise(2, leaving=False)],
        [messages.Held(1, 1, 1.0)],
        [messages.Reported()],
        [messages.Promise(3, leaving=False), messages.Held(1, 1, 1.0)],
        [messages.Grant(1, 1)],
        [messages.View("{}")],
    ],
)
def test_a_report_that_makes_no_sense_is_an_error(said: list[Message]) -> None:
    replica, _ = deciding()
    link = Said()
    replica.accepted(A, link, NOW)
    with pytest.raises(ProtocolError):
        replica.received(link, said, NOW)
    replica.link_lost(link, NOW)  # as its link tells then
    assert replica.arbiter is not None
    assert not replica.arbiter.books.peers[A.id].answered


def test_a_request_asks_once() -> None:
    replica, _ = deciding()
    replica.add_pool(a_pool(), NOW)
    ask = messages.Acquire(7, 1, False, 0.0, 1.0, 9.0, ())
    link = come(replica, A, [messages.NamePool(1, "pool"), ask])
    assert [type(message) for message in link.meant()] == [messages.Grant]
    with pytest.raises(ProtocolError, match="request 7 asks twice"):
        replica.received(link, [ask], NOW)
