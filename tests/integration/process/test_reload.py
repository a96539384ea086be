"""The pool's file changes while requests run: the new one is obeyed, and no request is lost."""

from pathlib import Path
from typing import Any

from tests.integration.process.client import Connection, check, compute
from tests.integration.process.harness import Balancer, Programs, Worker, until, write_pool
from tests.integration.process.load import Load

CLIENTS = 24
GOOD, KEPT = "has changed, and is in force", "the last good configuration stays in force"


def pool(workers: list[Worker], cap: int | None, **more: Any) -> dict[str, Any]:
    return {"endpoints": [worker.address for worker in workers], "maxInFlight": cap} | more


def said(balancer: Balancer, words: str) -> int:
    return sum(words in message for message in balancer.messages())


async def obeys(balancer: Balancer, cap: int) -> None:
    """Wait until the cap is in force, and until no worker has more, or less if there is enough."""
    await balancer.sees(
        f"{cap} on each worker",
        lambda view: (
            view["max_in_flight"] == cap
            and all(worker["in_flight"] == cap for worker in view["workers"])
        ),
    )


async def test_a_cap_is_lowered_and_raised_under_load(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.1)
    balancer = await programs.balancer(pool(workers, 4))
    async with Load(balancer.port, CLIENTS) as load:
        await obeys(balancer, 4)
        balancer.configure(pool(workers, 1))
        await obeys(balancer, 1)
        await load.more(4)  # now they have begun under the new cap
        view = await balancer.view()
        assert all(worker["in_flight"] <= 1 for worker in view["workers"])
        assert view["queued"] >= CLIENTS - 4
        for worker in workers:
            assert (await worker.status())["peak"] == 4
        balancer.configure(pool(workers, 8))
        await obeys(balancer, 8)
        await load.more(CLIENTS)
    assert load.failures == []
    for worker in workers:
        assert (await worker.status())["peak"] == 8
    assert said(balancer, GOOD) == 2


async def test_endpoints_come_and_go_under_load(programs: Programs) -> None:
    workers = await programs.workers(3, task_seconds=0.1)
    balancer = await programs.balancer(pool(workers[:2], 4))
    async with Load(balancer.port, CLIENTS) as load:
        await load.more(CLIENTS)
        balancer.configure(pool(workers, 4))
        await balancer.rotates(*(worker.address for worker in workers))
        await until("the new one is used", lambda: has_completed(workers[2]))
        balancer.configure(pool(workers[1:], 4))
        await balancer.sees("the first one gone", lambda view: len(view["workers"]) == 2)
        await balancer.rotates(*(worker.address for worker in workers[1:]))
        left = await workers[0].status()
        assert (left["in_flight"], left["cancelled"]) == (0, 0)  # what it had, it has finished
        await load.more(CLIENTS)
        assert (await workers[0].status())["completed"] == left["completed"]
        balancer.configure(pool(workers[:1], 4))  # all of them others
        await balancer.rotates(workers[0].address)
        await load.more(CLIENTS)
    assert load.failures == []
    assert (await balancer.view())["totals"]["retries"] == 0


async def has_completed(worker: Worker) -> bool:
    return bool((await worker.status())["completed"])


async def test_a_bad_file_changes_nothing_and_is_told_once(programs: Programs) -> None:
    workers = await programs.workers(1, task_seconds=0.05)
    balancer = await programs.balancer(pool(workers, 4))
    async with Load(balancer.port, 8) as load:
        await load.more(8)
        bad = pool(workers, 0)
        balancer.configure(bad)
        await until("the bad file is told", lambda: said(balancer, KEPT))
        (message,) = (m for m in balancer.messages() if KEPT in m)
        assert f"{balancer.config}:" in message
        assert "spec.maxInFlight: found 0" in message
        assert (await balancer.view())["max_in_flight"] == 4
        balancer.config.unlink()  # another reason, told once, too; and some looks later than that
        await until("the missing file is told", lambda: said(balancer, "no such file"))
        balancer.configure(bad)
        await until("the bad file is told again", lambda: said(balancer, KEPT) == 3)
        await load.more(8)
        balancer.configure(pool(workers, 2))
        await balancer.sees("the good one", lambda view: view["max_in_flight"] == 2)
    assert load.failures == []
    assert said(balancer, KEPT) == 3
    assert said(balancer, GOOD) == 1


async def test_a_config_map_is_followed(programs: Programs, tmp_path: Path) -> None:
    """The kubelet's way: pool.yaml -> ..data/pool.yaml, ..data -> ..v1, and ..data is swapped."""
    workers = await programs.workers(2, task_seconds=0.01)
    volume = tmp_path / "volume"
    publish(volume, "..v1", pool(workers[:1], 4))
    (volume / "pool.yaml").symlink_to("..data/pool.yaml")
    balancer = await programs.start_balancer(volume / "pool.yaml")
    await until("the balancer listens", balancer.read_ports)
    async with Load(balancer.port, 8) as load:
        await balancer.rotates(workers[0].address)
        publish(volume, "..v2", pool(workers, 2))
        await balancer.rotates(*(worker.address for worker in workers))
        assert (await balancer.view())["max_in_flight"] == 2
        publish(volume, "..v3", pool(workers[1:], 3))
        await balancer.rotates(workers[1].address)
        await load.more(8)
    assert load.failures == []
    assert said(balancer, KEPT) == 0


def publish(volume: Path, version: str, spec: dict[str, Any]) -> None:
    """Swap the volume's content, and remove the old one."""
    (volume / version).mkdir(parents=True)
    write_pool(volume / version / "pool.yaml", spec)
    data = volume / "..data"
    old = data.readlink() if data.is_symlink() else None
    beside = volume / "..data_tmp"
    beside.symlink_to(version)
    beside.replace(data)
    if old is not None:
        for file in (volume / old).iterdir():
            file.unlink()
        (volume / old).rmdir()


async def test_a_request_that_waits_is_served_by_the_new_pool(programs: Programs) -> None:
    (slow,) = await programs.workers(1, task_seconds=3600)
    (quick,) = await programs.workers(1, task_seconds=0)
    balancer = await programs.balancer(pool([slow], 1))
    async with (
        await Connection.open(balancer.port) as running,
        await Connection.open(balancer.port) as waiting,
    ):
        running.send(compute("a"))
        await balancer.sees("one running", lambda view: view["in_flight"] == 1)
        waiting.send(compute("b"))
        await balancer.sees("one waiting", lambda view: view["queued"] == 1)
        balancer.configure(pool([quick], 1))
        check(await waiting.answer(), "b")
        # The other worker keeps what it has, though it is no longer in the file.
        view = await balancer.view()
        phases = {worker["address"]: worker["phase"] for worker in view["workers"]}
        assert phases == {slow.address: "gone", quick.address: "ready"}
        assert (await slow.status())["in_flight"] == 1
    await balancer.sees("the old one forgotten", lambda view: len(view["workers"]) == 1)
