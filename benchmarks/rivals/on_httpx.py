"""A least-connections proxy as a FastAPI application on httpx: uvicorn runs it.

What a first attempt looks like, and what the ancestor of this project was. Its connection pool is
allowed as many kept connections as there are clients, unlike by default.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

WORKERS = os.environ["BENCH_WORKERS"].split(",")
DROPPED = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})

in_flight = dict.fromkeys(WORKERS, 0)


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests."""
    limits = httpx.Limits(max_connections=1024, max_keepalive_connections=1024)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        application.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def forward(path: str, request: Request) -> Response:
    """Send the request to the worker with the fewest in flight."""
    headers = [(k, v) for k, v in request.headers.items() if k not in DROPPED]
    if request.client is not None:
        headers.append(("x-forwarded-for", request.client.host))
    body = await request.body()
    worker = min(in_flight, key=in_flight.__getitem__)
    in_flight[worker] += 1
    try:
        answer = await request.app.state.client.request(
            request.method, f"http://{worker}/{path}", headers=headers, content=body
        )
    finally:
        in_flight[worker] -= 1
    passed = {k: v for k, v in answer.headers.items() if k not in DROPPED}
    return Response(answer.content, answer.status_code, passed)
