"""What once went wrong, or would if a rule were missing: each in as few steps as it takes.

Mostly of one endpoint, "x", of cap 1: a second request that starts there while one runs is an error
that the world raises by itself.
"""

from random import Random

from app.peers.record import YIELDED_WITH
from app.peers.replica import Role
from tests.unit.peers.judging import judge, settle
from tests.unit.peers.process import Process
from tests.unit.peers.world import World


def a_world(
    *pods: str, pool: str = "cancel", endpoints: int = 1, cap: int = 1
) -> tuple[World, list[Process]]:
    """Return replicas of which the first decides, and the others follow."""
    world = World()
    for number, pod in enumerate(pods):
        world._start(pod, 0, 1, 1)
        world.run(4, 0.25, number)
    processes = list(world.processes.values())
    for process in processes:
        world._learn(process, pool, cap, endpoints)
    world.run(1, 0.25, 0)
    assert [p.replica.role for p in processes] == [
        Role.DECIDING, *[Role.FOLLOWING] * (len(pods) - 1)
    ]  # fmt: skip
    return world, processes


def cut(world: World, one: str, *others: str) -> None:
    world.cuts |= {frozenset({one, other}) for other in others}


def run(world: World, seconds: float) -> None:
    for number in range(int(seconds * 4)):
        world.run(1, 0.25, number)
        judge(world)


def count(world: World, pool: str = "cancel") -> int:
    """Return how many requests run at x."""
    return len(world.running.get((pool, "x"), ()))


def test_a_grant_that_is_read_after_its_requests_deadline_is_not_used() -> None:
    world, (p, q) = a_world("p", "q")
    q.accept("cancel", 2.0)
    q.stopped = True
    run(world, 6.0)
    p.accept("cancel", 16.0)
    assert count(world) == 1
    q.stopped = False
    run(world, 2.0)
    settle(world)


def test_a_deadline_frees_nothing_for_an_arbiter_whose_place_may_be_taken() -> None:
    world, (p, q, r, s) = a_world("p", "q", "r", "s")
    r.accept("cancel", 8.0)
    run(world, 0.25)
    cut(world, "p", "q", "r", "the API")
    run(world, 6.0)
    assert q.replica.role is Role.DECIDING or r.replica.role is Role.DECIDING
    world.finish(0)
    q.accept("cancel", 16.0)
    run(world, 0.5)
    assert count(world) == 1
    s.accept("cancel", 16.0)  # p still believes in itself, and s in p
    run(world, 5.0)
    assert p.replica.role is Role.DECIDING
    settle(world)


def test_nor_does_a_death_that_it_hears_of() -> None:
    world, (p, q, r, s) = a_world("p", "q", "r", "s")
    r.accept("cancel", 16.0)
    run(world, 0.25)
    cut(world, "p", "q", "r", "the API")
    run(world, 6.0)
    world.finish(0)
    q.accept("cancel", 16.0)
    run(world, 0.5)
    r.die()
    s.accept("cancel", 16.0)
    p.replica.pod_read(r.member, None, world.now)
    run(world, 3.0)
    assert p.replica.role is Role.DECIDING
    assert count(world) == 1
    settle(world)


def test_the_workers_time_to_notice_begins_at_the_death_and_not_at_the_links_end() -> None:
    world, (p, q) = a_world("p", "q")
    q.accept("cancel", 16.0)
    run(world, 0.25)
    cut(world, "p", "q")
    run(world, 5.0)
    world.kill(1, 1)
    p.accept("cancel", 16.0)
    p.replica.pod_read(q.member, None, world.now)
    world.run(4, 1 / 32, 0)
    run(world, 3.0)
    assert count(world) == 1
    settle(world)


def test_what_a_dead_replica_had_is_held_in_a_pool_that_becomes_known_later() -> None:
    world, (p,) = a_world("p", pool="finish")
    p.accept("finish", 16.0)
    world.kill(0, 1)
    world._start("q", 0, 1, 1)
    run(world, 6.0)
    q = world.processes["q"]
    world._learn(q, "finish", 1, 1)
    q.accept("finish", 16.0)
    run(world, 14.0)
    q.accept("finish", 16.0)
    run(world, 2.0)
    assert count(world, "finish") == 1
    settle(world)


def test_and_what_it_had_said_that_it_holds() -> None:
    world, (p, _) = a_world("p", "q", pool="finish")
    p.accept("finish", 16.0)
    world._start("r", 0, 1, 1)
    run(world, 1.0)
    p.replica.leave()  # to the one that came last, which knows no pool
    run(world, 1.0)
    r = world.processes["r"]
    assert r.replica.role is Role.DECIDING
    world.kill(0, 1)
    run(world, 4.0)
    world._learn(r, "finish", 1, 1)
    r.accept("finish", 16.0)
    run(world, 14.0)
    r.accept("finish", 16.0)
    run(world, 2.0)
    assert count(world, "finish") == 1
    settle(world)


