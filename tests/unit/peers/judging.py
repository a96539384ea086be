"""What always holds of a `World`, and what is left of it when all is well again.

`judge` is for after each operation; `settle` heals what is broken and lets time run.
"""

from typing import Any

from app.peers.replica import Role
from tests.unit.peers.process import ENDPOINTS, POOLS, QUEUE, REQUEST
from tests.unit.peers.world import PODS, World


def judge(world: World) -> None:
    """Say what holds at any time."""
    for process in world.processes.values():
        arbiter = process.replica.arbiter if process.alive else None
        if arbiter is not None:
            other = world.deciders.setdefault(arbiter.term, process)
            assert other is process, f"{other} and {process} decide in term {arbiter.term}"
    _judge_counts(world)


def _judge_counts(world: World) -> None:
    """See that the last arbiter counts at least what runs, whoever gave it."""
    newest = world.deciders[max(world.deciders)] if world.deciders else None
    arbiter = newest.replica.arbiter if newest is not None and newest.alive else None
    for name, docket in arbiter.books.dockets.items() if arbiter is not None else ():
        for endpoint in docket.pool.endpoints.values():
            running = world.running.get((name, endpoint.spec.identity), ())
            counted = endpoint.in_flight >= len(running) or name in world.mixed
            assert counted or not endpoint.member, f"{newest}: {endpoint}, but {running}"


def settle(world: World) -> None:
    """Heal everything, let time run; then nothing may be left of what was."""
    world.heal()
    for pod, process in world.processes.items():
        process.stopped = False
        if not process.alive:
            world.kube.pods.pop(pod, None)
    if not any(p.alive and not p.leaving for p in world.processes.values()):
        world.processes = {pod: p for pod, p in world.processes.items() if p.alive}
        world._start(next(p for p in (*PODS, "t") if p not in world.processes), 15, 1, 1)
    for process in world.living:
        for name in POOLS:
            world._learn(process, name, 1, 3)
            process.obey(name, world.most[name])
    _run_and_judge(world, 8.0)
    for process in world.living:
        if process.leaving and not process.stopping:
            process.part()
    _run_and_judge(world, 2 * REQUEST + QUEUE)
    _nothing_is_left(world)
    for number in range(9):
        for pool in range(len(POOLS)):
            world.ask(number, pool, 9.0)
    _run_and_judge(world, 1.0)
    counts = {place: len(running) for place, running in world.running.items()}
    assert counts == {(name, i): world.most[name] for name in POOLS for i in ENDPOINTS}
    for _ in range(24):
        world.finish(0)
        _run_and_judge(world, 0.25)
    _run_and_judge(world, QUEUE)
    _nothing_is_left(world)


def _run_and_judge(world: World, seconds: float) -> None:
    for number in range(int(seconds * 4)):
        world.run(1, 0.25, number)
        judge(world)


def _nothing_is_left(world: World) -> None:
    living = world.living
    deciding = [p for p in living if p.replica.role is Role.DECIDING]
    assert len(deciding) == 1, f"{living} decide"
    arbiter = deciding[0].replica.arbiter
    assert arbiter is not None
    assert all(p.replica.role is Role.FOLLOWING for p in living if p not in deciding), living
    assert arbiter.books.accounted
    assert all(docket.accounted for docket in arbiter.books.dockets.values())
    assert not any(docket.reserved or docket.rejoining for docket in arbiter.books.dockets.values())
    assert {*arbiter.books.peers, arbiter.me.id} == {p.member.id for p in living}
    assert world.kube.members == {p.member.id for p in living}
    for peer in arbiter.books.peers.values():
        assert not peer.holdings
        assert not peer.claims
    for process in living:
        assert all(request.over for request in process.requests), process.requests
        for pool in process.pools.values():
            assert (pool.in_flight, pool.elsewhere, pool.queued) == (0, 0, 0), process
            counts = {e.spec.identity: e.in_flight for e in pool.endpoints.values()}
            assert counts == dict.fromkeys(ENDPOINTS, 0)
        follower: Any = process.replica._shared.follower
        assert (follower._asks, follower._numbered, follower._held) == ({}, {}, {})
