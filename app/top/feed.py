"""Follows a balancer's admin port by the dashboard's feed, and keeps what it told.

`Picture` is what is known; `messages` reads the feed. Nothing here draws: `app.top.screen` does.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

CONNECT = 5.0
"""Seconds for a connection, and for the first message."""

SILENCE = 5.0
"""Seconds without a message after which a connection is taken for dead: there are two a second."""

_EVENTS = 200
_ROWS = 600
_UNAUTHORIZED = (401, 403)


class FeedError(Exception):
    """The admin port cannot be followed; the text says why, and what can be done."""


class WhichPoolError(FeedError):
    """Several pools and none was named, or no such one; `pools` says which there are."""

    def __init__(self, asked: str, pools: list[dict[str, Any]]) -> None:
        missing = f"there is no pool {asked}" if asked else "there are several pools"
        none = "no pool is served"
        super().__init__(f"{missing}: name one by --pool" if pools else none)
        self.pools = pools


class Picture:
    """The balancer as it was told last."""

    def __init__(self) -> None:
        self.pool: dict[str, Any] = {}
        self.workers: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.troubles: list[str] = []
        self.replicas: dict[str, Any] | None = None
        self.version = ""
        self.now = 0.0
        self._boot = ""
        self._seen = 0
        self._columns: list[str] = []
        self._row_columns: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        """Take in a message of the feed."""
        if "boot" in message:
            self.workers.clear()
            self._columns, self._row_columns = message["columns"], message["row_columns"]
            self.version = message["version"]
            if message["boot"] != self._boot:
                self._boot, self._seen = message["boot"], 0
        for name in message.get("left", ()):
            self.workers.pop(name, None)
        for line in message["workers"]:
            worker = dict(zip(self._columns, line, strict=True))
            self.workers[worker["name"]] = worker
        fresh = [event for event in message["events"] if event["number"] > self._seen]
        if fresh:
            self._seen = fresh[-1]["number"]
            self.events = [*self.events, *fresh][-_EVENTS:]
        last = self.rows[-1]["at"] if self.rows else 0.0
        rows = [dict(zip(self._row_columns, row, strict=True)) for row in message["history"]]
        self.rows = [*self.rows, *(row for row in rows if row["at"] > last)][-_ROWS:]
        self.pool, self.troubles, self.now = message["pool"], message["troubles"], message["now"]
        self.replicas = message.get("replicas")

    def as_json(self) -> dict[str, Any]:
        """Return what a script may want to know."""
        return {
            "version": self.version,
            "at": self.now,
            "pool": self.pool,
            "troubles": self.troubles,
            "replicas": self.replicas,
            "workers": list(self.workers.values()),
            "events": self.events,
            "last_minutes": self.rows,
        }


async def messages(admin: str, token: str | None, pool: str = "") -> AsyncIterator[dict[str, Any]]:
    """Yield what the admin port at the URL `admin` tells, until it ends. Raises `FeedError`.

    `pool` names one of several; if there is one only, it may be empty.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    parameters = {"pool": pool} if pool else {}
    limits = httpx.Timeout(CONNECT, read=SILENCE)
    url = f"{admin.rstrip('/')}/stream"
    try:
        async with (
            httpx.AsyncClient(timeout=limits) as client,
            client.stream("GET", url, params=parameters, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.NOT_FOUND:
                await response.aread()
            _check(response, url, pool)
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
    except httpx.InvalidURL as error:
        raise FeedError(f"{admin} is no URL: {error}") from error
    except httpx.UnsupportedProtocol as error:
        raise FeedError(
            f"{admin} is no URL: it begins with neither http:// nor https://"
        ) from error
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        raise FeedError(f"no balancer answers at {admin} ({said})") from error
    except ValueError as error:
        raise FeedError(f"{url} tells what is no balancer's: {error}") from error


def _check(response: httpx.Response, url: str, pool: str) -> None:
    status = response.status_code
    if status in _UNAUTHORIZED:
        raise FeedError(f"{url} answers {status}: give --token-file, or another one")
    if status == httpx.codes.NOT_FOUND and "pools" in (said := _json(response)):
        raise WhichPoolError(pool, said["pools"])
    kind = response.headers.get("content-type", "")
    if status != httpx.codes.OK or not kind.startswith("text/event-stream"):
        raise FeedError(f"{url} answers {status}, {kind or 'nothing'}: is that the admin port?")


def _json(response: httpx.Response) -> dict[str, Any]:
    """Return what the answer says; empty if that is no JSON object."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
