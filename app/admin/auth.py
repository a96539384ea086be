"""Who may read the admin port: anybody who reaches it, or those who bring the token.

`app.runtime` puts `RequireToken` around the admin application if the settings name a token. The
probes of a kubelet or a load balancer bring none: `OPEN` paths are answered all the same. So are
the dashboard's files, which hold no data and ask for the token themselves. The token is never
written anywhere: not to an answer, a log or an error.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.dashboard import PUBLIC

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no token."""


class RequireToken:
    """An ASGI application before another: lets those through who bring the token."""

    def __init__(self, app: ASGIApp, token: Callable[[], str]) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("authorization")
        if len(given) == 1 and self._is_token(given[0]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _unauthorized(came=bool(given))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Of their hashes, so that not even the length can be learned from the time it takes.
        same = hmac.compare_digest(_digest(given.strip()), _digest(self._token()))
        return same and scheme.lower() == "bearer"


def _is_open(path: str) -> bool:
    page, below = PUBLIC
    return path in OPEN or path == page or path.startswith(below)


def _digest(text: str) -> bytes:
    return sha256(text.encode("latin-1", "replace")).digest()


def _unauthorized(*, came: bool) -> JSONResponse:
    """Say what is missing, or that it is not the right one (RFC 6750, section 3)."""
    challenge = 'Bearer realm="leastwise"' + (', error="invalid_token"' if came else "")
    detail = "This is not the admin token." if came else "The admin token is missing."
    return JSONResponse(
        {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": f"{detail} Send it as Authorization: Bearer TOKEN.",
        },
        status_code=401,
        headers={"WWW-Authenticate": challenge, "Cache-Control": "no-store"},
        media_type="application/problem+json",
    )
