"""A watch of the simulated API server: a stream of JSON lines."""

import asyncio
import json
from collections.abc import Callable
from time import monotonic

from aiohttp import web

from tests.e2e.sim.faults import Faults
from tests.e2e.sim.store import Change, Gone, Object, Store, matches

BOOKMARK_SECONDS = 1.0
"""Between two bookmarks; about a minute in Kubernetes."""


def status(code: int, reason: str, message: str) -> Object:
    """Return a Status object, as errors are told."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def labels_of(request: web.Request) -> dict[str, str]:
    """Read `a=b,c==d`; sets and inequality are not simulated. Raises `ValueError`."""
    labels = {}
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        key, equals, value = term.replace("==", "=").partition("=")
        if not equals or key.endswith("!"):
            raise ValueError(term)
        labels[key] = value
    return labels


class Bell:
    """Wakes all who wait for a change."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, _change: Change | None = None) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    @property
    def next(self) -> asyncio.Event:
        """Set at the next ring."""
        return self._rung


class Watch:
    """One watch. `shown` makes an object what the API shows of it."""

    def __init__(
        self,
        request: web.Request,
        store: Store,
        faults: Faults,
        bell: Bell,
        shown: Callable[[Object], Object],
    ) -> None:
        self._request, self._store, self._faults = request, store, faults
        self._bell, self._shown = bell, shown
        self._resource = request.match_info["resource"]
        self._namespace = request.match_info.get("namespace")
        self._labels = labels_of(request)
        self._bookmarks = request.query.get("allowWatchBookmarks", "").lower() in {"1", "true"}
        self._stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._at = int(request.query.get("resourceVersion") or 0)

    async def run(self) -> web.StreamResponse:
        """Stream until the time that the client asked for is over."""
        faults, store = self._faults, self._store
        if faults.gone == "http":
            raise Gone("too old resource version: as the test wants it")
        seconds = float(self._request.query.get("timeoutSeconds") or 1800)
        end = monotonic() + seconds
        await self._stream.prepare(self._request)
        try:
            if faults.gone:
                await self._say("ERROR", status(410, "Expired", "as the test wants it"))
                return self._stream
            if self._at == 0:
                for obj in store.list(self._resource, self._namespace, self._labels):
                    await self._say("ADDED", obj)
                self._at = store.version
            await self._follow(end)
        except Gone as gone:
            await self._say("ERROR", status(410, "Expired", str(gone)))
        return self._stream

    async def _follow(self, end: float) -> None:
        faults, store = self._faults, self._store
        began = bookmarked = monotonic()
        while True:
            changed = self._bell.next
            if not faults.silent:
                for change in store.since(self._at):
                    self._at = change.version
                    if self._wanted(change):
                        await self._say(change.kind, change.object)
                if self._bookmarks and monotonic() - bookmarked >= BOOKMARK_SECONDS:
                    bookmarked = monotonic()
                    bookmark = {"metadata": {"resourceVersion": str(store.version)}}
                    await self._say("BOOKMARK", bookmark)
            until = min(end, began + faults.watch_seconds) if faults.watch_seconds else end
            rest = until - monotonic()
            if rest <= 0:
                return
            try:
                async with asyncio.timeout(min(rest, BOOKMARK_SECONDS / 4)):
                    await changed.wait()
            except TimeoutError:
                pass

    def _wanted(self, change: Change) -> bool:
        if change.resource != self._resource:
            return False
        if change.kind == "DELETED" and self._faults.drop_deleted:
            return False
        return matches(change.object, self._namespace, self._labels)

    async def _say(self, kind: str, obj: Object) -> None:
        told = obj if kind == "ERROR" else self._shown(obj)
        await self._stream.write(json.dumps({"type": kind, "object": told}).encode() + b"\n")
