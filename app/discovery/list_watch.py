"""A set of objects of the Kubernetes API, kept the same as the server's: list, then watch.

Called by `kubernetes` for EndpointSlices; it serves any resource. `ListWatch` decides what to ask
when, a `Source` asks (`api_source` does it over HTTP), a `Store` keeps what is known.

What always holds:

- The store is told of one consistent state of the server's set after the other, in the order in
  which the server had them: all objects of a list, and then each event of the watch that began at
  that list's version. After a change at the server the store has it as soon as the event is read.
- A set is replaced only by a list that has come through to its last page. Whatever fails, times
  out, is refused or makes no sense leaves what is known in force, for however long. A list that
  succeeds and is empty does empty the set.
- What happened in a gap is found by the next list: also that objects vanished.
- A watch that the server ends in order, with all lines whole, is resumed from the version last
  heard of (in events and bookmarks), without a gap. After anything else there is a list: 410, by
  status or as an ERROR event; a broken connection; half a line; an event of an unknown kind;
  `Limits.silence` without a byte (a connection can die unseen; bookmarks come once a minute).
  Besides, the set is listed every `Limits.relist`, should an event ever have been lost unseen.
- Lists ask for the most recent state, never for a version: a set does not go back in time.
- Between a failure and the next try lies a pause that doubles up to a bound, jittered so that
  replicas do not come all at once. It begins anew after a healthy spell. Watches that the server
  ends quickly but in order are begun once a second at most; their pauses do not grow, so that a
  proxy with a short patience cannot make us blind.
- Nothing waits without a limit.

Time is the event loop's; tests bring a loop whose time jumps.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random

from app.discovery.source import Gone, Object, Source, SourceError, Store

logger = logging.getLogger(__name__)

_GONE = 410
_MOST_DOUBLINGS = 16


class _SilenceError(SourceError):
    """Nothing was heard for too long."""


class _FruitlessError(SourceError):
    """A watch was ended as soon as it had begun, without an event."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    silence: float = 75.0
    """Without a byte on a watch. The API server sends bookmarks about once a minute."""

    opening: float = 15.0
    """Until a watch is answered, the connection included."""

    page: float = 30.0
    """For each page of a list, the connection included."""

    watch: float = 300.0
    """How long a watch shall last at least; up to twice that."""

    relist: float = 600.0
    """After a list, no watch is resumed without a new one."""

    pause: float = 0.2
    """Longest pause after the first failure; it doubles with each."""

    pause_max: float = 10.0

    healthy: float = 10.0
    """How long a watch has to stand to count as a new beginning for the pauses."""

    spacing: float = 1.0
    """Between the beginnings of two watches."""


@dataclass(slots=True)
class Condition:
    """How a list-watch is doing: for `/readyz?verbose`, and for metrics."""

    name: str
    """What is watched."""

    synced: bool = False
    """Whether the whole set was known once."""

    watching: bool = False
    """Whether a watch stands now."""

    last_contact: float | None = None
    """When the server was last heard, as the event loop's time."""

    restarts: int = 0
    """How often it was begun anew because of a failure."""

    last_error: str = ""
    """The last failure; it stays when all is well again."""


