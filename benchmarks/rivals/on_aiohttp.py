"""A least-connections proxy as an ASGI application on aiohttp's client: uvicorn runs it.

About the least that one would write by hand: the body is read, the request is sent to the worker
with the fewest in flight, the answer is passed on. It has none of leastwise's caps, queue, retries,
deadlines or counters.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

WORKERS = os.environ["BENCH_WORKERS"].split(",")
DROPPED = frozenset(
    {b"connection", b"content-length", b"host", b"keep-alive", b"transfer-encoding"}
)

in_flight = dict.fromkeys(WORKERS, 0)


class Proxy:
    """The application; its client session lives from startup to shutdown."""

    session: aiohttp.ClientSession

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._forward(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=1024, keepalive_timeout=60),
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.session.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _forward(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in DROPPED
        ]
        headers.append(("X-Forwarded-For", scope["client"][0]))
        worker = min(in_flight, key=in_flight.__getitem__)
        in_flight[worker] += 1
        try:
            async with self.session.request(
                scope["method"], f"http://{worker}{scope['path']}", headers=headers, data=body
            ) as response:
                content = await response.read()
        finally:
            in_flight[worker] -= 1
        passed = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in DROPPED]
        passed.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": response.status, "headers": passed})
        await send({"type": "http.response.body", "body": content})


app = Proxy()
