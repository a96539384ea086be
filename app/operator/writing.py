"""What the operator writes to the API server: a pool's status, and Events. Nothing else.

Called by `operating`. `ApiWriter` has a client of its own, made again after a failure.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from app.config.resource import GROUP, KIND, PLURAL, VERSION, Identity
from app.discovery.api_requests import CONNECT_TIMEOUT
from app.discovery.credentials import Access
from app.operator.telling import Series, shorten

logger = logging.getLogger(__name__)

COMPONENT = "leastwise.io/operator"
"""Who reports, as Events name it."""

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_TEST_FAILED = "the server rejected our request due to an error in our request"
"""All that an API server says, with 422, of a JSON patch whose test failed. An object that is
invalid would be named. (apiserver: `applyJSPatch`, `NewGenericServerResponse`.)"""

_INVALID = HTTPStatus.UNPROCESSABLE_ENTITY
_TIMEOUT = 10.0
_JSON = "application/json"


class WriteError(Exception):
    """The API server refused, or was not reached. The text is for people."""

    def __init__(self, message: str, status: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.status = status
        """Of the answer; 0 if there was none."""

        self.said = said
        """The API server's own message; empty if there was none."""


class ApiWriter:
    """Writes to one namespace. `instance` names this process in Events."""

    def __init__(
        self, connect: Callable[[], Awaitable[Access]], namespace: str, instance: str
    ) -> None:
        self._connect = connect
        self._namespace = quote(namespace, safe="")
        self._instance = instance
        self._access: Access | None = None

    async def status(self, pool: Identity, status: dict[str, Any]) -> bool:
        """Write a pool's status. Returns whether the pool is still there. Raises `WriteError`."""
        path = self._path(GROUP, VERSION, f"{PLURAL}/{pool.name}/status")
        # Another pool of the same name shall not get it. A UID in a merge patch would not see to
        # that: all but the status, the server takes from the object that is there.
        body = [
            {"op": "test", "path": "/metadata/uid", "value": pool.uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            await self.request("PATCH", path, body, JSON_PATCH)
        except WriteError as error:
            replaced = error.status == _INVALID and error.said == _TEST_FAILED
            if replaced or error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    async def event(self, series: Series) -> None:
        """Write an Event, or the count of one that is there. Raises `WriteError`."""
        path = self._path("events.k8s.io", "v1", "events")
        if series.written:
            body: dict[str, Any] = {"series": _series(series)}
            try:
                await self.request("PATCH", f"{path}/{series.name}", body, MERGE_PATCH)
            except WriteError as error:
                if error.status != HTTPStatus.NOT_FOUND:  # it was there for its hour
                    raise
            else:
                return
        await self.request("POST", path, self._event(series), _JSON)

    async def close(self) -> None:
        """Close the connections."""
        access, self._access = self._access, None
        if access is not None:
            await access.client.close()

    async def request(self, verb: str, path: str, body: object, content_type: str) -> None:
        """Ask the API server. Raises `WriteError`."""
        access = self._access = self._access or await self._connect()
        from aiohttp import ClientTimeout  # noqa: PLC0415 - no earlier than kubernetes_asyncio

        try:
            response = await access.client.call_api(
                path,
                verb,
                header_params={"Accept": _JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=ClientTimeout(total=_TIMEOUT, connect=CONNECT_TIMEOUT),
            )
            text = await response.read()
        except Exception as error:
            await self.close()
            raise WriteError(f"{verb} {path}: {type(error).__name__}: {error}") from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            if response.status == HTTPStatus.UNAUTHORIZED:
                await self.close()
            message = f"{verb} {path}: {response.status} {text[:500].decode(errors='replace')}"
            raise WriteError(message, response.status, _message(text))

    # --- inside

    def _path(self, group: str, version: str, rest: str) -> str:
        return f"/apis/{group}/{version}/namespaces/{self._namespace}/{rest}"

    def _event(self, series: Series) -> dict[str, Any]:
        notice = series.notice
        pool = notice.pool
        event: dict[str, Any] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": pool.namespace},
            "eventTime": micro_time(series.first),
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason,
            "action": "Observe",
            "note": shorten(notice.note),
            "reportingController": COMPONENT,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": pool.name,
                "namespace": pool.namespace,
                "uid": pool.uid,
            },
        }
        return event | ({"series": _series(series)} if series.count > 1 else {})


def _message(text: bytes) -> str:
    """Read what a Status says; empty if it is none."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return ""


def _series(series: Series) -> dict[str, Any]:
    return {"count": series.count, "lastObservedTime": micro_time(series.last)}


def micro_time(seconds: float) -> str:
    """Write seconds of the epoch as the API's MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
