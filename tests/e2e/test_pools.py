"""WorkerPools in a simulated cluster: two balancers with an operator each, and requests all along.

What the criteria of the operator ask for, each said with its figure at the end of its test.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGKILL
from statistics import median
from time import monotonic
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.interface import Request, until
from tests.e2e.simulated import SimulatedCluster

pytestmark = pytest.mark.sim_only

PATIENCE = 60.0
TASK_SECONDS = 0.2
CAP = 4
REPEATABLE = {"retry": {"nonIdempotent": True, "refusedStatuses": [503]}}


class Pools:
    """The cluster, and kubectl's part for WorkerPools."""

    def __init__(self, cluster: SimulatedCluster, client: httpx.AsyncClient) -> None:
        self.cluster, self._client = cluster, client
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]["server"]
        self._url = f"{server}/apis/leastwise.io/v1alpha1/namespaces/leastwise/workerpools"
        self._events = f"{server}/apis/events.k8s.io/v1/namespaces/leastwise/events"

    async def apply(self, name: str, service: str, **spec: Any) -> None:
        """`kubectl apply`."""
        spec = (
            {"service": {"name": service, "port": "http"}, "maxInFlight": CAP} | REPEATABLE | spec
        )
        body = {"metadata": {"name": name}, "spec": spec}
        answer = await self._client.post(self._url, json=body)
        if answer.status_code == 409:
            answer = await self._client.put(f"{self._url}/{name}", json=body)
        assert answer.is_success, answer.text

    async def patch(self, name: str, **spec: Any) -> httpx.Response:
        """`kubectl patch --type merge`."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return await self._client.patch(f"{self._url}/{name}", json={"spec": spec}, headers=headers)

    async def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self._client.get(f"{self._url}/{name}")).json()
        return found

    async def delete(self, name: str) -> None:
        await self._client.delete(f"{self._url}/{name}")

    async def delete_all(self) -> None:
        for pool in (await self._client.get(self._url)).json()["items"]:
            await self.delete(pool["metadata"]["name"])

    async def events(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self._client.get(self._events)).json()["items"]
        return items

    async def served(self, balancer: str = "lb") -> list[dict[str, dict[str, Any]]]:
        """What each replica of a balancer serves, by the pools' names."""
        targets = self.cluster.targets("targets" if balancer == "lb" else f"targets-{balancer}")
        views = []
        for target in targets:
            host, _, port = target.rpartition(":")
            answer = await self._client.get(f"http://{host}:{int(port) + 1}/pools")
            views.append({pool["name"]: pool for pool in answer.json()["pools"]})
        return views

    async def serve(self, balancer: str, **workers: int) -> None:
        """Wait until each replica serves these pools, with so many workers in rotation."""

        async def check() -> bool:
            views = await self.served(balancer)
            return bool(views) and all(
                {n: sum(w["in_rotation"] for w in pool["workers"]) for n, pool in view.items()}
                == workers
                for view in views
            )

        await until(f"{balancer} serves {workers}", check, limit=PATIENCE)

    async def caps(self, name: str) -> set[int]:
        return {view[name]["max_in_flight"] for view in await self.served()}

    async def condition(self, name: str, kind: str) -> tuple[str, str]:
        status = (await self.get(name)).get("status", {})
        found = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", ())}
        return found.get(kind, ("", ""))

    async def becomes(self, name: str, kind: str, status: str, reason: str) -> float:
        """Wait until a condition is so; return the seconds that it took."""
        began = monotonic()

        async def check() -> bool:
            return await self.condition(name, kind) == (status, reason)

        try:
            await until(f"{kind} of {name} is {reason}", check, limit=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {await self.condition(name, kind)}") from None
        return monotonic() - began

    async def requests_of(self, name: str, balancer: str = "lb") -> int:
        """How many requests the pool's workers have had."""
        views = await self.served(balancer)
        return sum(w["requests"] for view in views for w in view[name]["workers"])


@pytest.fixture(scope="module")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pools]:
    async with (
        SimulatedCluster.started(tmp_path_factory.mktemp("pools")) as cluster,
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        sets = {"alpha": 2, "beta": 2}
        await cluster.operate(
            "release", name="lb", workers=sets, balancers=2, task_seconds=TASK_SECONDS
        )
        await cluster.operate(
            "release", name="lc", workers={"gamma": 1}, balancers=1, task_seconds=TASK_SECONDS
        )

        async def ready() -> bool:
            settled = (await cluster.state())["settled"]
            return all(settled.values())

        await until("all pods are ready", ready, limit=3 * PATIENCE, pause=0.5)
        yield Pools(cluster, client)


@pytest.fixture
async def pools(installed: Pools) -> AsyncIterator[Pools]:
    yield installed
    await installed.delete_all()
    await installed.serve("lb")
    await installed.serve("lc")


@asynccontextmanager
async def nothing_lost(pools: Pools, **load: Any) -> AsyncIterator[list[Request]]:
    """Send requests all the time; at the end each has its answer."""
    requests: list[Request] = []
    async with pools.cluster.load(**load) as running:

        async def answered(count: int) -> None:
            before = len(await running.requests())

            async def more() -> bool:
                return len(await running.requests()) >= before + count

            await until(f"{count} more are answered", more, limit=PATIENCE)

        await answered(10)
        yield requests
        await answered(20)
        requests += await running.stop()
    failed = [request for request in requests if request.error]
    assert not failed, f"{len(failed)} of {len(requests)} failed: {failed[:3]}"


async def test_pools_are_made_changed_broken_mended_and_deleted_under_load(pools: Pools) -> None:
    await pools.apply("main", "alpha", balancer="lb")
    await pools.serve("lb", main=2)
    async with nothing_lost(pools, clients=8) as requests:
        await pools.apply("other", "beta", balancer="lb", routes=[{"host": "b.example"}])
        await pools.serve("lb", main=2, other=2)
        assert (await pools.patch("main", queue={"size": 500})).is_success
        refused = await pools.patch("main", maxInFlight=0)
        assert (refused.status_code, "spec.maxInFlight" in refused.text) == (422, True)
        assert (await pools.patch("main", service={"name": "nowhere"})).is_success
        await pools.becomes("main", "ResolvedRefs", "False", "ServiceNotFound")
        assert (await pools.patch("main", service={"name": "beta"})).is_success
        await pools.becomes("main", "Ready", "True", "InForce")
        # The whole moves to another pool, and the first one goes while it has requests.
        assert (await pools.patch("other", routes=[])).is_success
        await pools.becomes("other", "Accepted", "False", "RouteConflict")
        await pools.delete("main")
        await pools.becomes("other", "Accepted", "True", "Accepted")
        await pools.serve("lb", other=2)
    print(f"{len(requests)} requests, 0 failed")


async def test_a_cap_that_is_lowered_live_is_in_force_within_100_ms(pools: Pools) -> None:
    await pools.apply("main", "alpha", balancer="lb")
    await pools.serve("lb", main=2)
    took = []
    async with nothing_lost(pools, clients=12):
        for cap in (2, 4, 1, 3, 2):
            began = monotonic()
            assert (await pools.patch("main", maxInFlight=cap)).is_success
            while await pools.caps("main") != {cap}:
                await asyncio.sleep(0.002)
            took.append(monotonic() - began)
    print(f"in force in both replicas after {[f'{1000 * t:.0f} ms' for t in took]}")
    assert median(took) < 0.1


async def test_two_pools_by_host_and_by_path(pools: Pools) -> None:
    await pools.apply("rest", "alpha", balancer="lb")
    await pools.apply("hosted", "beta", balancer="lb", routes=[{"host": "b.example"}])
    await pools.serve("lb", rest=2, hosted=2)
    async with nothing_lost(pools, clients=4) as requests:
        pass
    assert await pools.requests_of("rest") == len(requests)
    async with nothing_lost(pools, clients=4, host="b.example") as requests:
        pass
    assert await pools.requests_of("hosted") == len(requests)
    before = await pools.requests_of("hosted")
    await pools.apply("hosted", "beta", balancer="lb", routes=[{"pathPrefix": "/compute"}])

    async def routed() -> bool:
        return all(view["hosted"]["routes"] == ["*/compute"] for view in await pools.served())

    await until("the route is in force", routed, limit=PATIENCE)
    async with nothing_lost(pools, clients=4) as requests:
        pass
    assert await pools.requests_of("hosted") == before + len(requests)


async def test_two_releases_in_one_namespace(pools: Pools) -> None:
    await pools.apply("mine", "alpha", balancer="lb")
    await pools.apply("theirs", "gamma", balancer="lc")
    await pools.serve("lb", mine=2)
    await pools.serve("lc", theirs=1)
    async with (
        nothing_lost(pools, clients=3, targets="targets-lc") as theirs,
        nothing_lost(pools, clients=3) as mine,
    ):
        await pools.becomes("mine", "Ready", "True", "InForce")
        await pools.becomes("theirs", "Ready", "True", "InForce")
    assert await pools.requests_of("mine") == len(mine)
    assert await pools.requests_of("theirs", "lc") == len(theirs)
    await pools.apply("lost", "alpha", balancer="ld")
    await pools.becomes("lost", "ResolvedRefs", "False", "BalancerNotFound")


async def test_the_operator_is_killed_and_no_request_notices(pools: Pools) -> None:
    await pools.apply("main", "alpha", balancer="lb")
    await pools.becomes("main", "Ready", "True", "InForce")
    async with nothing_lost(pools, clients=6) as requests:
        [name] = [n for n in (await pools.cluster.state())["pods"] if n.startswith("lb-operator")]
        await pools.cluster.signal(name, SIGKILL)
        assert (await pools.patch("main", maxInFlight=2)).is_success  # in force without it

        async def in_force() -> bool:
            return await pools.caps("main") == {2}

        await until("the cap is in force", in_force, limit=PATIENCE)

        async def told() -> bool:
            return bool((await pools.get("main"))["status"]["observedGeneration"] == 2)

        await until("the status is of the new generation", told, limit=PATIENCE)
    print(f"{len(requests)} requests, 0 failed")


async def test_a_status_converges_within_5_s_and_then_is_left_alone(pools: Pools) -> None:
    took = []
    await pools.apply("main", "alpha", balancer="lb")
    await pools.becomes("main", "Ready", "True", "InForce")
    for service, kind, status, reason in (
        ("nowhere", "ResolvedRefs", "False", "ServiceNotFound"),
        ("beta", "Ready", "True", "InForce"),
        ("nowhere", "ResolvedRefs", "False", "ServiceNotFound"),
        ("alpha", "Ready", "True", "InForce"),
    ):
        assert (await pools.patch("main", service={"name": service})).is_success
        took.append(await pools.becomes("main", kind, status, reason))
    print(f"told after {[f'{t:.1f} s' for t in took]}")
    assert median(took) < 5.0

    async def summary() -> bool:
        status = (await pools.get("main"))["status"]
        return bool(status["endpoints"]["summary"] == "2/2" and status["queued"] == 0)

    await until("all workers are in rotation", summary, limit=PATIENCE)
    before = await pools.get("main")
    await asyncio.sleep(7.0)  # three rounds in which nothing happens: there is nothing to wait for
    after = await pools.get("main")
    assert after == before
    metadata = after["metadata"]
    assert "annotations" not in metadata
    assert "finalizers" not in metadata
    written = set(await pools.cluster.operate("writes"))
    ours = {"patch workerpools/status", "create events", "patch events"}
    assert written - ours == {"create workerpools", "update workerpools", "patch workerpools"}


async def test_a_worker_that_dies_again_and_again_makes_a_few_events(pools: Pools) -> None:
    await pools.apply("main", "alpha", balancer="lb")
    await pools.becomes("main", "Ready", "True", "InForce")
    async with nothing_lost(pools, clients=6):
        for times in range(1, 4):
            await pools.cluster.signal("alpha-0", SIGKILL)

            async def again(times: int = times) -> bool:
                pod = (await pools.cluster.pods("alpha"))["alpha-0"]
                return pod.restarts >= times and pod.ready

            await until("alpha-0 is back", again, limit=PATIENCE)
            await pools.serve("lb", main=2)

    async def counted() -> bool:
        uid = (await pools.get("main"))["metadata"]["uid"]
        mine = [e for e in await pools.events() if e["regarding"]["uid"] == uid]
        reasons = [event["reason"] for event in mine]
        return sorted(reasons) == ["WorkerEjected", "WorkerReturned"] and all(
            event.get("series", {}).get("count", 1) >= 2 for event in mine
        )

    try:
        await until("two Events tell of all of it", counted, limit=PATIENCE)
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {await pools.events()}") from None