class ListWatch:
    """Keeps `store` the same as the server's set; `name` is for the log."""

    def __init__(
        self,
        source: Source,
        store: Store,
        *,
        name: str,
        limits: Limits | None = None,
        random: Random | None = None,
    ) -> None:
        self.condition = Condition(name)
        self._source = source
        self._store = store
        self._limits = limits or Limits()
        self._random = random or Random()
        self._listed_at = 0.0
        self._next_watch = 0.0
        self._spell: float | None = None
        """Since when watches have stood without a failure."""

        self._failures = 0
        """In a row, without a healthy spell between."""

        self._said: set[str] = set()
        """What was logged already of the present trouble."""

        self._alarmed = False
        """Whether it was logged as a warning that we are cut off."""

    async def run(self) -> None:
        """Follow the server until cancelled."""
        version = ""
        while True:
            try:
                if not version or self._now() - self._listed_at >= self._limits.relist:
                    version = await self._list()
                version = await self._watch(version)
            except SourceError as error:
                version = ""
                await asyncio.sleep(self._failed(error))

    # --- one list, one watch

    async def _list(self) -> str:
        """Replace the set; return its version."""
        try:
            items, version = await self._pages()
        except Gone:  # the list took so long that its next page had expired
            items, version = await self._pages()
        self._store.replace(items)
        self._listed_at = self._now()
        self.condition.synced = True
        return version

    async def _pages(self) -> tuple[list[Object], str]:
        items: list[Object] = []
        token = ""
        while True:
            async with _within(self._limits.page, "no answer to a list"):
                page = await self._source.list_page(token)
            self._heard()
            items += page.items
            await asyncio.sleep(0)  # others have requests to serve; as below
            if not page.token:
                return items, page.version
            token = page.token

    async def _watch(self, version: str) -> str:
        """Follow until the server ends it in order; return the version to go on with."""
        limits = self._limits
        await asyncio.sleep(max(0.0, self._next_watch - self._now()))
        self._next_watch = self._now() + limits.spacing
        seconds = int(limits.watch * (1 + self._random.random()))
        heard = False
        async with AsyncExitStack() as stack:
            async with _within(limits.opening, "no answer to a watch"):
                events = await stack.enter_async_context(self._source.watch(version, seconds))
            self._opened()
            stack.callback(self._closed)
            async with _within(limits.silence, "a silent watch", _SilenceError) as watchdog:
                async for event in events:
                    version, heard = self._take(event), True
                    self._heard()
                    watchdog.reschedule(self._now() + limits.silence)
                    await asyncio.sleep(0)  # others have requests to serve
        if not heard and self._now() < self._next_watch:
            raise _FruitlessError("a watch was ended as soon as it had begun")
        return version

    def _take(self, event: Object) -> str:
        """Tell the store; return the event's version."""
        kind, obj = event.get("type"), event.get("object")
        if not isinstance(obj, dict):
            raise SourceError("an event without an object")
        if kind == "ERROR":
            what = Gone if obj.get("code") == _GONE else SourceError
            raise what(f"the watch was ended: {obj.get('message') or obj.get('reason')}")
        metadata = obj.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        version = metadata.get("resourceVersion")
        if not (isinstance(version, str) and version):
            raise SourceError("an event without a version")
        if kind != "BOOKMARK" and not metadata.get("name"):
            raise SourceError("an event of an object without a name")
        if kind in {"ADDED", "MODIFIED"}:
            self._store.put(obj)
        elif kind == "DELETED":
            self._store.remove(obj)
        elif kind != "BOOKMARK":
            raise SourceError(f"an event of unknown kind, {kind}")
        return version

    # --- what is noted of it

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _heard(self) -> None:
        self.condition.last_contact = self._now()

    def _opened(self) -> None:
        self._heard()
        self.condition.watching = True
        if self._spell is None:
            self._spell = self._now()
        if self._alarmed:
            self._alarmed = False
            self._say(logging.INFO, "watched again")

    def _closed(self) -> None:
        self.condition.watching = False

    def _failed(self, error: SourceError) -> float:
        """Note a failure; return the seconds to wait before the next try."""
        limits = self._limits
        if self._spell is not None and self._now() - self._spell >= limits.healthy:
            self._failures = 0
            self._said.clear()
        self._spell = None
        self.condition.restarts += 1
        self.condition.last_error = str(error)
        expected = isinstance(error, (Gone, _SilenceError, _FruitlessError))
        self._alarmed = self._alarmed or not expected
        self._say(logging.INFO if expected else logging.WARNING, str(error))
        if isinstance(error, _FruitlessError):
            return limits.spacing * self._random.uniform(0.5, 1.0)
        longest = min(limits.pause * 2.0**self._failures, limits.pause_max)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        asked = min(error.retry_after, limits.pause_max)
        return max(longest * self._random.uniform(0.5, 1.0), asked)

    def _say(self, level: int, text: str) -> None:
        """Log it, once in each spell of trouble."""
        level = logging.DEBUG if text in self._said else level
        self._said.add(text)
        logger.log(level, "%s: %s", self.condition.name, text)


@asynccontextmanager
async def _within(
    seconds: float, what: str, error: type[SourceError] = SourceError
) -> AsyncIterator[asyncio.Timeout]:
    """Limit what is awaited inside."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError:
        raise error(f"{what} for {seconds:g} s") from None
