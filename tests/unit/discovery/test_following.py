"""How one source of endpoints takes another's place, at a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.config.workerpool import PoolSpec, ServiceSpec
from app.discovery.following import Apply, Discovery
from app.discovery.kubernetes import KubernetesDiscovery
from tests.unit.discovery.api import Api
from tests.unit.discovery.told import QUICK, Told, until
from tests.unit.discovery.wire import entry, slice_of


class Rig:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.told = Told()
        self.made: list[KubernetesDiscovery] = []

    def make(self, service: ServiceSpec, apply: Apply) -> KubernetesDiscovery:
        made = KubernetesDiscovery(service, None, apply, kubeconfig=self.file, limits=QUICK)
        self.made.append(made)
        return made


def spec(**source: Any) -> PoolSpec:
    return PoolSpec.model_validate(source)


SERVICE = spec(service={"name": "worker", "port": "http"})
LISTED = spec(endpoints=["10.9.0.1:80"])


@asynccontextmanager
async def discovering(file: Path, first: PoolSpec) -> AsyncIterator[tuple[Discovery, Rig]]:
    rig = Rig(file)
    discovery = Discovery(first, rig.told, rig.make)
    task = asyncio.create_task(discovery.run())
    try:
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
            yield discovery, rig
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_from_a_list_to_a_service_when_it_is_known(api: Api, file: Path) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    api.refusal = (403, "not yet")
    async with discovering(file, LISTED) as (discovery, rig):
        await rig.told.until("10.9.0.1:80 10.9.0.1")
        discovery.replace(SERVICE)
        assert discovery.condition is rig.made[0].condition
        await until(lambda: rig.made[0].condition.restarts > 2)
        assert rig.told.last == ["10.9.0.1:80 10.9.0.1"]
        api.refusal = None
        await rig.told.until("w-0 10.0.0.1")
        assert rig.told.snapshots == [["10.9.0.1:80 10.9.0.1"], ["w-0 10.0.0.1"]]


async def test_from_a_service_to_a_list(api: Api, file: Path) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    async with discovering(file, SERVICE) as (discovery, rig):
        await rig.told.until("w-0 10.0.0.1")
        await api.watching.wait()
        discovery.replace(LISTED)
        await rig.told.until("10.9.0.1:80 10.9.0.1")
        assert discovery.condition is None
        await until(lambda: not api.watching.is_set())


async def test_from_a_service_to_names_that_nobody_knows(
    api: Api, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, *rest: Any, **more: Any) -> Any:
        if host != "nowhere.example":
            return await truly(host, *rest, **more)
        asked.set()
        raise OSError("no such name")

    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    truly = loop.getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", resolve, raising=False)
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    async with discovering(file, SERVICE) as (discovery, rig):
        await rig.told.until("w-0 10.0.0.1")
        await api.watching.wait()
        discovery.replace(spec(endpoints=["nowhere.example:80"]))
        await asked.wait()
        api.put(slice_of("s-1", entry("w-1", "10.0.0.2")))  # still followed
        await rig.told.until("w-1 10.0.0.2")


async def test_from_one_service_to_another(api: Api, file: Path) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1"), ports=[("http", 80), ("alt", 81)]))
    async with discovering(file, SERVICE) as (discovery, rig):
        await rig.told.until("w-0 10.0.0.1")
        await api.watching.wait()
        discovery.replace(spec(service={"name": "worker", "port": "alt"}))
        await until(lambda: len(rig.told.snapshots) == 2)
        assert len(rig.made) == 2
        await until(lambda: api.asked.count("watch 101") == 2)
        api.put(slice_of("s-1", entry("w-1", "10.0.0.2"), ports=[("alt", 81)]))
        await rig.told.until("w-1 10.0.0.2")


async def test_the_same_service_again_changes_nothing(api: Api, file: Path) -> None:
    async with discovering(file, SERVICE) as (discovery, rig):
        discovery.replace(SERVICE)
        await rig.told.until()
        discovery.replace(SERVICE)
        assert len(rig.made) == 1


async def test_a_change_that_is_taken_back_before_it_came_into_force(api: Api, file: Path) -> None:
    api.refusal = (403, "not yet")
    async with discovering(file, LISTED) as (discovery, rig):
        await rig.told.until("10.9.0.1:80 10.9.0.1")
        discovery.replace(SERVICE)
        await until(lambda: rig.made[0].condition.restarts > 0)
        discovery.replace(spec(endpoints=["10.9.0.2:80"]))
        await rig.told.until("10.9.0.2:80 10.9.0.2")
        assert discovery.condition is None
        api.refusal = None
        restarts = rig.made[0].condition.restarts
        for _ in range(100):
            await asyncio.sleep(0)
        assert rig.made[0].condition.restarts == restarts
        assert not rig.made[0].condition.synced


async def test_a_change_before_the_start(file: Path) -> None:
    rig = Rig(file)
    discovery = Discovery(SERVICE, rig.told, rig.make)
    discovery.replace(LISTED)
    task = asyncio.create_task(discovery.run())
    async with asyncio.timeout(20):
        await rig.told.until("10.9.0.1:80 10.9.0.1")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.made == []
