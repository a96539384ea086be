"""Who may read the admin port: anybody who reaches it, or those who bring the token.

`app.runtime` puts `RequireToken` around the admin application if the settings name a token. The
probes of a kubelet or a load balancer bring none: `OPEN` paths are answered all the same. So are
the dashboard's files, which hold no data and ask for the token themselves. The token is never
written anywhere: not to an answer, a log or an error.
"""

import hmac
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.dashboard import PUBLIC
from app.config.errors import ConfigError, Problem
from app.config.fields import Token, broken_token
from app.config.settings import Settings, variable

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no token."""

log = logging.getLogger(__name__)


class TokenFile:
    """A token in a file, such as a mounted Secret: read at each use, since it may be changed."""

    def __init__(self, path: Path) -> None:
        """Read it for the first time. Raises `ConfigError`."""
        self._path = path
        self._complained = False
        self._token = self._read()

    def __call__(self) -> str:
        """Return the token; the last good one if the file cannot be read any more."""
        try:
            self._token = self._read()
        except ConfigError as error:
            if not self._complained:
                log.error("the last good admin token stays in force: %s", error)  # noqa: TRY400
            self._complained = True
        else:
            self._complained = False
        return self._token

    def _read(self) -> str:
        try:
            token = self._path.read_text("ascii").strip()
        except OSError as error:
            found = error.strerror or "an error"
        except ValueError:
            found = "bytes that are not ASCII"
        else:
            wrong = broken_token(token)
            if wrong is None:
                return token
            found = wrong
        problem = Problem(str(self._path), variable("admin_token_file"), found, Token().allowed)
        raise ConfigError([problem])


def token_of(settings: Settings) -> Callable[[], str] | None:
    """Return what tells the token in force, or None if there is none. Raises `ConfigError`."""
    if settings.admin_token_file is not None:
        return TokenFile(settings.admin_token_file)
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value
    return None


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
