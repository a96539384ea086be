"""A Service followed at a real HTTP server, with what goes wrong there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.config.workerpool import ServiceSpec
from app.discovery.kubernetes import KubernetesDiscovery
from app.discovery.list_watch import Limits
from tests.unit.discovery.api import Api
from tests.unit.discovery.told import QUICK, Told, until
from tests.unit.discovery.wire import entry, slice_of

WORKER = ServiceSpec(name="worker", port="http")


@asynccontextmanager
async def following(
    file: Path, service: ServiceSpec = WORKER, limits: Limits = QUICK
) -> AsyncIterator[tuple[KubernetesDiscovery, Told]]:
    told = Told()
    discovery = KubernetesDiscovery(service, None, told, kubeconfig=file, limits=limits)
    task = asyncio.create_task(discovery.run())
    try:
        async with asyncio.timeout(20):
            yield discovery, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_service_is_followed(api: Api, file: Path) -> None:
    for number in range(25):  # five pages
        api.put(slice_of(f"s-{number}", entry(f"w-{number}", f"10.0.0.{number}")))
    async with following(file) as (discovery, told):
        await until(lambda: told.snapshots)
        assert len(told.snapshots[0]) == 25
        assert discovery.condition.name == "EndpointSlices of Service worker"
        await api.watching.wait()
        for number in range(2, 25):
            api.remove(f"s-{number}")
        await told.until("w-0 10.0.0.0", "w-1 10.0.0.1")
        api.put(slice_of("s-1", entry("w-1", "10.0.0.9")))
        await told.until("w-0 10.0.0.0", "w-1 10.0.0.9")
        assert api.requests[0].query["labelSelector"] == "kubernetes.io/service-name=worker"
        assert api.asked == ["list"] * 5 + ["watch 125"]


async def test_an_empty_service_is_told_and_complained_of(
    api: Api, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(file) as (discovery, told):
        await told.until()
        assert discovery.condition.synced
        await api.watching.wait()
        api.put(slice_of("s-1", entry("w-0", "10.0.0.1"), ports=[("web", 80), ("x", 1)]))
        await until(lambda: len(caplog.records) > 1)
    of_it = "EndpointSlices of Service worker: it"
    assert [record.getMessage() for record in caplog.records] == [
        f"{of_it} has no EndpointSlices: is there such a Service, with a selector?",
        f"{of_it} has no port http: its pods' ports are web (80), x (1)",
    ]


async def test_a_change_that_says_nothing_of_the_endpoints_is_not_told(
    api: Api, file: Path
) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    async with following(file) as (_, told):
        await told.until("w-0 10.0.0.1")
        await api.watching.wait()
        api.put(slice_of("s-1", entry("w-0", "10.0.0.1") | {"hints": {}}))
        api.put(slice_of("s-2", entry("w-1", "10.0.0.2")))
        await told.until("w-0 10.0.0.1", "w-1 10.0.0.2")
        assert len(told.snapshots) == 2


async def test_an_outage_and_what_vanished_meanwhile(api: Api, file: Path) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    api.put(slice_of("s-2", entry("w-1", "10.0.0.2")))
    async with following(file) as (discovery, told):
        await told.until("w-0 10.0.0.1", "w-1 10.0.0.2")
        await api.watching.wait()
        api.refusal = (500, "etcd is away")
        api.write(b"")
        await until(lambda: discovery.condition.restarts > 3)
        assert "etcd is away" in discovery.condition.last_error
        assert not discovery.condition.watching
        api.objects.pop("s-1")
        api.refusal = None
        await told.until("w-1 10.0.0.2")
        assert len(told.snapshots) == 2


async def test_silence(api: Api, file: Path) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    async with following(file, limits=Limits(silence=0.05, spacing=0, pause=0.001)) as (_, told):
        await told.until("w-0 10.0.0.1")
        await api.watching.wait()
        api.objects["s-1"] = slice_of("s-1", entry("w-9", "10.0.0.9"))  # not told by an event
        await told.until("w-9 10.0.0.9")


async def test_gone(api: Api, file: Path) -> None:
    async with following(file) as (_, told):
        await told.until()
        await api.watching.wait()
        api.objects["s-1"] = slice_of("s-1", entry("w-9", "10.0.0.9"))
        api.say({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        await told.until("w-9 10.0.0.9")


async def test_a_missing_role_is_said_once(
    api: Api, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api.refusal = (403, "no")
    async with following(file) as (discovery, told):
        await until(lambda: discovery.condition.restarts > 3)
        assert told.snapshots == []
        assert not discovery.condition.synced
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "bind a Role in namespace shop" in record.getMessage()
    assert record.exc_info is None
