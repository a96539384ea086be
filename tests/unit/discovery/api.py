"""A small API server for EndpointSlices, in the test's own loop, that does as it is told."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

CERTIFICATES = Path(__file__).with_name("certificates")
PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


class Api:
    """Holds slices of one namespace. `refusal` is a status and a message, for all requests."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.requests: list[web.Request] = []
        self.refusal: tuple[int, str] | None = None
        self.tokens: set[str] | None = None
        """Tokens that are accepted; None for any, and for none."""

        self.answer: bytes | None = None
        """The body of each list, if it is not to be the true one."""

        self.cut_status = 0
        """The status of answers that break off within their body; 0 for none."""

        self.heads: dict[str, str] = {}
        self.watching = asyncio.Event()
        self._watches: set[asyncio.Queue[bytes | None]] = set()

    # --- what the tests do

    def put(self, obj: dict[str, Any]) -> None:
        """Take in a slice under the next version, and tell those who watch."""
        name = obj["metadata"]["name"]
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[name] = obj
        self.say({"type": kind, "object": obj})

    def remove(self, name: str) -> None:
        self.version += 1
        obj = self.objects.pop(name)
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.say({"type": "DELETED", "object": obj})

    def say(self, event: dict[str, Any]) -> None:
        self.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")

    def write(self, chunk: bytes | None) -> None:
        """Send this to each watch as it is; None ends them in order, b"" breaks them off."""
        for watch in self._watches:
            watch.put_nowait(chunk)

    @property
    def asked(self) -> list[str]:
        """What the requests were, in short."""
        return [
            "watch " + r.query["resourceVersion"] if "watch" in r.query else "list"
            for r in self.requests
        ]

    # --- what it answers

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return _status(401, "Unauthorized")
        if self.cut_status:
            return await _cut(request, self.cut_status)
        if self.refusal is not None:
            return _status(*self.refusal, headers=self.heads)
        if "watch" in request.query:
            return await self._watch(request)
        if self.answer is not None:
            return web.Response(body=self.answer)
        begin = int(request.query.get("continue", "0+/=&").removesuffix("+/=&"))
        end = begin + int(request.query["limit"])
        items = list(self.objects.values())
        metadata = {"resourceVersion": str(self.version)}
        if end < len(items):
            metadata["continue"] = f"{end}+/=&"
        return web.json_response({"metadata": metadata, "items": items[begin:end] or None})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(queue)
        self.watching.set()
        try:
            while (chunk := await queue.get()) is not None:
                if not chunk:
                    assert request.transport is not None
                    request.transport.abort()
                    break
                await stream.write(chunk)
        finally:
            self._watches.discard(queue)
            if not self._watches:
                self.watching.clear()
        return stream


async def _cut(request: web.Request, status: int) -> web.StreamResponse:
    stream = web.StreamResponse(status=status, headers={"Content-Length": "1000"})
    await stream.prepare(request)
    await stream.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return stream


def _status(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "message": message}
    return web.json_response(body, status=code, headers=headers)


@asynccontextmanager
async def serving(*, tls: bool = False, client_ca: bool = False) -> AsyncIterator[Api]:
    """Serve on a free port of 127.0.0.1. `client_ca`: clients have to bring a certificate."""
    api = Api()
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATES / "server.crt", CERTIFICATES / "server.key")
        if client_ca:
            context.load_verify_locations(CERTIFICATES / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get(PATH, api.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    api.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


def kubeconfig(path: Path, server: str, *, user: dict[str, Any] | None = None, **more: Any) -> Path:
    """Write a kubeconfig, as JSON, which is YAML too. `more` is of the cluster."""
    context = {"cluster": "c", "user": "u", "namespace": "shop"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "elsewhere", "context": {"cluster": "x", "user": "u"}},
            {"name": "here", "context": context},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server, **more}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(json.dumps(content))
    return path
