"""1,000 clients that leave at random: every count goes back to 0, and nobody else notices.

Three real workers with a cap of 4 each and far more clients than slots, so that most of them wait.
Beside them run clients that stay, and each of these must get its right answer.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.integration.process.client import Connection, compute, get
from tests.integration.process.harness import Balancer, Programs, Worker, until
from tests.integration.process.load import Load

CLIENTS = 1000
AT_ONCE = 80
CAP = 4
SMALL, LARGE = 5_000, 300_000
"""Characters of a payload: within the replay buffer, and far beyond it."""


class Leaver:
    """One client, and where it is when it leaves."""

    def __init__(self, random: Random, port: int) -> None:
        self._random = random
        self._port = port

    async def run(self) -> str:
        """Live and leave; return the way it was."""
        way = self._random.choice(WAYS)
        leave = self._random.choice([self.close, self.half_close, self.reset])
        async with asyncio.timeout(60):
            connection = await Connection.open(self._port)
            try:
                await way(self, connection)
                await leave(connection)
            except (ConnectionError, EOFError):
                pass  # the balancer was first: an answer to half a request, and the end
            finally:
                connection.close()
        return f"{way.__name__}, {leave.__name__}"

    # --- what it does

    async def nothing(self, connection: Connection) -> None:
        await self._hesitate()

    async def half_a_head(self, connection: Connection) -> None:
        connection.send(self._some_of(get("/task/")))
        await self._hesitate()

    async def half_a_small_body(self, connection: Connection) -> None:
        connection.send(self._part(SMALL))
        await self._hesitate()

    async def half_a_large_body(self, connection: Connection) -> None:
        """Beyond the replay buffer: it has a slot, or its upload is paused in the queue."""
        connection.send(self._part(LARGE))
        await self._hesitate()

    async def a_request(self, connection: Connection) -> None:
        """It leaves while its request waits, or runs."""
        connection.send(self._request(SMALL))
        await self._hesitate()

    async def a_large_request(self, connection: Connection) -> None:
        connection.send(self._request(LARGE))
        await self._hesitate()

    async def several_requests(self, connection: Connection) -> None:
        connection.send(self._request(SMALL) + get("/status") + self._request(SMALL))
        await self._hesitate()

    async def some_of_an_answer(self, connection: Connection) -> None:
        connection.send(self._request(LARGE))
        await connection.reader.read(self._random.randrange(1, 1000))

    async def a_whole_answer(self, connection: Connection) -> None:
        await connection.ask(self._request(SMALL))

    # --- how it leaves

    async def close(self, connection: Connection) -> None:
        connection.close()

    async def half_close(self, connection: Connection) -> None:
        """A FIN, after which it would go on reading: it is taken to have gone."""
        connection.writer.write_eof()
        await connection.reader.read()

    async def reset(self, connection: Connection) -> None:
        connection.reset()

    # --- inside

    def _request(self, size: int) -> bytes:
        return compute("x" * self._random.randrange(size // 2, size))

    def _part(self, size: int) -> bytes:
        request = self._request(size)
        head = request.index(b"\r\n\r\n") + 4
        return request[: self._random.randrange(head, len(request))]

    def _some_of(self, data: bytes) -> bytes:
        return data[: self._random.randrange(1, len(data))]

    async def _hesitate(self) -> None:
        """Let some time pass: none, a worker's, or a queue's."""
        await asyncio.sleep(self._random.choice([0, 0.001, 0.02, 0.1, 0.3]) * self._random.random())


WAYS: list[Callable[[Leaver, Connection], Awaitable[None]]] = [
    Leaver.nothing,
    Leaver.half_a_head,
    Leaver.half_a_small_body,
    Leaver.half_a_large_body,
    Leaver.a_request,
    Leaver.a_large_request,
    Leaver.several_requests,
    Leaver.some_of_an_answer,
    Leaver.a_whole_answer,
]


@pytest.mark.parametrize("on_client_gone", ["cancel", "finish"])
async def test_a_thousand_clients_that_leave(programs: Programs, on_client_gone: str) -> None:
    seed = int(os.environ.get("SEED", "0")) or Random().randrange(1, 10**6)
    print(f"SEED={seed}")
    # With `finish` the balancer's own count is the whole truth: the workers need not refuse.
    limit = {"max_in_flight": CAP} if on_client_gone == "cancel" else {}
    workers = await programs.workers(3, task_seconds=0.02, **limit)
    spec: dict[str, Any] = {
        "endpoints": [worker.address for worker in workers],
        "maxInFlight": CAP,
        "onClientGone": on_client_gone,
        "retry": {"refusedStatuses": [503]},
        "timeouts": {"idle": "500ms"},
    }
    # Whoever is trusted is looked at by address, which a client that has reset no longer has.
    balancer = await programs.balancer(spec, trusted_networks="127.0.0.0/8")
    # The longest payload of those that stay fits the replay buffer: refused, it is sent again.
    async with Load(balancer.port, 10, seed=seed, largest=40_000) as load:
        ways = await crowd(balancer.port, Random(seed))
        await load.more(10)
    assert load.failures == []
    assert sum(ways.values()) == CLIENTS
    print(f"{load.answered} answered meanwhile; {len(ways)} ways to leave")
    await see_that_nothing_is_left(balancer, workers)
    statuses = [await worker.status() for worker in workers]
    if on_client_gone == "finish":
        assert not any(status["refused"] for status in statuses)
        assert not any(status["cancelled"] for status in statuses)
    else:
        assert any(status["cancelled"] for status in statuses)


async def test_a_place_in_the_queue_is_freed_at_once(programs: Programs) -> None:
    workers = await programs.workers(1, task_seconds=3600)
    balancer = await programs.balancer({"endpoints": [workers[0].address], "maxInFlight": 1})
    small, large = compute("x" * SMALL), compute("x" * 100_000)
    # The last two are beyond the replay buffer, so that they are not read on while they wait. What
    # is left of them fits the kernel's buffers: a FIN behind more than that would not get through.
    requests = [small, large, large[:-100]]
    async with await Connection.open(balancer.port) as running:
        running.send(small)
        await balancer.sees("one running", lambda view: view["in_flight"] == 1)
        for request in requests:
            for leave in (Connection.reset, Connection.close):
                waiting = await Connection.open(balancer.port)
                waiting.send(request)
                await balancer.sees("one waiting", lambda view: view["queued"] == 1)
                leave(waiting)
                view = await balancer.sees("none waiting", lambda view: view["queued"] == 0)
                assert view["in_flight"] == 1  # not because it got a slot
    await balancer.sees("none running", lambda view: view["in_flight"] == 0)


async def test_a_task_is_stopped_when_its_client_leaves(programs: Programs) -> None:
    workers = await programs.workers(1, task_seconds=3600)
    balancer = await programs.balancer({"endpoints": [workers[0].address]})
    for leave in (Connection.reset, Connection.close):
        client = await Connection.open(balancer.port)
        client.send(compute("a"))
        await balancer.sees("it running", lambda view: view["in_flight"] == 1)
        leave(client)
    await see_that_nothing_is_left(balancer, workers)
    assert (await workers[0].status())["cancelled"] == 2


async def test_a_slot_is_held_until_the_task_is_finished(programs: Programs) -> None:
    """With `finish`; that it is given back then is seen with the thousand."""
    (worker,) = await programs.workers(1, task_seconds=3600)
    spec = {"endpoints": [worker.address], "onClientGone": "finish"}
    balancer = await programs.balancer(spec)
    for running, leave in ((1, Connection.reset), (2, Connection.close)):
        client = await Connection.open(balancer.port)
        client.send(compute("a"))
        await until("the task", partial(runs, worker, running))
        leave(client)
        view = await balancer.sees("it gone", lambda v: not v["totals"]["client_connections"])
        assert view["in_flight"] == running
        assert await runs(worker, running)


async def runs(worker: Worker, number: int) -> bool:
    return bool((await worker.status())["in_flight"] == number)


async def crowd(port: int, random: Random) -> Counter[str]:
    """Let the clients come and go; return how many did what."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> str:
        async with room:
            return await Leaver(Random(seed), port).run()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(random.getrandbits(32))) for _ in range(CLIENTS)]
    return Counter(task.result() for task in tasks)


async def see_that_nothing_is_left(balancer: Balancer, workers: list[Worker]) -> None:
    def is_over(view: dict[str, Any]) -> bool:
        totals = view["totals"]
        counts = [view["in_flight"], view["queued"], totals["client_connections"]]
        counts += [worker["in_flight"] for worker in view["workers"]]
        counts.append(totals["worker_connections"])  # the idle ones go, too
        return not any(counts) and all(worker["phase"] == "ready" for worker in view["workers"])

    await balancer.sees("every count at 0", is_over)
    view = await balancer.view()
    assert len(view["workers"]) == len(workers)
    print({key: value for key, value in view["totals"].items() if value})
    for entry in view["workers"]:
        assert (entry["failed"], entry["connect_errors"]) == (0, 0), entry
    for worker in workers:
        status = await worker.status()
        assert status["in_flight"] == 0
        assert 0 < status["peak"] <= CAP
        print({key: status[key] for key in ("peak", "completed", "cancelled", "refused")})
