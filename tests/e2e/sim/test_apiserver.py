"""The API server of the simulated cluster, against what Kubernetes documents."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.e2e.interface import until
from tests.e2e.sim.apiserver import ApiServer
from tests.e2e.sim.faults import Faults
from tests.e2e.sim.store import Store

PODS = "/api/v1/namespaces/x/pods"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer(Store(window=50), Faults(), on_delete_pod=lambda name, grace: None)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{api.port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as client:
        yield client


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "x", "labels": labels}}


async def watch(
    client: httpx.AsyncClient,
    count: int,
    version: int = 0,
    *,
    after: dict[int, Callable[[], object]] | None = None,
    **more: str,
) -> list[tuple[str, dict[str, Any]]]:
    """Return the first `count` events; fewer if the stream ends, or nothing more comes for 1.5 s.

    `after`: what to do after so many events.
    """
    events = []
    params = {"watch": "true", "resourceVersion": str(version)} | more
    try:
        async with asyncio.timeout(1.5), client.stream("GET", PODS, params=params) as stream:
            async for line in stream.aiter_lines():
                event = json.loads(line)
                events.append((event["type"], event["object"]))
                if after and len(events) in after:
                    after[len(events)]()
                if len(events) == count:
                    break
    except TimeoutError:
        pass
    return events


async def test_a_list_has_a_version_and_a_selector(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    api.store.create("pods", pod("a", app="worker"))
    api.store.create("pods", pod("b", app="lb"))
    answer = (await client.get(PODS, params={"labelSelector": "app=lb"})).json()
    assert answer["kind"] == "PodList"
    assert answer["metadata"]["resourceVersion"] == str(api.store.version)
    assert [item["metadata"]["name"] for item in answer["items"]] == ["b"]
    assert (await client.get("/api/v1/namespaces/y/pods")).json()["items"] == []
    assert len((await client.get("/api/v1/pods")).json()["items"]) == 2


async def test_the_pages_of_a_list_are_of_one_version(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    for name in "abcde":
        api.store.create("pods", pod(name))
    version = api.store.version
    names: list[str] = []
    token = ""
    while True:
        params = {"limit": "2"} | ({"continue": token} if token else {})
        page = (await client.get(PODS, params=params)).json()
        assert page["metadata"]["resourceVersion"] == str(version)
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
        if len(names) == 2:
            api.store.delete("pods", "x", "e")
    assert names == ["a", "b", "c", "d", "e"]
    lost = await client.get(PODS, params={"limit": "2", "continue": "unknown"})
    assert lost.status_code == 410


async def test_a_watch_tells_what_happened_after_its_version(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    store = api.store
    store.create("pods", pod("before"))
    version = store.version
    store.create("pods", pod("a"))
    store.update("pods", pod("a", app="x"))
    store.create("services", pod("other"))
    events = await watch(client, 3, version, after={2: lambda: store.delete("pods", "x", "a")})
    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in events]
    assert versions == sorted(versions)
    assert versions[0] > version


async def test_bookmarks_come_only_where_they_are_allowed(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    api.store.create("services", pod("other"))
    version = api.store.version
    assert await watch(client, 1, version) == []
    [(kind, obj)] = await watch(client, 1, version, allowWatchBookmarks="true")
    assert kind == "BOOKMARK"
    assert obj["kind"] == "Pod"
    assert obj["metadata"] == {"resourceVersion": str(version)}


async def test_a_version_outside_the_window_is_gone(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    api.store.create("pods", pod("a"))
    version = api.store.version
    api.store.compact()
    [(kind, obj)] = await watch(client, 5, version)
    assert (kind, obj["code"], obj["reason"]) == ("ERROR", 410, "Expired")
    version = api.store.version
    for number in range(60):
        api.store.create("pods", pod(f"n{number}"))
    assert [kind for kind, _ in await watch(client, 5, version)] == ["ERROR"]


async def test_the_faults(api: ApiServer, client: httpx.AsyncClient) -> None:
    version = api.store.version
    api.faults.set({"gone": "http"})
    assert (await client.get(PODS, params={"watch": "1"})).status_code == 410
    api.faults.set({"silent": True})
    api.store.create("pods", pod("a"))
    assert await watch(client, 1, version) == []
    api.faults.set({"drop_deleted": True})
    api.store.delete("pods", "x", "a")
    api.store.create("pods", pod("b"))
    assert [kind for kind, _ in await watch(client, 2, version)] == ["ADDED", "ADDED"]
    api.faults.set({"watch_seconds": 0.2})
    assert len(await watch(client, 9, version)) == 3
    api.faults.set({"error_status": 429})
    assert (await client.get(PODS)).status_code == 429


async def test_unreachable_ends_the_watches_and_refuses(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    watching = asyncio.create_task(watch(client, 1, api.store.version))

    async def begun() -> bool:
        return api.seen["watches"] > 0

    await until("the watch has begun", begun, pause=0)
    api.faults.set({"unreachable": True})
    await api.obey()
    with pytest.raises(httpx.TransportError):
        await watching
    with pytest.raises(httpx.ConnectError):
        await client.get(PODS)
    api.faults.set({})
    await api.obey()
    assert (await client.get(PODS)).is_success


async def test_objects_can_be_written(api: ApiServer, client: httpx.AsyncClient) -> None:
    made = (await client.post(PODS, json=pod("a"))).json()
    assert (await client.post(PODS, json=pod("a"))).status_code == 409
    made["metadata"]["labels"] = {"app": "x"}
    stored = await client.put(f"{PODS}/a", json=made)
    assert stored.is_success
    assert (await client.put(f"{PODS}/a", json=made)).status_code == 409
    await client.patch(f"{PODS}/a", json={"metadata": {"labels": {"app": None, "b": "c"}}})
    assert (await client.get(f"{PODS}/a")).json()["metadata"]["labels"] == {"b": "c"}
    assert (await client.get(f"{PODS}/b")).status_code == 404
    assert (await client.get("/api/v1/namespaces/x/unheardof")).status_code == 404


async def test_an_object_keeps_its_uid(client: httpx.AsyncClient) -> None:
    await client.post(PODS, json=pod("a"))
    refused = await client.patch(f"{PODS}/a", json={"metadata": {"uid": "other"}})
    assert refused.status_code == 422
    assert refused.json()["message"].startswith("metadata.uid: Invalid value")


async def test_a_status_is_not_kept_from_another_uid_but_by_a_test(
    client: httpx.AsyncClient,
) -> None:
    """As the status strategy of custom resources does: of the object it takes the status alone."""
    pools = "/apis/leastwise.io/v1alpha1/namespaces/x/workerpools"
    spec = {"service": {"name": "w", "port": 80}}
    made = (await client.post(pools, json={"metadata": {"name": "a"}, "spec": spec})).json()
    status = {"observedGeneration": 1, "observedAt": "2026-01-01T00:00:00Z", "conditions": [],
              "endpoints": {"summary": "0/0"}, "balancers": {}}  # fmt: skip
    merge = {"metadata": {"uid": "other"}, "status": status}
    told = (await client.patch(f"{pools}/a/status", json=merge)).json()
    assert told["metadata"]["uid"] == made["metadata"]["uid"]
    assert told["status"]["observedGeneration"] == 1
    for uid, code, generation in (("other", 422, 1), (made["metadata"]["uid"], 200, 2)):
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": status | {"observedGeneration": 2}},
        ]
        answer = await client.patch(
            f"{pools}/a/status",
            content=json.dumps(operations),
            headers={"Content-Type": "application/json-patch+json"},
        )
        assert answer.status_code == code
        stored = (await client.get(f"{pools}/a")).json()
        assert stored["status"]["observedGeneration"] == generation
    assert (await client.patch(f"{pools}/a/status", json={"status": None})).is_success
    assert "status" not in (await client.get(f"{pools}/a")).json()


async def test_a_missing_object_is_told_from_a_wrong_path(client: httpx.AsyncClient) -> None:
    told = (await client.get(f"{PODS}/a")).json()
    assert (told["reason"], told["details"]) == ("NotFound", {"name": "a", "kind": "pods"})
    elsewhere = await client.get("/api/v1/namespaces/x/unheardof/a")
    assert elsewhere.status_code == 404
    assert "details" not in elsewhere.json()


async def test_a_lease_is_compared_and_swapped(api: ApiServer, client: httpx.AsyncClient) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/x/leases"
    body: dict[str, Any] = {"metadata": {"name": "lb"}, "spec": {"leaseTransitions": 1}}
    made = await client.post(leases, json=body)
    assert made.status_code == 201
    assert (await client.post(leases, json=body)).status_code == 409
    lease = made.json()
    assert (lease["kind"], lease["apiVersion"]) == ("Lease", "coordination.k8s.io/v1")
    assert (await client.get(f"{leases}/lb")).json() == lease
    lease["spec"]["leaseTransitions"] = 2
    stored = await client.put(f"{leases}/lb", json=lease)
    assert stored.json()["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]
    assert (await client.put(f"{leases}/lb", json=lease)).status_code == 409
    assert (await client.put(f"{leases}/lb", json=body)).status_code == 422
    assert api.writes == ["create leases"] * 2 + ["update leases"] * 3
    assert (await client.delete(f"{leases}/lb")).is_success
    gone = await client.put(f"{leases}/lb", json=stored.json())
    assert (gone.status_code, gone.json()["details"]["name"]) == (404, "lb")


async def test_hung_requests_are_done_when_it_is_over(
    api: ApiServer, client: httpx.AsyncClient
) -> None:
    api.faults.set({"hung": True})
    asking = asyncio.create_task(client.post(PODS, json=pod("a")))
    await asyncio.wait([asking], timeout=0.1)
    assert not asking.done()
    assert api.writes == []
    api.faults.set({})
    await api.obey()
    assert (await asking).status_code == 201
