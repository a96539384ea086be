"""The operator's one periodic task: look, judge, write what differs, tell what happened.

Run by `process` beside kopf. What always holds:

- a status is written only if it says something new: its time alone is no news;
- whatever fails is logged and tried again at the next round; nothing is retried faster;
- at an orderly end each status says that nobody keeps it any more, and from when it is. Of one
  that was left behind otherwise, `observedAt` says it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

import httpx

from app.config.resource import Identity
from app.discovery.api_requests import Resource
from app.discovery.api_source import ApiSource
from app.discovery.credentials import Access
from app.discovery.source import Object, SourceError
from app.operator.cache import POOLS, SERVICES, SLICES, Cache
from app.operator.judging import Judge, Judged, World
from app.operator.replicas import Look, Replicas, ToldEvent
from app.operator.telling import Notice, Teller
from app.operator.watching import RESOURCES
from app.operator.writing import ApiWriter, WriteError

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds from one round to the next; each reads all admin ports once."""

RELIST = 60.0
"""Seconds between two lists, which find what kopf did not tell: objects that vanished in a gap."""

HANGS = 60.0
"""Seconds without a round after which the process wants to be restarted."""

_WARNED_OF = ("Accepted", "ResolvedRefs")
_GIVE_UP = 5.0
"""Seconds for the last words at the end."""

_NOTES = {
    "ejected": ("WorkerEjected", "Worker {worker} was taken out of rotation: {reason}.", True),
    "back": ("WorkerReturned", "Worker {worker} is back in rotation.", False),
}
"""Of which of the balancers' events Kubernetes is told, and how."""


