"""Whatever happens, in whatever order: the store has what the server had, and has it in the end.

`Checked` sees to it at each change that the store's content is one that the server's set had, no
older than the last. So no failure empties it, and nothing that vanished comes back.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from app.discovery.list_watch import ListWatch
from tests.unit.discovery.model import Checked, Server, Watched
from tests.unit.discovery.paused import run_paused


@dataclass
class Play:
    """What happens at the server, each after so many seconds, and what goes wrong meanwhile."""

    first: list[str]
    acts: list[tuple[float, str, str]]
    faults: dict[str, Any]
    seed: int = 0


NAMES = st.sampled_from("abc")
PAUSES = st.one_of(
    st.just(0.0), st.floats(0, 0.05), st.floats(0, 3), st.sampled_from([30.0, 100.0, 700.0])
)
ACTS = st.tuples(PAUSES, st.sampled_from(["put", "remove", "pass_by", "compact"]), NAMES)
FAULTS = st.sampled_from(["", "", "", "error", "gone", "hang"])
ENDS = st.sampled_from(
    [
        "never",
        "order",
        "order",
        "error",
        "gone",
        "silence",
        "strange",
        "bare",
        "nameless",
        "ageless",
    ]
)
PLAYS = st.builds(
    Play,
    first=st.lists(NAMES, max_size=3, unique=True),
    acts=st.lists(ACTS, max_size=25),
    faults=st.fixed_dictionaries(
        {
            "page_size": st.integers(1, 2),
            "bookmarks": st.booleans(),
            "list_faults": st.lists(FAULTS, max_size=10),
            "open_faults": st.lists(FAULTS, max_size=6),
            "watches": st.lists(st.builds(Watched, ENDS, st.integers(0, 3)), max_size=10),
        }
    ),
    seed=st.integers(0, 99),
)


async def perform(play: Play) -> None:
    server = Server(**play.faults)
    for name in play.first:
        server.put(name)
    store = Checked(server)
    list_watch = ListWatch(server, store, name="things", random=Random(play.seed))
    task = asyncio.create_task(list_watch.run())
    for pause, act, name in play.acts:
        await asyncio.sleep(pause)
        if act in {"put", "remove"}:
            getattr(server, act)(name)
        else:
            getattr(server, act)()
    for _ in range(100):
        # Each fault costs a silence at most, and there are no more than 26.
        await asyncio.sleep(100)
        if task.done():
            task.result()  # what the store has to say
        if list_watch.condition.watching and store.content == server.state:
            break
    assert store.content == server.state
    assert list_watch.condition.synced
    event(f"{min(list_watch.condition.restarts, 5)} restarts or more")
    task.cancel()


@settings(max_examples=300, deadline=None)
@given(PLAYS)
def test_it_converges(play: Play) -> None:
    run_paused(perform(play))
