from math import inf

from app.proxy.deadlines import TICK, Deadlines


class Connection:
    """Looks at the clock that it is given, and remembers when it was asked."""

    def __init__(self, due: float) -> None:
        self.armed = inf
        self.due = due
        self.asked: list[float] = []

    def expire(self, now: float) -> float | None:
        self.asked.append(now)
        return self.due if now < self.due else None


def sweep_until(deadlines: Deadlines, begin: float, end: float) -> None:
    now = begin
    while now < end:
        now += TICK
        deadlines.sweep(now)


def test_a_deadline_is_kept_to_within_two_ticks() -> None:
    deadlines, connection = Deadlines(), Connection(1000.0)
    deadlines.arm(connection, 1000.0)
    sweep_until(deadlines, 990.0, 1010.0)
    assert len(connection.asked) == 1
    assert 1000.0 <= connection.asked[0] <= 1000.0 + 2 * TICK


def test_a_deadline_that_moved_away_is_looked_at_again_when_it_comes() -> None:
    deadlines, connection = Deadlines(), Connection(1000.0)
    deadlines.arm(connection, 1000.0)
    connection.due = 1005.0
    sweep_until(deadlines, 990.0, 1010.0)
    first, second = connection.asked
    assert 1000.0 <= first < 1000.2
    assert 1005.0 <= second < 1005.2


def test_only_an_earlier_deadline_is_enrolled_again() -> None:
    deadlines, connection = Deadlines(), Connection(1000.0)
    deadlines.arm(connection, 1000.0)
    deadlines.arm(connection, 1005.0)
    assert connection.armed == 1000.0
    deadlines.arm(connection, 995.0)
    assert connection.armed == 995.0


def test_the_entry_left_behind_by_an_earlier_one_does_nothing() -> None:
    deadlines, connection = Deadlines(), Connection(inf)
    deadlines.arm(connection, 1000.0)
    deadlines.arm(connection, 995.0)
    connection.due = 995.0
    sweep_until(deadlines, 990.0, 1010.0)
    assert len(connection.asked) == 1


def test_one_whose_time_is_over_is_let_go() -> None:
    deadlines, connection = Deadlines(), Connection(1000.0)
    deadlines.arm(connection, 1000.0)
    sweep_until(deadlines, 999.0, 1001.0)
    assert connection.armed == inf


def test_nothing_is_missed_after_a_long_stop() -> None:
    deadlines = Deadlines()
    connections = [Connection(1000.0 + number) for number in range(5)]
    for connection in connections:
        deadlines.arm(connection, connection.due)
    deadlines.sweep(990.0)
    deadlines.sweep(2000.0)
    assert [connection.asked for connection in connections] == [[2000.0]] * 5


def test_a_deadline_in_the_past_is_looked_at_within_two_ticks() -> None:
    deadlines, connection = Deadlines(), Connection(10.0)
    deadlines.sweep(1000.0)
    deadlines.arm(connection, 10.0)
    deadlines.sweep(1000.0 + 2 * TICK)
    assert len(connection.asked) == 1


def test_one_that_wants_to_be_asked_at_once_again_waits_for_a_tick() -> None:
    deadlines, connection = Deadlines(), Connection(inf)
    connection.due = inf
    deadlines.arm(connection, 1000.0)
    asked_too_often = []

    def expire(now: float) -> float:
        asked_too_often.append(now)
        return now - 1

    connection.expire = expire  # type: ignore[method-assign]
    deadlines.sweep(1000.1)
    assert len(asked_too_often) == 1
