"""The dashboard's feed: everything first, then what changes, to as many as watch."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from app.admin import stream
from app.admin.stream import COLUMNS, Feed, TooManyError
from app.balancing.health import Sign
from app.discovery.list_watch import Condition
from app.telemetry.history import History
from tests.unit.admin.views import View
from tests.unit.telemetry.requests_made import Ended


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "INTERVAL", 0.01)


class Watcher:
    """One stream, and what a page would know by it."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages
        self.workers: dict[str, dict[str, Any]] = {}
        self.events: list[str] = []
        self.last: dict[str, Any] = {}

    async def more(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message = (await anext(self._messages)).decode()
        assert message.startswith("data: ")
        assert message.endswith("\n\n")
        self.last = json.loads(message[6:])
        for name in self.last.get("left", ()):
            del self.workers[name]
        for line in self.last["workers"]:
            worker = dict(zip(COLUMNS, line, strict=True))
            self.workers[worker["name"]] = worker
        self.events += [event["kind"] for event in self.last["events"]]
        return self.last

    async def rest(self) -> None:
        """Read to the end."""
        with suppress(StopAsyncIteration):
            while True:
                await self.more()

    async def close(self) -> None:
        await self._messages.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_everything_comes_first_and_then_what_changes() -> None:
    view = View(workers=3)
    seconds = count(1000)
    view.telemetry.history = History(
        view.pool, view.telemetry.requests, lambda: 0, wall=lambda: float(next(seconds))
    )
    view.telemetry.history.take()
    feed = Feed(view)
    watcher = Watcher(feed.watch())
    first = await watcher.more()
    assert first["boot"] == view.telemetry.boot
    pool = first["pool"]
    assert (pool["name"], pool["cap"], pool["rotation"]) == ("demo", 4, 3)
    assert list(watcher.workers) == ["worker-1", "worker-2", "worker-3"]
    assert watcher.workers["worker-1"]["phase"] == "ready"
    assert watcher.events == ["joined"] * 3
    assert len(first["history"]) == 1
    second = await watcher.more()
    assert (second["workers"], second["events"], second["history"]) == ([], [], [])
    view.pool.observe(view.pool.endpoints["worker-2"], Sign.CONNECT_REFUSED, 1.0, "no")
    view.telemetry.requests.ended(Ended(worker="worker-3"))
    view.telemetry.history.take()
    third = await watcher.more()
    assert [line[0] for line in third["workers"]] == ["worker-2", "worker-3"]
    assert watcher.workers["worker-2"]["reason"] == "connection refused: no"
    assert watcher.workers["worker-3"]["answer_seconds"] == 15
    assert watcher.events[3:] == ["ejected"]
    assert len(third["history"]) == 1
    view.discover("worker-1", "worker-3")
    await watcher.more()
    assert sorted(watcher.workers) == ["worker-1", "worker-3"]
    await watcher.close()


async def test_who_comes_later_begins_with_everything_and_all_get_the_same() -> None:
    view = View(workers=2)
    feed = Feed(view)
    early = Watcher(feed.watch())
    await early.more()
    await early.more()
    view.discover("worker-1", "worker-2", "worker-3")
    late = Watcher(feed.watch())
    await late.more()
    assert len(late.workers) == 3
    view.pool.observe(view.pool.endpoints["worker-1"], Sign.CONNECT_REFUSED, 1.0)
    for watcher in (early, late):
        while watcher.workers["worker-1"]["phase"] != "ejected":
            await watcher.more()
    assert early.workers == late.workers
    for watcher in (early, late):
        await watcher.close()


async def test_nothing_runs_while_nobody_watches() -> None:
    feed = Feed(View())
    before = asyncio.all_tasks()
    watcher = Watcher(feed.watch())
    await watcher.more()
    assert len(asyncio.all_tasks() - before) == 1
    await watcher.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
    again = Watcher(feed.watch())
    await again.more()
    await again.more()
    await again.close()


async def test_who_does_not_keep_up_is_let_go() -> None:
    feed = Feed(View())
    slow, quick = Watcher(feed.watch()), Watcher(feed.watch())
    await slow.more()
    await quick.more()
    while feed.watchers == 2:  # the slow one reads nothing
        await quick.more()
    await slow.rest()
    await quick.more()
    await quick.close()


async def test_at_the_end_all_are_told_the_last_and_let_go() -> None:
    view = View()
    watcher = Watcher(Feed(view).watch())
    await watcher.more()
    await watcher.more()
    view.telemetry.events.note("balancer", "stopping")
    view.telemetry.closed.set()
    await watcher.rest()
    assert watcher.events[-1] == "balancer"


async def test_more_than_so_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_WATCHERS", 2)
    feed = Feed(View())
    watchers = [Watcher(feed.watch()) for _ in range(2)]
    for watcher in watchers:
        await watcher.more()
    with pytest.raises(TooManyError):
        feed.watch()
    for watcher in watchers:
        await watcher.close()


async def test_troubles_are_said_in_words() -> None:
    view = View(workers=0)
    view.reasons = ["starting"]
    view.telemetry.config_ok = False
    view.probe_ignored = True
    view.discovery = Condition("slices", synced=True, last_error="403: forbidden")
    assert Feed(view).everything()["troubles"] == [
        "Not ready: starting.",
        "The pool's newest spec cannot be accepted: the last good one is in force.",
        "Every worker fails the probe: it is not obeyed.",
        "No watch of the Kubernetes API: 403: forbidden.",
        "No worker is in rotation: requests wait.",
    ]
    assert Feed(View()).everything()["troubles"] == []
