"""A balancer that follows a simulated API server's WorkerPools, with workers in the test's loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from app.config.addresses import AddressPort
from app.config.settings import Settings
from app.runtime.balancer import Balancer
from tests.e2e.sim.apiserver import ApiServer
from tests.e2e.sim.faults import Faults
from tests.e2e.sim.store import Object, Store
from tests.integration.waiting import LIMIT, eventually
from tests.unit.discovery.api import kubeconfig

NAMESPACE = "shop"
ANY = AddressPort("127.0.0.1", 0)


class Worker:
    """Answers with its name; requests for `/hold` wait for `release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.running = 0
        self.peak = 0
        self.release = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            if request.path.endswith("/hold"):
                await self.release.wait()
        finally:
            self.running -= 1
        return web.Response(text=self.name)


class Rig:
    """The API server, the balancer, its workers and a client."""

    def __init__(self, api: ApiServer, balancer: Balancer, client: httpx.AsyncClient) -> None:
        self.api, self.balancer, self.client = api, balancer, client
        self._stack = AsyncExitStack()
        self._url = f"http://127.0.0.1:{api.port}/apis/leastwise.io/v1alpha1/namespaces/{NAMESPACE}"

    async def worker(self, service: str) -> Worker:
        """Start one, the only one of its Service."""
        worker = Worker(service)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", worker.handle)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        worker.port = runner.addresses[0][1]
        self.api.store.create("endpointslices", slice_of(service, worker.port))
        return worker

    async def apply(self, name: str, **spec: Any) -> httpx.Response:
        """Create or replace a WorkerPool; its Service has its name if none is given."""
        spec = {"service": {"name": name, "port": "http"}} | spec
        pool = {"metadata": {"name": name}, "spec": spec}
        answer = await self.client.post(f"{self._url}/workerpools", json=pool)
        if answer.status_code == 409:
            answer = await self.client.put(f"{self._url}/workerpools/{name}", json=pool)
        return answer

    async def delete(self, name: str) -> None:
        (await self.client.delete(f"{self._url}/workerpools/{name}")).raise_for_status()

    def spoil(self, name: str, **spec: Any) -> None:
        """Write a spec past the API server's validation, as an older CRD would let it through."""
        obj = self.api.store.get("workerpools", NAMESPACE, name)
        assert obj is not None
        obj["spec"] |= spec
        obj["metadata"]["generation"] += 1
        self.api.store.update("workerpools", obj)

    async def get(self, path: str = "/", host: str = "") -> httpx.Response:
        headers = {"Host": host} if host else {}
        url = f"http://127.0.0.1:{self.balancer.ports[0]}{path}"
        return await self.client.get(url, headers=headers)

    async def admin(self, path: str) -> Any:
        return (await self.client.get(f"http://127.0.0.1:{self.balancer.ports[1]}{path}")).json()

    def served(self) -> dict[str, bool]:
        """Whether each pool has a worker in rotation."""
        return {each.pool.name: bool(each.pool.rotation) for each in self.balancer.pools.served}

    async def serves(self, *names: str) -> None:
        """Wait until these pools and no others are served, each with its worker."""
        wanted = dict.fromkeys(names, True)
        await eventually(lambda: self.served() == wanted, f"{names} are served")


def slice_of(service: str, port: int) -> Object:
    return {
        "metadata": {
            "name": f"{service}-1",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"{service}-0", "uid": f"uid-{service}"},
            }
        ],
    }


@asynccontextmanager
async def running(folder: Path, balancer_name: str = "lb", **more: Any) -> AsyncIterator[Rig]:
    """Run all of it, with no pool yet; `more` are further settings."""
    api = ApiServer(Store(), Faults(), on_delete_pod=lambda _name, _grace: None)
    await api.start()
    config = kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{api.port}")
    settings = Settings(
        balancer=balancer_name, listen=ANY, admin_listen=ANY, namespace=NAMESPACE,
        kubeconfig=config, **more,
    )  # fmt: skip
    balancer = Balancer(settings, None)
    task = asyncio.create_task(balancer.run())
    limits = httpx.Limits(max_connections=200)
    try:
        async with httpx.AsyncClient(limits=limits, timeout=LIMIT, trust_env=False) as client:
            rig = Rig(api, balancer, client)
            async with rig._stack:
                await eventually(lambda: balancer.pools.known, "the pools are known")
                yield rig
                balancer.stop()
                await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.stop()
