"""The API server of the `discovery` benchmark: a process of its own, with a Service's slices.

Run by `discovery` as `python -m benchmarks.discovery_api SLICES ENDPOINTS`, the latter in each
slice. It speaks TLS, as API servers do. Prints its port, and then obeys the lines of its stdin:

- `open` waits for the first list, which waits for it; prints a line; lets all lists be answered;
- `change` turns the readiness of one pod;
- `again` ends the watch with 410, after which the balancer lists;
- `times` prints when each event was written, in seconds of the monotonic clock, which all processes
  share.
"""

import asyncio
import json
import random
import ssl
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from aiohttp import web

CERTIFICATES = Path(__file__).parents[1] / "tests" / "unit" / "discovery" / "certificates"
PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}


class Api:
    """The slices, as the API server would write them."""

    def __init__(self, slices: int, endpoints: int) -> None:
        self.version = 100
        self.ready = [[True] * endpoints for _ in range(slices)]
        self.versions = [self._next_version() for _ in range(slices)]
        self.written: list[float] = []
        self._watch: web.StreamResponse | None = None
        self._again = asyncio.Event()
        self._asked = asyncio.Event()
        self._opened = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._follow(request)
        self._asked.set()
        await self._opened.wait()
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        metadata = {"resourceVersion": str(self.version)}
        if begin + limit < len(self.ready):
            metadata["continue"] = str(begin + limit)
        numbers = range(begin, min(begin + limit, len(self.ready)))
        items = [self._slice(number) for number in numbers]
        return web.json_response(
            {"kind": "EndpointSliceList", "metadata": metadata, "items": items}
        )

    async def open(self) -> None:
        await self._asked.wait()
        print("open", flush=True)
        self._opened.set()

    async def change(self) -> None:
        """Turn the readiness of one pod, and write the event."""
        number = random.randrange(len(self.ready))
        place = random.randrange(len(self.ready[number]))
        self.ready[number][place] ^= True
        self.versions[number] = self._next_version()
        line = json.dumps({"type": "MODIFIED", "object": self._slice(number)}).encode() + b"\n"
        assert self._watch is not None
        self.written.append(monotonic())
        await self._watch.write(line)

    def end_watch(self) -> None:
        self._again.set()

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        self._again.clear()
        self._watch = stream = web.StreamResponse()
        await stream.prepare(request)
        await self._again.wait()
        await stream.write(json.dumps(GONE).encode() + b"\n")
        return stream

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _slice(self, number: int) -> dict[str, Any]:
        name = f"worker-{number:05x}"
        labels = {
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": "worker",
            "service.kubernetes.io/headless": "",
        }
        return {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"5e6c6a3e-4f4c-4b7d-9a52-{number:012d}",
                "resourceVersion": str(self.versions[number]),
                "labels": labels,
            },
            "addressType": "IPv4",
            "endpoints": [
                _endpoint(number, place, ready=ready)
                for place, ready in enumerate(self.ready[number])
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }


def _endpoint(number: int, place: int, *, ready: bool) -> dict[str, Any]:
    pod = f"{number:03d}{place:03d}"
    return {
        "addresses": [f"10.{number}.0.{place}"],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": f"node-{place % 20}",
        "zone": f"zone-{place % 3}",
        "targetRef": {
            "kind": "Pod",
            "namespace": "default",
            "name": f"worker-7d8f9c5b6d-{pod}",
            "uid": f"0b6c6a3e-4f4c-4b7d-9a52-{pod:>012}",
        },
    }


async def _serve(slices: int, endpoints: int) -> None:
    api = Api(slices, endpoints)
    app = web.Application()
    app.router.add_get(PATH, api.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "server.crt", CERTIFICATES / "server.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    print(runner.addresses[0][1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async for command in commands:
        if command == b"change\n":
            await api.change()
        elif command == b"open\n":
            await api.open()
        elif command == b"again\n":
            api.end_watch()
        elif command == b"times\n":
            print(json.dumps(api.written), flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
