"""A balancer whose pool is a Service: from an event of the API server to a request's worker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.config.addresses import AddressPort
from app.config.loading import load_pool, parse_pool
from app.config.settings import Settings
from app.discovery.list_watch import Condition
from app.runtime.balancer import Balancer
from tests.unit.discovery.api import Api, kubeconfig, serving
from tests.unit.discovery.wire import entry, slice_of

ANY = AddressPort("127.0.0.1", 0)
SERVICE = "spec: {service: {name: worker, port: http}}"
LISTED = "spec: {endpoints: ['10.9.0.1:80']}"


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def failed_once(balancer: Balancer) -> Condition:
    """Wait until the watch has failed."""
    while not any(watch.restarts for watch in balancer.watches):
        await asyncio.sleep(0)
    (condition,) = balancer.watches
    return condition


class Rig:
    def __init__(self, balancer: Balancer, api: Api, client: httpx.AsyncClient) -> None:
        self.balancer, self.api, self.client = balancer, api, client

    async def ready(self, verbose: str = "") -> tuple[int, dict[str, Any]]:
        admin = self.balancer.ports[1]
        response = await self.client.get(f"http://127.0.0.1:{admin}/readyz{verbose}")
        return response.status_code, response.json()

    async def rotates(self, *names: str) -> None:
        """Wait until new requests may go to these."""
        pool = self.balancer.pool
        await until(lambda: {endpoint.name for endpoint in pool.rotation} == set(names))


@asynccontextmanager
async def balancing(tmp_path: Path, api: Api, pool: str) -> AsyncIterator[Rig]:
    file = tmp_path / "pool.yaml"
    file.write_text(pool)
    settings = Settings(
        config=file,
        listen=ANY,
        admin_listen=ANY,
        kubeconfig=kubeconfig(tmp_path / "config", api.url),
    )
    balancer = Balancer(settings, load_pool(file))
    running = asyncio.create_task(balancer.run())
    try:
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            await balancer.listening.wait()
            yield Rig(balancer, api, client)
    finally:
        balancer.stop()
        await running


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as api:
        yield api


async def test_it_is_ready_once_the_slices_were_read(tmp_path: Path, api: Api) -> None:
    api.refusal = (403, "may not")
    async with balancing(tmp_path, api, SERVICE) as rig:
        condition = await failed_once(rig.balancer)
        status, said = await rig.ready()
        assert status == 503
        assert said["status"] == "not ready"
        [reason] = said["reasons"]
        assert reason.startswith("the workers are not discovered yet: cannot list them (403: may")
        assert "discovery" not in said
        api.put(slice_of("s-1", entry("w-0", "10.0.0.1"), entry("w-1", "10.0.0.2")))
        api.refusal = None
        await rig.rotates("w-0", "w-1")
        assert await rig.ready() == (200, {"status": "ready", "reasons": []})
        # From then on, the API server may go.
        await until(lambda: condition.watching)
        api.refusal = (500, "away")
        api.write(b"")
        await until(lambda: not condition.watching)
        status, said = await rig.ready("?verbose")
        assert status == 200
        (told,) = said["discovery"]
        ago = told.pop("last_contact_seconds_ago")
        assert 0 <= ago < 30
        assert told["name"] == "EndpointSlices of Service worker"
        assert (told["synced"], told["watching"]) == (True, False)
        assert told["restarts"] >= 2
        assert told["last_error"].startswith("cannot watch them: ")
        assert {endpoint.name for endpoint in rig.balancer.pool.rotation} == {"w-0", "w-1"}


async def test_an_empty_service_is_ready_too(tmp_path: Path, api: Api) -> None:
    async with balancing(tmp_path, api, SERVICE) as rig:
        await api.watching.wait()
        assert (await rig.ready())[0] == 200
        assert rig.balancer.pool.rotation == set()


async def test_the_rotation_follows_the_slices(tmp_path: Path, api: Api) -> None:
    zero, one = entry("w-0", "10.0.0.1"), entry("w-1", "10.0.0.2")
    api.put(slice_of("s-1", zero, one))
    async with balancing(tmp_path, api, SERVICE) as rig:
        await rig.rotates("w-0", "w-1")
        await api.watching.wait()
        api.put(slice_of("s-1", zero, entry("w-1", "10.0.0.2", serving=False)))
        await rig.rotates("w-0")
        api.put(slice_of("s-1", entry("w-0", "10.0.0.1", terminating=True), one))
        await rig.rotates("w-1")
        api.put(slice_of("s-1", entry("w-0", "10.0.0.1", terminating=True)))
        await rig.rotates("w-0")  # the last one that serves
        api.put(slice_of("s-2", entry("w-2", "10.0.0.3")))
        await rig.rotates("w-2")
        api.remove("s-1")
        api.remove("s-2")
        await rig.rotates()
        assert rig.balancer.pool.endpoints == {}


async def test_a_request_reaches_the_pod(tmp_path: Path, api: Api) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="from the pod")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with balancing(tmp_path, api, SERVICE) as rig:
            await api.watching.wait()
            url = f"http://127.0.0.1:{rig.balancer.ports[0]}/"
            waiting = asyncio.create_task(rig.client.get(url))  # there is no pod yet
            await until(lambda: rig.balancer.pool.queued)
            api.put(slice_of("s-1", entry("w-0", "127.0.0.1"), ports=[("http", port)]))
            assert (await waiting).text == "from the pod"
    finally:
        await runner.cleanup()


async def test_a_file_that_turns_to_a_service_and_back(tmp_path: Path, api: Api) -> None:
    api.put(slice_of("s-1", entry("w-0", "10.0.0.1")))
    api.refusal = (403, "not yet")
    async with balancing(tmp_path, api, LISTED) as rig:
        await rig.rotates("10.9.0.1:80")
        known = {"status": "ready", "reasons": [], "discovery": []}
        assert (await rig.ready("?verbose"))[1] == known
        rig.balancer.pools.set_file(parse_pool(SERVICE.encode(), ""))
        await failed_once(rig.balancer)
        status, said = await rig.ready("?verbose")
        assert (status, [each["synced"] for each in said["discovery"]]) == (200, [False])
        await rig.rotates("10.9.0.1:80")
        api.refusal = None
        await rig.rotates("w-0")
        rig.balancer.pools.set_file(parse_pool(LISTED.encode(), ""))
        await rig.rotates("10.9.0.1:80")
        assert rig.balancer.watches == []
