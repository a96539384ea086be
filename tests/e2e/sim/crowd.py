"""Many pods without processes: one server on all addresses answers for each of them.

For the scenario with 1,000 endpoints. Each address counts its own tasks, as a worker does.
"""

import asyncio
import hashlib
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web


@dataclass(slots=True)
class Stand:
    """One pod of the crowd."""

    name: str
    address: str
    port: int
    address6: str = ""
    ready: bool = True
    terminating: bool = False
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))


class Crowd:
    """The members, and the server that answers for them; a task takes `task_seconds`."""

    def __init__(self, task_seconds: float, cap: int) -> None:
        self.members: dict[str, Stand] = {}
        self.port = 0
        self.peak = 0
        """The most tasks that any address ever had at once."""

        self.refused = 0
        self.served: Counter[str] = Counter()
        """How many tasks each address did."""

        self._task_seconds, self._cap = task_seconds, cap
        self._running: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._created = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/compute", self._compute)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, shutdown_timeout=0, keepalive_timeout=5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "0.0.0.0", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def add(self, count: int) -> None:
        """Let so many join."""
        for _ in range(count):
            number = self._created
            self._created += 1
            name = f"crowd-{number}"
            address = f"127.{250 + number // 50_000}.{number // 250 % 200}.{number % 250 + 1}"
            self.members[name] = Stand(name, address, self.port)

    async def _compute(self, request: web.Request) -> web.Response:
        transport = request.transport
        address = transport.get_extra_info("sockname")[0] if transport else ""
        payload = (await request.json())["payload"]
        if self._running[address] >= self._cap:
            self.refused += 1
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
        self._running[address] += 1
        self.peak = max(self.peak, self._running[address])
        try:
            await asyncio.sleep(self._task_seconds)
        finally:
            self._running[address] -= 1
        self.served[address] += 1
        return web.json_response({"result": hashlib.sha256(payload.encode()).hexdigest()})

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.Response()