class Operating:
    """Joins cache, replicas, judge, teller and writer."""

    def __init__(
        self,
        cache: Cache,
        connect: Callable[[], Awaitable[Access]],
        namespace: str,
        *,
        balancer: str | None,
        instance: str,
        client: httpx.AsyncClient,
        token: Callable[[], str] | None = None,
    ) -> None:
        self._cache = cache
        self._namespace = namespace
        self._judge = Judge(balancer)
        self._replicas = Replicas(client, token)
        self._teller = Teller()
        self._writer = ApiWriter(connect, namespace, instance)
        self._sources = {
            plural: ApiSource(Resource(group, version, plural), connect, namespace=namespace)
            for group, version, plural in RESOURCES
        }
        self._written: dict[str, dict[str, Any]] = {}
        """The status last written, by UID: kopf may tell it a moment later."""

        self._listed_at = monotonic()
        self._round_at = monotonic()
        self._said: dict[str, str] = {}

    def is_alive(self) -> None:
        """Raise if the rounds have stopped."""
        quiet = monotonic() - self._round_at
        if quiet > HANGS:
            raise RuntimeError(f"no round for {quiet:.0f} s")

    async def begin(self) -> None:
        """List everything once, so that the first round knows all of it.

        Raises `SourceError` with what is missing (rights, the CRD) and what to do.
        """
        for resource in self._sources:
            for obj in await self._list(resource):
                self._cache.put(resource, obj)

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            began = monotonic()
            await self.round()
            self._round_at = monotonic()
            await asyncio.sleep(max(0.0, began + INTERVAL - monotonic()))

    async def round(self) -> None:
        """Do all of it once."""
        await self._relist()
        services, slices = self._cache.of(SERVICES), self._cache.of(SLICES)
        look = await self._replicas.look(services, slices, monotonic())
        world = World(self._cache.of(POOLS), services, slices, look.replicas)
        judged = self._judge.judge(world, _now())
        for each in judged:
            await self._write_status(each)
        self._take_events(look, judged)
        await self._write_events()

    async def farewell(self) -> None:
        """Say in each status that nobody keeps it from now on."""
        message = f"The operator was stopped at {_now()}: what stands here is from before."
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP):
                for obj in self._cache.of(POOLS):
                    status = self._written.get(obj["metadata"]["uid"])
                    if status is not None:
                        await self._say_farewell(obj, status, message)
                await self._write_events()

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()
        for source in self._sources.values():
            await source.close()

    # --- inside

    async def _relist(self) -> None:
        if monotonic() - self._listed_at < RELIST:
            return
        self._listed_at = monotonic()
        for resource in self._sources:
            before = self._cache.heard
            try:
                objects = await self._list(resource)
            except SourceError as error:
                self._trouble(resource, str(error))
            else:
                uids = (obj["metadata"]["uid"] for obj in objects)
                self._cache.keep_only(resource, uids, before)

    async def _list(self, resource: str) -> list[Object]:
        objects: list[Object] = []
        token = ""
        while True:
            page = await self._sources[resource].list_page(token)
            objects += page.items
            token = page.token
            if not token:
                return objects

    async def _write_status(self, judged: Judged) -> None:
        identity, status = judged.identity, judged.status
        known = self._written.get(identity.uid) or self._status_of(identity)
        if _without_time(known) == _without_time(status):
            self._written[identity.uid] = known
            return
        try:
            there = await self._writer.status(identity, status)
        except (WriteError, SourceError) as error:
            self._trouble(identity.uid, str(error))
            return
        self._said.pop(identity.uid, None)
        if not there:
            self._written.pop(identity.uid, None)
            return
        self._written[identity.uid] = status
        self._warn(identity, known, status)

    def _status_of(self, identity: Identity) -> dict[str, Any]:
        pools = self._cache.of(POOLS)
        found = (p.get("status") or {} for p in pools if p["metadata"]["uid"] == identity.uid)
        return next(found, {})

    def _warn(
        self, identity: Identity, before: Mapping[str, Any], status: Mapping[str, Any]
    ) -> None:
        """Make an Event of what has become wrong with the pool itself."""
        known = {c["type"]: c for c in before.get("conditions", ())}
        for condition in status["conditions"]:
            kind, reason = condition["type"], condition["reason"]
            was = known.get(kind, {})
            news = (was.get("status"), was.get("reason")) != ("False", reason)
            if kind in _WARNED_OF and condition["status"] == "False" and news:
                name = "SpecRejected" if reason == "Invalid" else reason
                self._teller.note(Notice(identity, name, condition["message"], True), time())

    def _take_events(self, look: Look, judged: list[Judged]) -> None:
        mine = {each.identity.name: each.identity for each in judged}
        for event in look.events:
            # Those without `after` are no news: one that is out is seen again, one is ready that
            # was never ejected.
            if event.pool in mine and event.kind in _NOTES and event.after is not None:
                self._teller.note(_notice(mine[event.pool], event), event.time)
        self._teller.forget((identity.uid for identity in mine.values()), time())
        there = {each.identity.uid for each in judged}
        self._written = {uid: s for uid, s in self._written.items() if uid in there}

    async def _write_events(self) -> None:
        for series in self._teller.due(time()):
            try:
                await self._writer.event(series)
            except (WriteError, SourceError) as error:
                self._trouble("events", str(error))
                return
            self._said.pop("events", None)
            self._teller.wrote(series, time())

    async def _say_farewell(self, obj: Object, status: dict[str, Any], message: str) -> None:
        metadata = obj["metadata"]
        conditions = [
            condition
            | (
                {
                    "status": "False",
                    "reason": "OperatorStopped",
                    "message": message,
                    "lastTransitionTime": _now(),
                }
                if condition["type"] == "Observed"
                else {}
            )
            for condition in status["conditions"]
        ]
        identity = Identity(self._namespace, metadata["name"], metadata["uid"], 0, "")
        with suppress(WriteError, SourceError):
            await self._writer.status(identity, status | {"conditions": conditions})

    def _trouble(self, what: str, text: str) -> None:
        """Log a failure, once as long as it stays the same."""
        if self._said.get(what) != text:
            self._said[what] = text
            log.warning("%s", text)


def _notice(pool: Identity, event: ToldEvent) -> Notice:
    reason, note, warning = _NOTES[event.kind]
    known = {"worker": event.worker, "reason": event.reason}
    text = note.format(**known) if event.worker else event.text  # that of many workers at once
    return Notice(pool, reason, text, warning, event.worker)


def _without_time(status: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "observedAt"}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
