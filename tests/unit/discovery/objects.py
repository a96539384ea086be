"""A small API server for single objects, in the test's own loop, that does as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

_RESOURCE = "/namespaces/{namespace}/{resource}"
_PREFIXES = ("/api/{version}", "/apis/{group}/{version}")


class Objects:
    """Holds objects of one namespace, by resource and name, as RBAC writes them: "pods/a"."""

    def __init__(self) -> None:
        self.url = ""
        self.held: dict[str, dict[str, Any]] = {}
        self.requests: list[web.Request] = []
        self.bodies: list[Any] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        """A status and the fields of the Status object, for all requests."""

        self.answer: bytes | None = None
        """The body of each good answer, if it is not to be the true one."""

        self.tokens: set[str] | None = None
        self.hung = asyncio.Event()
        """Set when a request waits for `going`."""

        self.going = asyncio.Event()
        """Cleared by a test that wants no answers."""

        self.going.set()
        self._version = 100

    def put(self, resource: str, name: str, **more: Any) -> dict[str, Any]:
        self._version += 1
        key = f"{resource}/{name}"
        uid = self.held[key]["metadata"]["uid"] if key in self.held else f"uid-{self._version}"
        metadata = more.pop("metadata", {}) | {"name": name, "namespace": "shop", "uid": uid}
        metadata["resourceVersion"] = str(self._version)
        self.held[key] = more | {"metadata": metadata}
        return self.held[key]

    @property
    def asked(self) -> list[str]:
        """What the requests were."""
        return [f"{request.method} {request.path_qs}" for request in self.requests]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json() if request.can_read_body else None)
        if not self.going.is_set():
            self.hung.set()
            await self.going.wait()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return _status(401, {"message": "Unauthorized"})
        if self.refusal is not None:
            return _status(*self.refusal)
        return self._of_method(request.method, request.match_info, self.bodies[-1])

    def _of_method(self, method: str, info: Any, body: Any) -> web.Response:
        resource, name = info["resource"], info.get("name") or body["metadata"]["name"]
        there = self.held.get(f"{resource}/{name}")
        if method == "POST" and there:
            return _status(409, {"reason": "AlreadyExists", "message": f"{name} already exists"})
        if method == "POST":
            return self._good(self.put(resource, name, **body), 201)
        if there is None:
            return _status(404, not_found(name))
        if method == "PUT":
            if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
                return _status(409, {"reason": "Conflict", "message": f"{name} was modified"})
            there = self.put(resource, name, **body)
        return self._good(there, 200)

    def _good(self, obj: dict[str, Any], status: int) -> web.Response:
        body = json.dumps(obj).encode() if self.answer is None else self.answer
        return web.Response(body=body, status=status, content_type="application/json")


def not_found(name: str) -> dict[str, Any]:
    """What the API server says of an object that is not there."""
    return {"reason": "NotFound", "message": f'"{name}" not found', "details": {"name": name}}


def _status(code: int, fields: dict[str, Any]) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, **fields}
    return web.json_response(body, status=code)


@asynccontextmanager
async def serving_objects() -> AsyncIterator[Objects]:
    """Serve on a free port of 127.0.0.1."""
    objects = Objects()
    app = web.Application()
    for prefix in _PREFIXES:
        app.router.add_post(prefix + _RESOURCE, objects.handle)
        app.router.add_get(prefix + _RESOURCE + "/{name}", objects.handle)
        app.router.add_put(prefix + _RESOURCE + "/{name}", objects.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    objects.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield objects
    finally:
        await runner.cleanup()
