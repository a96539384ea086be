"""The queue by itself: order, leaving, deadlines."""

from math import inf

from app.balancing.errors import Refusal
from app.balancing.lease import Lease
from app.balancing.waiters import Waiter, Waiters


class Named:
    """Who waits; nobody tells it anything here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def granted(self, lease: Lease) -> None:
        raise AssertionError

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError


def waiter(name: str, deadline: float = inf, *, retried: bool = False) -> Waiter:
    return Waiter(Named(name), 0.0, deadline, frozenset(), retried=retried)


def queue_of(*waiters: Waiter) -> Waiters:
    queue = Waiters()
    for one in waiters:
        queue.join(one)
    return queue


def names(waiters: Waiters | list[Waiter]) -> str:
    claimants = [one.claimant for one in waiters]
    return "".join(claimant.name for claimant in claimants if isinstance(claimant, Named))


def test_first_come_first_served() -> None:
    queue = queue_of(*map(waiter, "abc"))
    assert names(queue) == "abc"


def test_the_retried_stand_before_the_fresh_and_keep_their_order_among_themselves() -> None:
    queue = queue_of(waiter("a"), waiter("x", retried=True), waiter("b"), waiter("y", retried=True))
    assert names(queue) == "xyab"
    assert (len(queue), queue.fresh) == (4, 2)


def test_one_leaves_from_wherever_it_stands_and_only_once() -> None:
    a, b, c, x = *map(waiter, "abc"), waiter("x", retried=True)
    queue = queue_of(a, b, c, x)
    assert queue.leave(b)
    assert queue.leave(x)
    assert not queue.leave(b)
    assert (b in queue, a in queue) == (False, True)
    assert names(queue) == "ac"


def test_who_stands_is_counted_however_they_leave() -> None:
    a, b, c, x = waiter("a"), waiter("b", 1.0), waiter("c", 2.0), waiter("x", 1.0, retried=True)
    queue = Waiters()
    for number, one in enumerate((a, b, c, x), start=1):
        queue.join(one)
        assert (queue.standing, len(queue)) == (number, number)
    assert queue.leave(a)
    assert not queue.leave(a)
    assert queue.standing == 3
    queue.expire(1.0)
    assert (queue.standing, names(queue)) == (1, "c")
    assert not queue.leave(b)
    assert queue.standing == 1
    queue.expire(2.0)
    assert (queue.standing, len(queue), bool(queue)) == (0, 0, False)


def test_an_empty_queue_is_false() -> None:
    assert not queue_of()
    assert queue_of(waiter("a", retried=True))


def test_those_whose_time_has_come_are_taken_out_the_earliest_deadline_first() -> None:
    queue = queue_of(
        waiter("a", 3.0), waiter("b", 1.0), waiter("c", 2.0, retried=True), waiter("d", 2.1)
    )
    assert names(queue.expire(0.9)) == ""
    assert names(queue.expire(2.0)) == "bc"
    assert names(queue.expire(2.0)) == ""
    assert names(queue) == "ad"


def test_equal_deadlines_end_in_the_order_of_coming() -> None:
    queue = queue_of(waiter("a", 1.0), waiter("b", 1.0), waiter("c", 1.0))
    assert names(queue.expire(1.0)) == "abc"


def test_who_has_left_does_not_expire() -> None:
    a, b = waiter("a", 1.0), waiter("b", 1.0)
    queue = queue_of(a, b)
    queue.leave(a)
    assert names(queue.expire(1.0)) == "b"


def test_deadlines_of_those_who_left_are_not_kept_for_long() -> None:
    stayers = [waiter(name, 100.0) for name in "abc"]
    queue = queue_of(*stayers)
    for _ in range(1000):
        passing = waiter("p", 50.0)
        queue.join(passing)
        queue.leave(passing)
        assert len(queue._deadlines) <= 64 + 2 * len(queue) + 1
    assert names(queue.expire(100.0)) == "abc"
