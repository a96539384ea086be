"""What the simulated cluster has for balancers that act as one: their settings, their network."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.discovery.credentials import connect
from app.discovery.leases import LeaseApi
from app.discovery.source import Conflict
from tests.e2e.interface import until
from tests.e2e.sim.cluster import Cluster
from tests.e2e.sim.links import behind
from tests.e2e.sim.templates import CAP, NAMESPACE

POOL = {"service": {"name": "worker", "port": "http"}, "maxInFlight": CAP}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster with a worker that does not refuse, and three balancers that act as one."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    await cluster.start()
    cluster.install(
        POOL,
        workers=1,
        balancers=3,
        task_seconds=0.1,
        environment={"LEASTWISE_LOG_LEVEL": "debug"},
        peers=True,
        fronted=True,
        refusing=False,
    )
    try:
        yield cluster
    finally:
        await cluster.stop()


def variables_of(pid: int | None) -> dict[str, str]:
    """Return the variables of a balancer's process; none before it has begun."""
    if pid is None or b"serve" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        return {}
    parts = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(part.split("=", 1) for part in parts if part)


async def running(cluster: Cluster, name: str) -> dict[str, str]:
    """Wait until that pod's process runs; return its variables."""

    async def variables() -> dict[str, str]:
        return variables_of(cluster.state()["pods"][name]["pid"])

    return await until(f"{name} runs", variables)


def balancers(cluster: Cluster) -> list[str]:
    return [name for name, pod in cluster.state()["pods"].items() if pod["role"] == "lb"]


async def test_each_balancer_knows_what_it_is(cluster: Cluster) -> None:
    files = set()
    for name in balancers(cluster):
        told, pod = await running(cluster, name), cluster.state()["pods"][name]
        assert told["LEASTWISE_PEERS"] == "lb"
        assert told["LEASTWISE_POD_NAME"] == name
        assert told["LEASTWISE_POD_UID"] == pod["uid"]
        assert told["LEASTWISE_POD_IP"] == pod["address"]
        host, _, port = told["LEASTWISE_PEER_LISTEN"].rpartition(":")
        assert host == behind(pod["address"])
        assert int(port) == cluster.workloads["lb"].template.port + 2
        assert told["LEASTWISE_LOG_LEVEL"] == "debug"
        files.add(told["LEASTWISE_PEER_SECRET_FILE"])
    assert files == {str(cluster.folder / "peer-secret")}
    assert len((cluster.folder / "peer-secret").read_text()) >= 40


async def test_a_balancer_that_was_killed_is_the_same_pod(cluster: Cluster) -> None:
    name = balancers(cluster)[0]
    before = await running(cluster, name)
    pid = cluster.state()["pods"][name]["pid"]
    assert cluster.kill(name)

    async def another() -> bool:
        return cluster.state()["pods"][name]["pid"] not in {None, pid}

    await until("it runs again", another)
    after = await running(cluster, name)
    for variable in ("LEASTWISE_POD_UID", "LEASTWISE_POD_IP", "LEASTWISE_PEER_LISTEN"):
        assert after[variable] == before[variable]


async def test_the_api_tells_of_a_pod_until_it_is_deleted_with_force(cluster: Cluster) -> None:
    path = f"http://127.0.0.1:{cluster.api.port}/api/v1/namespaces/{NAMESPACE}/pods"
    name = balancers(cluster)[-1]
    await running(cluster, name)
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        told = (await client.get(f"{path}/{name}")).json()["metadata"]
        assert told["uid"] == cluster.state()["pods"][name]["uid"]
        cluster.delete_pod(name, force=True)
        gone = await client.get(f"{path}/{name}")
        assert (gone.status_code, gone.json()["details"]["name"]) == (404, name)


async def test_the_lease_is_where_the_replicas_look_for_it(cluster: Cluster) -> None:
    api = LeaseApi(partial(connect, cluster.kubeconfig), namespace=NAMESPACE, name="test")
    try:
        assert await api.read() is None
        made = await api.create({"metadata": {}, "spec": {"holderIdentity": ""}})
        stored = await api.replace(made | {"spec": {"holderIdentity": "x"}})
        assert await api.read() == stored
        with pytest.raises(Conflict):
            await api.replace(made)
        name = balancers(cluster)[0]
        assert await api.pod_uid(name) == cluster.state()["pods"][name]["uid"]
        assert await api.pod_uid("lb-nobody") is None
    finally:
        await api.close()


async def test_a_partition_cuts_one_off_from_those_that_are_named(cluster: Cluster) -> None:
    one, other, third = balancers(cluster)[:3]
    addresses = {name: cluster.state()["pods"][name]["address"] for name in (one, other, third)}
    port = cluster.workloads["lb"].template.port + 2
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line.startswith(b"test "):  # other balancers may come here, too
            heard.put_nowait(line)
        writer.close()

    async def say(text: bytes, *dialers: str) -> None:
        for dialer in dialers:
            source = (addresses[dialer], 0)
            _, writer = await asyncio.open_connection(addresses[one], port, local_addr=source)
            writer.write(text)
            writers.append(writer)

    async def ended() -> bool:
        return cluster.state()["pods"][one]["pid"] is None

    # In the place of the balancer's own peer port, whose protocol is another room's business.
    await running(cluster, one)
    assert cluster.kill(one, restart_after=60.0)
    await until("it has ended", ended)
    host = behind(addresses[one])
    async with asyncio.timeout(20), await asyncio.start_server(listen, host, port):
        cluster.partition(one, [other])
        await say(b"test held\n", other)
        await say(b"test through\n", third)
        assert await heard.get() == b"test through\n"
        assert cluster.held() >= 1
        cluster.heal()
        assert await heard.get() == b"test held\n"
        cluster.partition(one)
        await say(b"test both\n", other, third)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await heard.get()
        cluster.heal()
        assert [await heard.get(), await heard.get()] == [b"test both\n"] * 2
        for writer in writers:
            writer.close()


async def test_workers_that_do_not_refuse_count_what_passes_the_cap(cluster: Cluster) -> None:
    async def ready() -> bool:
        return bool(cluster.state()["pods"]["worker-0"]["ready"])

    await until("the worker is ready", ready)
    pod = cluster.state()["pods"]["worker-0"]
    url = f"http://{pod['address']}:{cluster.workloads['worker'].template.port}"
    body = {"payload": "a", "seconds": 0.5}
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as client:
        answers = await asyncio.gather(
            *(client.post("/compute", json=body) for _ in range(CAP + 2))
        )
        assert [answer.status_code for answer in answers] == [200] * (CAP + 2)
        assert (await client.get("/status")).json()["peak"] > CAP
    [journal] = cluster.folder.glob("worker-0.*.journal")
    counts = [json.loads(line)["in_flight"] for line in journal.read_text().splitlines()]
    assert max(counts) == CAP + 2
