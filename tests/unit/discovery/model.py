"""A model of the API server's set, with everything that can go wrong, and a store that checks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from app.discovery.source import Gone, Object, Page, SourceError

State = dict[str, str]
"""The names of the objects, each with its version."""

BOOKMARK_SECONDS = 60.0


@dataclass
class Watched:
    """How a watch goes: it ends in `end` after so many events."""

    end: Literal[
        "never", "order", "error", "gone", "silence", "strange", "bare", "nameless", "ageless"
    ]
    after: int = 0


ListFault = Literal["", "error", "hang", "gone"]
OpenFault = Literal["", "error", "hang", "gone"]


@dataclass
class Server:
    """The set, its past, and what goes wrong with the next requests, in order."""

    page_size: int = 2
    bookmarks: bool = True
    list_faults: list[ListFault] = field(default_factory=list)
    """One for each page that is asked for."""

    open_faults: list[OpenFault] = field(default_factory=list)
    watches: list[Watched] = field(default_factory=list)

    state: State = field(default_factory=dict)
    states: list[State] = field(default_factory=lambda: [{}])
    """All there ever were."""

    asked: list[str] = field(default_factory=list)
    """Each request with its time."""

    def __post_init__(self) -> None:
        self._version = 100
        self._oldest = 100
        self._past: list[tuple[int, str, str]] = []
        self._pages: dict[str, tuple[list[Object], str]] = {}
        self._changed = asyncio.Event()

    # --- what happens to the set

    def put(self, name: str) -> None:
        self._note("MODIFIED" if name in self.state else "ADDED", name)

    def remove(self, name: str) -> None:
        if name in self.state:
            self._note("DELETED", name)

    def pass_by(self) -> None:
        """Something else in the cluster changes."""
        self._version += 1

    def compact(self) -> None:
        """Forget the past, and the pages of lists under way; watches that stand go on."""
        self._oldest = self._version
        self._pages.clear()

    def _note(self, kind: str, name: str) -> None:
        self._version += 1
        self.state = {k: v for k, v in self.state.items() if k != name}
        if kind != "DELETED":
            self.state[name] = str(self._version)
        self.states.append(self.state)
        self._past.append((self._version, kind, name))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- the source

    async def list_page(self, token: str) -> Page:
        self._ask(f"list {token}".strip())
        fault = self.list_faults.pop(0) if self.list_faults else ""
        await asyncio.sleep(0.01)
        await _suffer(fault)
        if not token:
            items = [thing(name, version) for name, version in sorted(self.state.items())]
            version = str(self._version)
        elif token in self._pages:
            items, version = self._pages.pop(token)
        else:
            raise Gone("the continue token is too old")
        rest, more = items[self.page_size :], ""
        if rest:
            more = f"{version}-{len(rest)}"
            self._pages[more] = rest, version
        return Page(items[: self.page_size], version, more)

    @asynccontextmanager
    async def watch(self, version: str, seconds: int) -> AsyncIterator[AsyncIterator[Object]]:
        assert 300 <= seconds < 600
        self._ask(f"watch {version}")
        fault = self.open_faults.pop(0) if self.open_faults else ""
        await asyncio.sleep(0.01)
        await _suffer(fault)
        how = self.watches.pop(0) if self.watches else Watched("never")
        yield self._events(int(version), how, asyncio.get_running_loop().time() + seconds)

    async def _events(self, at: int, how: Watched, end: float) -> AsyncIterator[Object]:
        sent = 0
        bookmarked = asyncio.get_running_loop().time()
        if at < self._oldest:
            yield failure(410, "too old resource version")
            return
        while True:
            for version, kind, name in [change for change in self._past if change[0] > at]:
                if how.end != "never" and sent == how.after:
                    break
                at, sent = version, sent + 1
                yield {"type": kind, "object": thing(name, str(version))}
            if how.end != "never" and sent == how.after:
                async for event in _endings(how.end):
                    yield event
                return
            if self._past and self._past[-1][0] > at:
                continue  # it came while the others were taken: a bookmark may not pass it
            if (now := asyncio.get_running_loop().time()) >= end:
                return
            if self.bookmarks and now - bookmarked >= BOOKMARK_SECONDS:
                bookmarked, at = now, self._version
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(at)}}}
            changed = self._changed
            try:
                async with asyncio.timeout(min(BOOKMARK_SECONDS, end - now)):
                    await changed.wait()
            except TimeoutError:
                pass

    def _ask(self, what: str) -> None:
        self.asked.append(f"{asyncio.get_running_loop().time():.2f} {what}")


async def _suffer(fault: str) -> None:
    if fault == "error":
        raise SourceError("no route to host")
    if fault == "gone":
        raise Gone("410")
    if fault == "hang":
        await asyncio.get_running_loop().create_future()


async def _endings(end: str) -> AsyncIterator[Object]:
    if end == "error":
        raise SourceError("connection reset")
    if end == "silence":
        await asyncio.get_running_loop().create_future()
    if end == "gone":
        yield failure(410, "too old resource version")
    elif end == "strange":
        yield {"type": "RENAMED", "object": thing("a", "1")}
    elif end == "bare":
        yield {"type": "ADDED"}
    elif end == "nameless":
        yield {"type": "DELETED", "object": {"metadata": {"resourceVersion": "1"}}}
    elif end == "ageless":
        yield {"type": "DELETED", "object": {"metadata": {"name": "a"}}}


def thing(name: str, version: str) -> Object:
    return {"metadata": {"name": name, "resourceVersion": version}}


def failure(code: int, message: str) -> Object:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": message}}


class Checked:
    """A store that sees to it that all it is told was true at the server, in that order."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.content: State = {}
        self.told: list[str] = []
        """Each call, with its time."""

        self._at = 0

    def replace(self, objects: Sequence[Object]) -> None:
        self.content = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in objects}
        self._check("= " + " ".join(sorted(self.content)))

    def put(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self.content = self.content | {name: obj["metadata"]["resourceVersion"]}
        self._check(f"+ {name}")

    def remove(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self.content = {k: v for k, v in self.content.items() if k != name}
        self._check(f"- {name}")

    def _check(self, what: str) -> None:
        self.told.append(f"{asyncio.get_running_loop().time():.2f} {what.strip()}")
        later = self.server.states[self._at :]
        assert self.content in later, "never at the server, or gone back in time"
        self._at += later.index(self.content)
