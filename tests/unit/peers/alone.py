"""A replica with nobody at the other end: what it wants is noted, what it says too."""

from collections.abc import Iterable

from app.balancing.endpoint import EndpointSpec
from app.balancing.policy import Policy, RetryPolicy
from app.balancing.pool import Pool
from app.peers import messages
from app.peers.messages import Message
from app.peers.record import Member, Record
from app.peers.replica import Replica, Role
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
