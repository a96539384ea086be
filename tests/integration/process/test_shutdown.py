"""How `leastwise serve` ends: on signals, and where it cannot even begin."""

import asyncio
import signal
import subprocess
import sys
from time import monotonic
from typing import Any

import pytest

from tests.integration.process.client import Connection, check, compute, get
from tests.integration.process.harness import Balancer, Programs, Worker, free_host, until
from tests.integration.process.load import Load
from tests.integration.process.stubs import EVENT, events_without_end, stub

LONG = 3600.0


def pool(*addresses: str, **more: Any) -> dict[str, Any]:
    return {"endpoints": list(addresses), "maxInFlight": 4} | more


async def running(balancer: Balancer, number: int, waiting: int = 0) -> None:
    await balancer.sees(
        f"{number} running, {waiting} waiting",
        lambda view: (view["in_flight"], view["queued"]) == (number, waiting),
    )


async def refuses_connections(balancer: Balancer) -> bool:
    try:
        connection = await Connection.open(balancer.port)
    except ConnectionRefusedError:
        return True
    connection.close()
    return False


SIGNALLED_AT_AN_IMPORT = """
import os, runpy, signal, sys

class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == at:
            try:
                signal.raise_signal(signal.SIGTERM)
            except BaseException as error:  # as pydantic does while it builds a model
                raise ValueError from error

at, role = sys.argv[1:]
sys.meta_path.insert(0, Signals())
sys.argv[1:] = [role]
runpy.run_module("app", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("role", "at"),
    [
        ("serve", "app.config.settings"),
        ("serve", "app.runtime.serve"),
        ("operator", "app.operator.process"),
        ("worker", "app.worker.server"),
    ],
)
def test_a_signal_before_the_roles_own_modules_are_there_is_not_lost(role: str, at: str) -> None:
    """It is handled: PID 1 of a container gets no signal that it does not handle."""
    program = [sys.executable, "-c", SIGNALLED_AT_AN_IMPORT, at, role]
    ended = subprocess.run(program, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_what_runs_and_waits_is_finished(programs: Programs, number: signal.Signals) -> None:
    (worker,) = await programs.workers(1, task_seconds=0.5)
    balancer = await programs.balancer(pool(worker.address))
    clients = [await Connection.open(balancer.port) for _ in range(6)]
    for n, client in enumerate(clients):
        client.send(compute(str(n)))
    await running(balancer, 4, 2)
    balancer.signal(number)
    for n, client in enumerate(clients):
        answer = await client.answer()
        check(answer, str(n))
        assert answer.headers["connection"] == "close"
        assert await client.ended()
        client.close()
    assert await balancer.end() == 0


async def test_during_the_delay_it_serves_and_is_not_ready(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=0)
    balancer = await programs.balancer(pool(worker.address), drain_delay=LONG)
    old = await Connection.open(balancer.port)
    answer = await old.ask(compute("before"))
    assert "connection" not in answer.headers
    balancer.signal(signal.SIGTERM)

    async def is_stopping() -> bool:
        ready = await balancer.ask("/readyz")
        return (ready.status_code, ready.json()["reasons"]) == (503, ["stopping"])

    await until("not ready", is_stopping)
    assert (await balancer.ask("/healthz")).status_code == 200
    new = await Connection.open(balancer.port)
    for connection in (old, new):
        answer = await connection.ask(compute("meanwhile"))
        check(answer, "meanwhile")
        assert answer.headers["connection"] == "close"
        assert await connection.ended()
        connection.close()
    async with Load(balancer.port, 8) as load:  # each on a new connection
        await load.more(50)
    assert load.failures == []


async def test_after_the_delay_idle_clients_are_sent_away(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=0)
    balancer = await programs.balancer(pool(worker.address), drain_delay=0.5, drain_timeout=LONG)
    clients = [await Connection.open(balancer.port) for _ in range(20)]
    for client in clients[10:]:  # half of them are new, and half have had a request
        await client.ask(compute("a"))
    signalled = monotonic()
    balancer.signal(signal.SIGTERM)
    for client in clients:
        assert await client.ended()
        client.close()
    assert monotonic() > signalled + 0.5
    assert await balancer.end() == 0
    assert await refuses_connections(balancer)


async def test_the_listening_port_closes_before_what_runs_ends(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=LONG)
    balancer = await programs.balancer(pool(worker.address), drain_timeout=LONG)
    async with await Connection.open(balancer.port) as client:
        client.send(compute("long"))
        await running(balancer, 1)
        balancer.signal(signal.SIGTERM)
        await until("connections refused", lambda: refuses_connections(balancer))
        balancer.alive()
        await running(balancer, 1)  # and the admin port answers
    # The client has gone, and with it the last request: that is the end of the drain.
    assert await balancer.end() == 0


@pytest.mark.parametrize("delay", [0, LONG], ids=["draining", "in the delay"])
async def test_a_second_signal_stops_it_at_once(programs: Programs, delay: float) -> None:
    (worker,) = await programs.workers(1, task_seconds=LONG)
    balancer = await programs.balancer(pool(worker.address), drain_delay=delay, drain_timeout=LONG)
    async with await Connection.open(balancer.port) as client:
        client.send(compute("long"))
        await running(balancer, 1)
        balancer.signal(signal.SIGTERM)
        await until("the drain", lambda: "stopping" in balancer.stderr())
        balancer.signal(signal.SIGINT)
        assert await balancer.end(limit=5) == 1
        with pytest.raises((EOFError, ConnectionResetError)):
            await client.answer()
    assert any("a second signal" in message for message in balancer.messages())


async def test_an_endless_answer_is_cut_at_the_timeout(programs: Programs) -> None:
    async with stub(events_without_end) as address:
        balancer = await programs.balancer(pool(address), drain_timeout=0.5)
        async with await Connection.open(balancer.port) as client:
            client.send(get("/events"))
            assert (await client.head())[0] == 200
            await client.reader.readuntil(EVENT)
            balancer.signal(signal.SIGTERM)
            signalled = monotonic()
            rest = b""
            try:
                while part := await client.reader.read(2**16):
                    rest += part
            except ConnectionResetError:
                pass
            assert EVENT in rest  # it went on to the last
            assert not rest.endswith(b"0\r\n\r\n")  # and is not passed off as whole
            assert monotonic() > signalled + 0.4
        assert await balancer.end() == 0
        assert "stopping with 1 requests under way" in balancer.messages()


async def test_a_request_whose_client_has_gone_is_cut_too(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=LONG)
    spec = pool(worker.address, onClientGone="finish")
    balancer = await programs.balancer(spec, drain_timeout=0.2)
    async with await Connection.open(balancer.port) as client:
        client.send(compute("a"))
        await running(balancer, 1)
    await balancer.sees("it gone", lambda view: not view["totals"]["client_connections"])
    await running(balancer, 1)
    balancer.signal(signal.SIGTERM)
    assert await balancer.end() == 0
    await until("the worker knows", lambda: is_idle(worker))


async def is_idle(worker: Worker) -> bool:
    return not (await worker.status())["in_flight"]


async def test_a_request_that_ends_within_the_timeout_is_not_cut(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=1)
    balancer = await programs.balancer(pool(worker.address), drain_timeout=20)
    async with await Connection.open(balancer.port) as client:
        client.send(compute("a"))
        await running(balancer, 1)
        balancer.signal(signal.SIGTERM)
        check(await client.answer(), "a")
    assert await balancer.end(limit=10) == 0


async def test_a_worker_may_die_and_come_back_meanwhile(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=LONG)
    balancer = await programs.balancer(pool(worker.address, retry={"nonIdempotent": True}))
    async with await Connection.open(balancer.port) as client:
        client.send(compute("a"))
        await running(balancer, 1)
        balancer.signal(signal.SIGTERM)
        await worker.kill()
        await running(balancer, 0, 1)
        await programs.again(worker, task_seconds=0)
        check(await client.answer(), "a")
    assert await balancer.end() == 0


async def test_workers_that_stop_with_it_are_no_trouble(programs: Programs) -> None:
    """As when all is taken down together: idle connections end while it ends."""
    workers = await programs.workers(3, task_seconds=0)
    balancer = await programs.balancer(pool(*(worker.address for worker in workers)))
    async with await Connection.open(balancer.port) as client:
        for n in range(6):
            check(await client.ask(compute(str(n))), str(n))
    balancer.signal(signal.SIGTERM)
    await until("the drain", lambda: "stopping" in balancer.stderr())
    for worker in workers:  # all through the last moments, which are some 150 ms
        await asyncio.sleep(0.04)
        worker.signal(signal.SIGKILL)
    assert await balancer.end() == 0  # and no exception in the log: the fixture looks


@pytest.mark.parametrize("flag", ["listen", "admin_listen"])
async def test_a_port_that_is_taken_is_named(programs: Programs, flag: str) -> None:
    first = await programs.balancer(pool(f"{free_host()}:9"))
    taken = first.port if flag == "listen" else first.admin_port
    second = await programs.start_balancer(first.config, **{flag: f"127.0.0.1:{taken}"})
    assert await second.end() == 1
    (message,) = second.messages()
    name = flag.replace("_", "-")
    assert message == f"cannot listen on 127.0.0.1:{taken} (--{name}): Address already in use"
    assert "Traceback" not in second.stderr()


async def test_a_bad_file_is_told_with_the_place_in_it(programs: Programs) -> None:
    config = programs.folder / "bad.yaml"
    config.write_text(
        "spec:\n  endpoints: [127.0.0.1:80]\n  queue:\n    timeout: soon\n  sise: 3\n"
    )
    balancer = await programs.start_balancer(config)
    assert await balancer.end() == 2
    message = balancer.stderr()
    assert f'{config}:4: spec.queue.timeout: found "soon"' in message
    assert f"{config}:5: spec.sise: " in message
    assert "Traceback" not in message


async def test_a_file_that_is_missing_is_told(programs: Programs) -> None:
    balancer = await programs.start_balancer(programs.folder / "none.yaml")
    assert await balancer.end() == 2
    assert f"{programs.folder}/none.yaml: found no such file" in balancer.stderr()


async def test_unknown_flags_and_variables_are_told(programs: Programs) -> None:
    balancer = await programs.start_balancer(programs.folder / "none.yaml", "--lisen=127.0.0.1:0")
    assert await balancer.end() == 2
    assert "--lisen" in balancer.stderr()
    programs.environment["LEASTWISE_DRAIN_DELEY"] = "3"
    balancer = await programs.start_balancer(programs.folder / "none.yaml")
    assert await balancer.end() == 2
    assert "LEASTWISE_DRAIN_DELEY" in balancer.stderr()
    assert "LEASTWISE_DRAIN_DELAY" in balancer.stderr()  # meant, most likely