def test_one_that_joined_and_died_before_it_came_does_not_stay_in_the_lease() -> None:
    world, (p,) = a_world("p")
    cut(world, "p", "q")
    world._start("q", 0, 1, 1)
    run(world, 2.0)
    assert len(world.kube.members) == 2
    world.kill(1, 1)
    run(world, 4.0)
    assert world.kube.members == {p.member.id}
    settle(world)


def test_nor_does_it_put_a_pool_in_doubt_that_becomes_known_later() -> None:
    world, (p,) = a_world("p")
    cut(world, "p", "q")
    world._start("q", 0, 1, 1)
    run(world, 2.0)
    world.kill(1, 1)
    run(world, 2.5)
    assert p.replica.arbiter is not None
    assert p.replica.arbiter.books.accounted
    world._learn(p, "finish", 1, 1)
    p.accept("finish", 16.0)
    assert count(world, "finish") == 1
    settle(world)


def test_an_arbiter_that_stops_with_requests_stays_accounted_for() -> None:
    world, (p, q) = a_world("p", "q")
    p.accept("cancel", 16.0)
    q.accept("cancel", 16.0)
    p.part()
    world.run(4, 1 / 32, 0)
    run(world, 4.0)
    assert q.replica.role is Role.DECIDING
    assert count(world) == 1
    settle(world)


def test_an_arbiter_that_is_cut_off_leaves_word_of_what_it_holds() -> None:
    world, (p, q, r) = a_world("p", "q", "r", endpoints=3)
    p.accept("cancel", 16.0)
    cut(world, "p", "q", "r")
    run(world, 6.0)
    q.accept("cancel", 16.0)
    r.accept("cancel", 16.0)
    run(world, 0.5)
    assert sum(map(len, world.running.values())) == 2  # who has not come has said what it has
    settle(world)


def test_a_report_leaves_out_what_is_past_its_deadline() -> None:
    world, (p, q, s) = a_world("p", "q", "r")
    s.accept("cancel", 4.0)
    run(world, 0.25)
    s.stopped = True
    run(world, 6.0)
    p.accept("cancel", 16.0)
    assert count(world) == 1
    p.stopped = True
    run(world, 6.0)
    assert q.replica.role is Role.DECIDING
    q.accept("cancel", 16.0)
    s.stopped = False
    for _ in range(40):  # it hears of the new arbiter before it notices the time
        world.advance(1 / 16)
        for chore in q.chores:
            chore()
        s.replica.tick(world.now)
        world.flow(Random(1))
    assert s.replica.role is Role.FOLLOWING
    run(world, 1.0)
    assert count(world) == 1
    settle(world)


def test_a_dead_replica_stays_in_the_lease_until_workers_have_stopped() -> None:
    """The next arbiter may know a pool that this one does not."""
    world, (p,) = a_world("p")
    world._start("q", 0, 1, 1)
    run(world, 1.0)
    p.accept("cancel", 16.0)
    world.kill(0, 1)
    world.run(5, 1 / 32, 0)  # q takes over, and knows of no pool
    q = world.processes["q"]
    assert q.replica.role is Role.DECIDING
    q.replica.pod_read(p.member, None, world.now)
    world.run(1, 1 / 32, 0)
    world._start("r", 1 | 1 << 2, 1, 1)
    world.run(4, 1 / 32, 0)
    q.replica.leave()
    world.run(4, 1 / 32, 0)
    r = world.processes["r"]
    assert r.replica.role is Role.DECIDING
    r.accept("cancel", 16.0)
    run(world, 4.0)
    assert count(world) == 1
    settle(world)


def test_a_new_arbiters_own_slot_past_its_deadline_may_be_anothers() -> None:
    world, (p, q, r) = a_world("p", "q", "r")
    q.accept("cancel", 2.0)
    run(world, 0.25)
    q.stopped = True
    run(world, 4.0)
    r.accept("cancel", 16.0)
    run(world, 0.5)
    assert count(world) == 1
    for process in (p, r):
        process.die()
        del world.kube.pods[process.pod]
    q.stopped = False
    world.flow(Random(1))  # it takes over before it notices the time
    assert q.replica.role is Role.DECIDING
    q.accept("cancel", 16.0)
    world.run(4, 1 / 64, 0)
    assert count(world) == 1
    settle(world)


