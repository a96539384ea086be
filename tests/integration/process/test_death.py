"""Workers that die, hang and come back, as real processes: what may be sent again is not lost."""

import json
import signal
from typing import Any

from tests.integration.process.client import Connection, check, compute
from tests.integration.process.harness import Balancer, Programs, Worker, until
from tests.integration.process.load import Load

CAP = 4
KEYED = "Idempotency-Key: by-this-it-may-be-sent-again"


def pool(workers: list[Worker], **more: Any) -> dict[str, Any]:
    return {"endpoints": [worker.address for worker in workers], "maxInFlight": CAP} | more


def addresses(workers: list[Worker]) -> list[str]:
    return [worker.address for worker in workers]


async def gets_requests(balancer: Balancer, worker: Worker) -> None:
    before = (await balancer.worker(worker.address))["requests"]

    async def more() -> bool:
        entry = await balancer.worker(worker.address)
        return bool(entry["requests"] > before)

    await until(f"{worker.address} gets requests", more)


async def test_workers_killed_under_load_lose_no_request(programs: Programs) -> None:
    workers = await programs.workers(3, task_seconds=0.1, max_in_flight=CAP)
    balancer = await programs.balancer(pool(workers))
    async with Load(balancer.port, 24, KEYED) as load:
        await load.more(24)
        for n in (0, 1):
            await gets_requests(balancer, workers[n])
            await workers[n].kill()
            await balancer.rotates(*addresses(workers[:n] + workers[n + 1 :]))
            dead = await balancer.worker(workers[n].address)
            assert (dead["phase"], dead["in_flight"]) == ("ejected", 0)
            await load.more(24)
            assert (await balancer.worker(workers[n].address))["requests"] == dead["requests"]
            workers[n] = await programs.again(workers[n], task_seconds=0.1, max_in_flight=CAP)
            await balancer.rotates(*addresses(workers))
            await gets_requests(balancer, workers[n])
    assert load.failures == []
    view = await balancer.view()
    assert view["totals"]["answered_by_balancer"] == 0
    print(f"{load.answered} answered, {view['totals']['retries']} sent again")
    for worker in workers:
        status = await worker.status()
        assert (status["peak"], status["refused"]) == (CAP, 0)


async def test_what_may_not_be_sent_again_is_told(programs: Programs) -> None:
    workers = await programs.workers(3, task_seconds=0.2, max_in_flight=CAP)
    balancer = await programs.balancer(pool(workers))
    async with Load(balancer.port, 24) as load:  # POST, and no Idempotency-Key
        await load.more(24)
        await gets_requests(balancer, workers[0])
        await workers[0].kill()
        await balancer.rotates(*addresses(workers[1:]))
        await load.more(24)
    # Those that ran on it, and no other.
    assert 1 <= len(load.failures) <= CAP, load.failures
    for failure in load.failures:
        assert "status=502" in failure
        assert "leastwise; error=connection_terminated" in failure


async def test_an_idle_worker_killed_costs_nothing(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.01)
    balancer = await programs.balancer(pool(workers))
    async with await Connection.open(balancer.port) as connection:
        for n in range(8):  # so that there are idle connections to both
            check(await connection.ask(compute(str(n))), str(n))
        await workers[0].kill()
        await balancer.rotates(workers[1].address)
        before = await balancer.worker(workers[0].address)
        assert before["phase"] == "ejected"
        for n in range(8):
            check(await connection.ask(compute(str(n))), str(n))
    after = await balancer.worker(workers[0].address)
    assert after["requests"] == before["requests"]
    assert (after["failed"], after["connect_errors"]) == (0, 0)  # no request had to find it out
    totals = (await balancer.view())["totals"]
    assert (totals["requests"], totals["retries"], totals["answered_by_balancer"]) == (16, 0, 0)


async def test_requests_wait_while_all_workers_are_dead(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.01)
    balancer = await programs.balancer(pool(workers))
    for worker in workers:
        await worker.kill()
    clients = [await Connection.open(balancer.port) for _ in range(12)]
    for n, client in enumerate(clients):
        client.send(compute(str(n)))
    await balancer.sees("all of them waiting", lambda view: view["queued"] == len(clients))
    await balancer.rotates()
    await programs.again(workers[1], task_seconds=0.01)
    for n, client in enumerate(clients):
        check(await client.answer(), str(n))
        client.close()
    view = await balancer.view()
    assert (view["queued"], view["in_flight"]) == (0, 0)
    assert view["totals"]["answered_by_balancer"] == 0


