"""The dashboard: its page, its few files, and its feed.

The files come with the package and are served as they are: no build step, nothing from outside.
They hold no data, so they may be served to anybody; the feed is what an access rule must guard.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response
from fastapi.responses import StreamingResponse

from app.admin.stream import Feed, TooManyError
from app.admin.view import Watched

PUBLIC = ("/", "/static/")
"""Paths (the second with all below it) that hold no data."""

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(named: Callable[[str], Watched], pools: Callable[[], Sequence[Watched]]) -> APIRouter:
    """Serve the dashboard; `named` returns the one of `pools` that is asked for, or raises."""
    routes = APIRouter(include_in_schema=False)
    feeds: dict[Watched, Feed] = {}
    content = {
        file.name: file.read_bytes()
        for file in (files("app.admin") / "static").iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }

    @routes.get("/")
    async def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        return _file("index.html", content["index.html"], if_none_match)

    @routes.get("/static/{name}")
    async def static(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        if name not in content:
            raise HTTPException(404)
        return _file(name, content[name], if_none_match)

    @routes.get("/stream")
    async def stream(pool: str = "") -> StreamingResponse:
        view = named(pool)
        if view not in feeds:
            for idle in [known for known, feed in feeds.items() if not feed.watchers]:
                del feeds[idle]  # maybe of a pool that is no more
            feeds[view] = Feed(view, pools)
        feed = feeds[view]
        try:
            messages = feed.watch()
        except TooManyError:
            raise HTTPException(503, "too many dashboards are open") from None
        return StreamingResponse(
            messages,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes


def _file(name: str, body: bytes, known: str | None) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = _HEADERS | {"ETag": tag}
    if known == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)
