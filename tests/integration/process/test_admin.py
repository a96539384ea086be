"""The admin port of the real process: what it says, and that load elsewhere does not silence it."""

import asyncio
import signal
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.integration.process.client import Connection, check, compute, get
from tests.integration.process.harness import Balancer, Programs, free_host, until, write_pool
from tests.integration.process.load import Load

CAP = 4


def pool(*addresses: str, **more: Any) -> dict[str, Any]:
    return {"endpoints": list(addresses), "maxInFlight": CAP} | more


async def test_it_says_that_it_lives_and_is_ready(programs: Programs) -> None:
    balancer = await programs.balancer(pool(f"{free_host()}:9"))
    ready = await balancer.ask("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})
    for path, text in (("/healthz", "ok\n"), ("/ping", "pong\n")):
        answer = await balancer.ask(path)
        assert (answer.status_code, answer.text) == (200, text)
    docs = await balancer.ask("/docs")
    assert (docs.status_code, docs.headers["content-type"]) == (200, "text/html; charset=utf-8")
    paths = (await balancer.ask("/openapi.json")).json()["paths"]
    assert paths.keys() >= {"/healthz", "/readyz", "/ping", "/workers"}
    assert (await balancer.ask("/nowhere")).status_code == 404


async def test_it_is_not_ready_before_it_knows_a_worker(programs: Programs) -> None:
    balancer = await programs.balancer(pool("no-such-worker.invalid:8080"))
    ready = await balancer.ask("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {
        "status": "not ready",
        "reasons": ["the workers are not discovered yet"],
    }
    assert (await balancer.ask("/healthz")).status_code == 200
    host = free_host()
    balancer.configure(pool(f"{host}:9"))

    async def is_ready() -> bool:
        return (await balancer.ask("/readyz")).status_code == 200

    await until("ready with a worker that is known", is_ready)
    assert [w["address"] for w in (await balancer.view())["workers"]] == [f"{host}:9"]


async def test_it_shows_the_workers(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=0.01, max_in_flight=CAP)
    dead = f"{free_host()}:9"
    balancer = await programs.balancer(pool(worker.address, dead, queue={"size": 7}))
    async with await Connection.open(balancer.port) as connection:
        for n in range(6):
            check(await connection.ask(compute(str(n))), str(n))
        view = await balancer.view()
    workers = {entry["address"]: entry for entry in view.pop("workers")}
    totals = view.pop("totals")
    assert view == {
        "pool": "test", "max_in_flight": CAP, "in_flight": 0, "queued": 0, "queue_size": 7,
        "probe_ignored": False, "replicas": None,
    }  # fmt: skip
    assert totals.pop("retries") == 1  # the dead one was tried once
    assert totals == {
        "requests": 6, "answered_by_balancer": 0, "clients_gone": 0, "client_connections": 1,
        "worker_connections": 1,
    }  # fmt: skip
    common = {
        "in_flight": 0, "in_flight_of_all": None, "failed": 0, "refused": 0, "node": "", "zone": "",
    }  # fmt: skip
    assert workers[worker.address] == common | {
        "name": worker.address, "address": worker.address, "phase": "ready", "reason": "",
        "in_rotation": True, "requests": 6, "connect_errors": 0, "last_error": "",
        "last_error_seconds_ago": None,
    }  # fmt: skip
    ago = workers[dead].pop("last_error_seconds_ago")
    assert 0 <= ago < 30
    assert workers[dead] == common | {
        "name": dead, "address": dead, "phase": "ejected", "in_rotation": False, "requests": 1,
        "reason": "connection refused: Connection refused", "connect_errors": 1,
        "last_error": "connection refused: Connection refused",
    }  # fmt: skip


async def test_it_counts_what_runs_and_what_waits(programs: Programs) -> None:
    (worker,) = await programs.workers(1, task_seconds=60)
    balancer = await programs.balancer(pool(worker.address))
    clients = [await Connection.open(balancer.port) for _ in range(CAP + 3)]
    for client in clients:
        client.send(compute("long"))
    view = await balancer.sees("3 queued", lambda view: view["queued"] == 3)
    assert (view["in_flight"], view["workers"][0]["in_flight"]) == (CAP, CAP)
    assert view["totals"]["client_connections"] == CAP + 3
    for client in clients:
        client.close()
    view = await balancer.sees("nobody", lambda v: not v["totals"]["client_connections"])
    assert (view["in_flight"], view["queued"]) == (0, 0)
    assert view["totals"]["clients_gone"] == CAP + 3


async def test_load_on_the_data_port_does_not_silence_it(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.01)
    spec = pool(*(worker.address for worker in workers))
    balancer = await programs.balancer(spec, max_connections=64)
    async with Load(balancer.port, 64) as load:  # as many as may be connected
        await load.more(64)
        slowest = 0.0
        for path in ("/healthz", "/readyz", "/workers") * 10:
            slowest = max(slowest, await _seconds(balancer, path))
    assert load.failures == []
    print(f"slowest answer of the admin port under load: {slowest * 1000:.0f} ms")
    assert slowest < 5  # most of it is the clients', in this process; and machines are busy


async def test_the_data_port_reserves_no_path(programs: Programs) -> None:
    (worker,) = await programs.workers(1, name="the-worker")
    balancer = await programs.balancer(pool(worker.address))
    async with await Connection.open(balancer.port) as connection:
        for path in ("/healthz", "/readyz", "/ping", "/status", "/docs"):
            answer = await connection.ask(get(path))
            assert (answer.status, answer.headers["via"]) == (200, "1.1 leastwise")
        missing = await connection.ask(get("/workers"))
        assert missing.status == 404  # the worker's word


SECRETS = ("the-admin-token-0123", "the-api-token-456789")

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: it, user: me, namespace: default}}}}]
clusters: [{{name: it, cluster: {{server: "http://{address}"}}}}]
users: [{{name: me, user: {{token: the-api-token-456789}}}}]
"""


@pytest.mark.parametrize("source", ["variable", "file"])
async def test_no_secret_shows_in_a_view_or_in_the_log(programs: Programs, source: str) -> None:
    token = SECRETS[0]
    programs.tracebacks = True
    kubeconfig, secret = programs.folder / "kubeconfig", programs.folder / "token"
    kubeconfig.write_text(KUBECONFIG.format(address=f"{free_host()}:9"))
    flags: dict[str, object] = {"kubeconfig": kubeconfig, "log_level": "debug"}
    if source == "file":
        secret.write_text(token)
        flags["admin_token_file"] = secret
    else:
        programs.environment["LEASTWISE_ADMIN_TOKEN"] = token
    service = {"service": {"name": "worker", "port": "http"}}
    balancer = await programs.balancer(service, **flags)

    async def api_was_asked() -> bool:
        ready = await balancer.ask("/readyz?verbose")
        return any(watch["restarts"] for watch in ready.json()["discovery"])

    await until("the Kubernetes API was asked in vain", api_was_asked)
    assert (await balancer.ask("/healthz")).status_code == 200
    paths = (await balancer.ask("/openapi.json", token)).json()["paths"]
    assert "/workers" in paths
    said = []
    for path in [
        *paths,
        "/",
        "/static/main.js",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/readyz?verbose",
        "/nowhere",
    ]:
        for given in (None, token, f"{token}x"):
            answer = await balancer.ask(path, given)
            is_open = path.partition("?")[0] in {"/healthz", "/readyz", "/", "/static/main.js"}
            assert (answer.status_code == 401) is (given != token and not is_open), path
            said.append(f"{answer.text} {answer.headers}")
    if source == "file":
        secret.unlink()
        assert (await balancer.ask("/workers", token)).status_code == 200
    balancer.signal(signal.SIGTERM)
    assert await balancer.end() == 0
    for secret_text in SECRETS:
        assert secret_text not in "".join([*said, balancer.stderr(), balancer.stdout()])


async def test_a_bad_token_is_told_and_not_shown(programs: Programs) -> None:
    secret = programs.folder / "token"
    secret.write_text("hunter2")
    config = programs.folder / "pool.yaml"
    write_pool(config, pool("127.0.0.1:9"))
    balancer = await programs.start_balancer(config, admin_token_file=secret)
    assert await balancer.end() == 2
    assert "found a token of 7 characters, allowed: a token of 16" in balancer.stderr()
    assert "hunter2" not in balancer.stderr()


async def _seconds(balancer: Balancer, path: str) -> float:
    began = monotonic()
    async with asyncio.timeout(30):
        answer: httpx.Response = await balancer.ask(path)
    assert answer.status_code == 200
    return monotonic() - began