async def test_after_the_queue_timeout_they_are_told_to_come_again(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=60)
    queue = {"size": 2, "timeout": "300ms"}
    balancer = await programs.balancer(pool([worker], maxInFlight=1, queue=queue))
    async with (
        await Connection.open(balancer.port) as running,
        await Connection.open(balancer.port) as waiting,
    ):
        running.send(compute("long"))
        await balancer.sees("it running", lambda view: view["in_flight"] == 1)
        expect_refusal(await waiting.ask(compute("a")), "stayed at its limit")
        await worker.kill()
        answer = await running.answer()  # may not be sent again
        assert (answer.status, answer.headers["proxy-status"]) == (
            502, "leastwise; error=connection_terminated",
        )  # fmt: skip
        expect_refusal(await waiting.ask(compute("b")), "No worker was ready")
        view = await balancer.view()
        assert (view["queued"], view["in_flight"]) == (0, 0)


async def test_where_the_queue_is_full_they_are_told_at_once(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=3600)
    queue = {"size": 2, "timeout": "1h"}
    balancer = await programs.balancer(pool([worker], maxInFlight=1, queue=queue))
    others = [await Connection.open(balancer.port) for _ in range(3)]
    for other in others:
        other.send(compute("a"))
    await balancer.sees("a full queue", lambda view: view["queued"] == 2)
    async with await Connection.open(balancer.port) as late:
        expect_refusal(await late.ask(compute("b")), "the queue is full")
        others.pop().close()
        await balancer.sees("room in the queue", lambda view: view["queued"] == 1)
        late.send(compute("c"))  # on the same connection
        await balancer.sees("it waiting", lambda view: view["queued"] == 2)
    for other in others:
        other.close()


def expect_refusal(answer: Any, detail: str) -> None:
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["proxy-status"].startswith("leastwise; error=")
    assert detail in json.loads(answer.body)["detail"]


async def test_a_hung_worker_is_seen_by_its_probe(programs: Programs) -> None:
    workers = await programs.workers(3, task_seconds=0.05, max_in_flight=CAP)
    spec = pool(
        workers,
        retry={"onTimeout": True, "refusedStatuses": [503]},
        timeouts={"firstByte": "3s"},
        health={"probe": {"path": "/readyz", "interval": "300ms", "timeout": "300ms"}},
    )
    balancer = await programs.balancer(spec)
    async with Load(balancer.port, 24, KEYED) as load:
        await load.more(24)
        workers[0].signal(signal.SIGSTOP)
        await balancer.rotates(*addresses(workers[1:]))
        hung = await balancer.worker(workers[0].address)
        assert hung["phase"] == "ejected"
        assert hung["reason"].startswith("probe failed")
        await load.more(100)  # its kernel accepts connections meanwhile, and that is not enough
        still = await balancer.worker(workers[0].address)
        assert (still["phase"], still["requests"]) == ("ejected", hung["requests"])
        workers[0].signal(signal.SIGCONT)
        await balancer.rotates(*addresses(workers))
        await gets_requests(balancer, workers[0])
    assert load.failures == []
    assert (await workers[0].status())["peak"] <= CAP


async def test_without_a_probe_a_hung_worker_comes_back_and_goes_again(programs: Programs) -> None:
    """What docs/reliability.md says of pools without one: connects alone cannot tell."""
    workers = await programs.workers(3, task_seconds=0.05, max_in_flight=CAP)
    spec = pool(
        workers,
        retry={"onTimeout": True, "refusedStatuses": [503]},
        timeouts={"firstByte": "1s"},
    )
    balancer = await programs.balancer(spec)
    address = workers[0].address

    def times(change: str) -> int:
        return sum(line.startswith(f"{address}: {change}") for line in balancer.messages())

    async with Load(balancer.port, 24, KEYED) as load:
        await load.more(24)
        workers[0].signal(signal.SIGSTOP)
        await until(
            "its requests time out, again after it has come back",
            lambda: times("ready -> ejected (no answer in time)") >= 2,
        )
        assert times("ejected -> ready") >= 1
        workers[0].signal(signal.SIGCONT)
        await balancer.rotates(*addresses(workers))
        await gets_requests(balancer, workers[0])
    assert load.failures == []
    assert (await workers[0].status())["peak"] <= CAP
