"""What a replica does next: one call at a time, with nobody at the other end."""

from collections.abc import Iterable

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import Policy, RetryPolicy
from app.balancing.pool import Pool
from app.peers import messages
from app.peers.messages import Message, ProtocolError
from app.peers.record import EXPIRY, Member, Record
from app.peers.replica import COURTESY, GREETING, SELF_HELP, YIELDED, Replica, Role
from tests.unit.balancing.test_pool import Client
from tests.unit.peers.said import Said

ME, A, B = (Member(f"{u}.1", f"pod-{u}", u, f"{u}:1") for u in ("me", "a", "b"))
NOW = 100.0


class Wanted:
    """Effects that are only noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def read_lease(self) -> None:
        self.calls.append(("read",))

    def write_lease(self, record: Record, version: str) -> None:
        self.calls.append(("write", record, version))

    def read_pod(self, member: Member) -> None:
        self.calls.append(("pod", member))

    def dial(self, member: Member) -> None:
        self.calls.append(("dial", member))

    def taken(self) -> list[tuple[object, ...]]:
        calls, self.calls = self.calls, []
        return calls


def a_replica() -> tuple[Replica, Wanted]:
    wanted = Wanted()
    return Replica(ME, wanted, NOW), wanted


def a_pool(name: str = "pool", cap: int = 1, *, refuses: bool = False) -> Pool:
    retry = RetryPolicy(refused_statuses=frozenset({503} if refuses else ()))
    pool = Pool(Policy(max_in_flight=cap, retry=retry), name=name, key=name)
    pool.apply_snapshot([EndpointSpec("x", "10.0.0.1", 80, "x")], NOW)
    return pool


def following(term: int = 3) -> tuple[Replica, Wanted, Said]:
    """A replica that follows A."""
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(term, A.id, (A, B, ME)), "v1", NOW)
    assert wanted.taken() == [("read",), ("dial", A)]
    link = Said()
    link.heard_at = NOW
    replica.dialed(A, link, NOW)
    replica.received(link, [messages.Term(term)], NOW)
    assert replica.role is Role.FOLLOWING
    assert link.meant() == [messages.Promise(term, leaving=False), messages.Reported()]
    return replica, wanted, link


def deciding(term: int = 3) -> tuple[Replica, Wanted]:
    """A replica that decides, with A as a member that has not come yet."""
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(Record(term, ME.id, (A, ME)), "v1", NOW)
    assert replica.role is Role.DECIDING
    wanted.taken()
    return replica, wanted


def come(replica: Replica, member: Member, said: Iterable[Message] = ()) -> Said:
    """Let another replica come to the one that decides, and answer."""
    link = Said()
    link.heard_at = NOW
    replica.accepted(member, link, NOW)
    (term,) = link.meant()
    assert isinstance(term, messages.Term)
    answer = [messages.Promise(term.term, leaving=False), messages.Reported(), *said]
    replica.received(link, answer, NOW)
    return link


# --- terms and promises


def test_the_first_one_creates_the_lease_and_decides() -> None:
    replica, wanted = a_replica()
    replica.tick(NOW)
    replica.lease_read(None, "", NOW)
    record = Record(1, ME.id, (ME,))
    assert wanted.taken() == [("read",), ("write", record, "")]
    assert (replica.role, replica.joined) == (Role.JOINING, False)
    replica.lease_written(record, "v1", NOW)
    assert (replica.role, replica.term, replica.arbiter_id) == (Role.DECIDING, 1, ME.id)
    assert (replica.joined, replica.alone_since) == (True, None)
    assert replica.arbiter is not None
    assert replica.arbiter.accounted


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
    assert not replica.arbiter.peers[A.id].answered


def test_a_request_asks_once() -> None:
    replica, _ = deciding()
    replica.add_pool(a_pool(), NOW)
    ask = messages.Acquire(7, 1, False, 0.0, 1.0, 9.0, ())
    link = come(replica, A, [messages.NamePool(1, "pool"), ask])
    assert [type(message) for message in link.meant()] == [messages.Grant]
    with pytest.raises(ProtocolError, match="request 7 asks twice"):
        replica.received(link, [ask], NOW)


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
    pool = a_pool()
    replica.add_pool(pool, NOW)
    link = come(replica, A)
    assert isinstance(pool.acquire(Client(), NOW), Lease)
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