def test_what_one_left_word_of_and_then_says_itself_is_counted_once() -> None:
    world, (p, q, r) = a_world("p", "q", "r", cap=2)
    p.accept("cancel", 16.0)
    r.accept("cancel", 16.0)
    run(world, 0.25)
    cut(world, "p", "q", "r")
    cut(world, "q", "r")
    run(world, 6.0)
    assert q.replica.role is Role.DECIDING
    world.cuts.discard(frozenset("pq"))
    run(world, 3.0)
    assert p.replica.role is Role.FOLLOWING
    q.accept("cancel", 16.0)
    run(world, 0.5)
    assert count(world) == 2  # r, which has not come, has the other slot
    settle(world)


def test_a_superseded_arbiter_frees_nothing_for_the_death_of_one_that_never_came_to_it() -> None:
    world, (t, q, r, s, p) = a_world("t", "q", "r", "s", "p")
    r.accept("cancel", 16.0)
    run(world, 0.5)
    cut(world, "p", "r")
    t.replica.leave()
    run(world, 2.0)
    assert p.replica.role is Role.DECIDING
    cut(world, "p", "q", "the API")
    run(world, 5.0)
    assert (q.replica.role, r.replica.role) == (Role.DECIDING, Role.FOLLOWING)
    world.finish(0)
    q.accept("cancel", 16.0)
    run(world, 0.5)
    r.die()
    p.replica.pod_read(r.member, None, world.now)
    s.accept("cancel", 16.0)
    run(world, 3.0)
    assert p.replica.role is Role.DECIDING
    assert count(world) == 1
    settle(world)


def test_an_arbiter_that_loses_most_others_still_knows_what_they_hold() -> None:
    """As when the node of the two others loses power: their pods stay in the API."""
    world, (p, q, r) = a_world("p", "q", "r", endpoints=3)
    q.accept("cancel", 8.0)
    run(world, 0.25)
    q.stopped = r.stopped = True
    cut(world, "p", "q", "r")
    run(world, 7.0)
    arbiter = p.replica.arbiter
    assert arbiter is not None
    assert (arbiter.term, arbiter.books.accounted) == (2, True)
    p.accept("cancel", 30.0)
    p.accept("cancel", 30.0)
    run(world, 0.25)
    assert sum(map(len, world.running.values())) == 2  # that of q is the other
    run(world, 4.0)
    assert [len(running) for running in world.running.values()] == [1, 1]  # its time is over
    assert {one.process for running in world.running.values() for one in running} == {p}
    settle(world)


def test_another_that_cannot_reach_the_third_knows_what_it_holds() -> None:
    world, (_, q, r) = a_world("p", "q", "r", endpoints=3)
    r.accept("cancel", 16.0)
    run(world, 0.25)
    r.stopped = True
    cut(world, "p", "q", "r")
    run(world, 6.0)
    assert q.replica.arbiter is not None
    assert q.replica.arbiter.books.accounted
    for _ in range(3):
        q.accept("cancel", 16.0)
    run(world, 0.5)
    assert sum(map(len, world.running.values())) == 2
    settle(world)


def test_books_that_an_older_build_has_left_there_are_not_believed() -> None:
    world, (p,) = a_world("p", pool="finish")
    world._start("q", 1 << 1 | 1 << 2, 1, 0)
    run(world, 1.0)
    q = world.processes["q"]
    cut(world, "p", "q")
    world._start("r", 1 << 1 | 1 << 2, 1, 1)
    run(world, 1.0)
    r = world.processes["r"]
    r.stopped = True
    run(world, 6.0)
    assert (p.replica.role, q.replica.role) == (Role.SEEKING, Role.DECIDING)
    assert world.kube.lease is not None
    assert YIELDED_WITH in world.kube.lease["metadata"]["annotations"]
    world.cuts.clear()
    r.stopped = False
    run(world, 4.0)
    q.accept("finish", 16.0)
    run(world, 0.5)
    assert count(world, "finish") == 1
    q.die()
    p.accept("finish", 16.0)
    run(world, 6.0)
    assert Role.DECIDING in {p.replica.role, r.replica.role}
    assert count(world, "finish") == 1
    settle(world)


def without_the_api(*pods: str) -> tuple[World, list[Process]]:
    world, processes = a_world(*pods)
    for pod in pods:
        cut(world, pod, "the API")
    run(world, 4.0)
    return world, processes


def test_without_the_api_an_arbiter_whose_followers_come_back_has_gone_on() -> None:
    world, (p, q, r) = without_the_api("p", "q", "r")
    cut(world, "p", "q", "r")
    run(world, 6.0)
    assert (q.replica.role, r.replica.role) == (Role.SEEKING, Role.SEEKING)
    world.cuts -= {frozenset("pq"), frozenset("pr")}
    run(world, 8.0)
    assert p.replica.role is Role.DECIDING
    assert q.replica.role is r.replica.role is Role.FOLLOWING
    q.accept("cancel", 16.0)
    run(world, 0.25)
    assert count(world) == 1
    settle(world)
