"""List, watch and what may befall them. Time jumps: nothing here waits."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from app.discovery.list_watch import Limits, ListWatch
from app.discovery.source import SourceError
from tests.unit.discovery.model import Checked, Server, Watched
from tests.unit.discovery.paused import run_paused
from tests.unit.discovery.rig import Rig, play, server, wait


def test_a_list_and_then_a_watch_from_its_version() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(1)
        rig.server.put("d")
        rig.server.put("a")
        rig.server.remove("b")
        await asyncio.sleep(1)

    rig = play(server("a", "b", "c"), script)
    assert rig.server.asked == ["0.00 list", "0.01 list 103-1", "0.02 watch 103"]
    assert rig.store.told == ["0.02 = a b c", "1.00 + d", "1.00 + a", "1.00 - b"]
    assert rig.condition.synced
    assert rig.condition.last_contact == 1.0
    assert rig.condition.restarts == 0


def test_an_empty_list_empties_the_set() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(1)
        rig.server.remove("a")
        rig.server.compact()
        await asyncio.sleep(100)

    rig = play(server("a", watches=[Watched("silence")]), script)
    assert [line.split()[1:] for line in rig.store.told] == [["=", "a"], ["="]]


def test_a_failed_list_is_no_list() -> None:
    rig = play(server("a", "b", "c", list_faults=["", "error", "error"]), wait(2))
    assert rig.store.told == ["0.65 = a b c"]
    assert rig.server.asked[:4] == ["0.00 list", "0.01 list 103-1", "0.22 list", "0.63 list"]
    assert rig.condition.restarts == 2
    assert rig.condition.last_error == "no route to host"


def test_an_outage_leaves_what_is_known() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(300)
        assert rig.store.content.keys() == {"a", "b"}
        assert rig.condition.synced
        assert not rig.condition.watching
        rig.server.remove("a")
        rig.server.list_faults.clear()
        await asyncio.sleep(10)
        assert rig.store.content.keys() == {"b"}
        assert rig.condition.watching

    play(server("a", "b", watches=[Watched("error")], list_faults=["", *["error"] * 99]), script)


def test_the_pauses_double_up_to_a_bound() -> None:
    rig = play(server(list_faults=["error"] * 99), wait(60))
    times = [float(line.split()[0]) for line in rig.server.asked]
    pauses = [round(b - a - 0.01, 1) for a, b in pairwise(times)]
    assert pauses[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


def test_the_pauses_are_jittered() -> None:
    async def main() -> set[str]:
        seen = set()
        for seed in range(10):
            shaky = server(list_faults=["error"])
            list_watch = ListWatch(shaky, Checked(shaky), name="x", random=Random(seed))
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(list_watch.run())
            await asyncio.sleep(1)
            task.cancel()
            pause = float(shaky.asked[1].split()[0]) - began - 0.01
            assert 0.09 <= pause <= 0.21
            seen.add(f"{pause:.2f}")
        return seen

    assert len(run_paused(main())) > 3


def test_a_healthy_spell_ends_the_doubling() -> None:
    watches = [Watched("error", 1), Watched("never")]
    shaky = server("a", list_faults=["error"] * 6, watches=watches)

    async def script(rig: Rig) -> None:
        await asyncio.sleep(40)
        before = len(rig.server.asked)
        rig.server.put("b")
        await asyncio.sleep(1)
        assert rig.server.asked[before:] == ["40.20 list", "40.21 watch 102"]

    play(shaky, script)


def test_a_list_that_works_does_not_end_the_doubling_alone() -> None:
    rig = play(server("a", watches=[Watched("error")] * 99), wait(60))
    lists = [float(line.split()[0]) for line in rig.server.asked if "list" in line]
    assert len(lists) < 14
    assert lists[-1] - lists[-2] > 10


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    class Busy(Server):
        async def list_page(self, token: str) -> object:  # type: ignore[override]
            if len(self.asked) < 1:
                self._ask("list")
                raise SourceError("429", retry_after=5)
            return await super().list_page(token)

    rig = play(Busy(), wait(9))
    assert rig.server.asked[:2] == ["0.00 list", "5.00 list"]


@pytest.mark.parametrize("end", ["gone", "error", "strange", "bare", "nameless", "ageless"])
def test_after_a_doubtful_end_there_is_a_list(end: str) -> None:
    doubtful = server("a", "b", watches=[Watched(end, 1)])  # type: ignore[arg-type]

    async def script(rig: Rig) -> None:
        await asyncio.sleep(5)
        rig.server.put("c")
        rig.server.remove("a")  # in the gap
        await asyncio.sleep(5)

    rig = play(doubtful, script)
    assert rig.server.asked[1:] == ["0.01 watch 102", "5.20 list", "5.21 watch 104"]
    assert rig.store.told == ["0.01 = a b", "5.00 + c", "5.21 = b c"]
    assert rig.condition.restarts == 1


def test_gone_at_the_opening_too() -> None:
    rig = play(server("a", open_faults=["gone"]), wait(5))
    assert [line.split()[1] for line in rig.server.asked] == ["list", "watch", "list", "watch"]


def test_an_orderly_end_is_resumed_without_a_list() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(5)
        rig.server.put("b")
        await asyncio.sleep(5)
        rig.server.put("c")
        await asyncio.sleep(1)

    rig = play(server("a", watches=[Watched("order", 1)]), script)
    assert rig.server.asked == ["0.00 list", "0.01 watch 101", "5.00 watch 102"]
    assert rig.store.told == ["0.01 = a", "5.00 + b", "10.00 + c"]
    assert rig.condition.restarts == 0


def test_the_server_ends_each_watch_and_bookmarks_save_the_list() -> None:
    async def script(rig: Rig) -> None:
        for _ in range(8):
            await asyncio.sleep(60)
            rig.server.pass_by()
        rig.server.compact()  # what happened before is forgotten, and was told of by a bookmark
        rig.server.put("b")
        await asyncio.sleep(60)

    rig = play(server("a"), script)
    assert rig.server.asked == ["0.00 list", "0.01 watch 101", "300.02 watch 105"]
    assert rig.store.told == ["0.01 = a", "480.00 + b"]


def test_now_and_then_there_is_a_list_all_the_same() -> None:
    rig = play(server("a"), wait(1250))
    lists = [float(line.split()[0]) for line in rig.server.asked if "list" in line]
    assert lists == [0.0, 600.03, 1200.06]
    assert rig.condition.restarts == 0


def test_watches_that_end_every_second() -> None:
    async def script(rig: Rig) -> None:
        for count in range(30):
            await asyncio.sleep(1)
            rig.server.put(f"new-{count}")
            await asyncio.sleep(0)
        await asyncio.sleep(2)

    rig = play(server(watches=[Watched("order", 1)] * 99), script)
    assert len(rig.store.content) == 30
    assert sum("list" in line for line in rig.server.asked) == 1
    assert sum("watch" in line for line in rig.server.asked) <= 32


def test_watches_that_end_at_once_make_it_a_poll_once_a_second() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(30)
        rig.server.put("b")
        await asyncio.sleep(1.1)
        assert rig.store.content.keys() == {"a", "b"}

    rig = play(server("a", watches=[Watched("order")] * 999), script)
    assert 25 < sum("list" in line for line in rig.server.asked) < 35


def test_silence_ends_a_watch() -> None:
    async def script(rig: Rig) -> None:
        await asyncio.sleep(1)
        rig.server.put("b")  # never told
        await asyncio.sleep(74)
        assert rig.store.content.keys() == {"a"}
        await asyncio.sleep(1)
        assert rig.store.content.keys() == {"a", "b"}

    rig = play(server("a", watches=[Watched("silence")]), script)
    assert rig.condition.last_error == "a silent watch for 75 s"


def test_each_sign_of_life_winds_up_the_watchdog() -> None:
    rig = play(server("a"), wait(290), Limits(silence=61))
    assert len(rig.server.asked) == 2
    assert rig.condition.last_contact == 240.02


def test_a_server_without_bookmarks_is_listed_again() -> None:
    rig = play(server("a", bookmarks=False), wait(160))
    assert sum("list" in line for line in rig.server.asked) == 3
    assert rig.store.content.keys() == {"a"}


def test_a_list_that_hangs() -> None:
    rig = play(server("a", list_faults=["hang"]), wait(31))
    assert rig.store.told == ["30.21 = a"]
    assert rig.condition.last_error == "no answer to a list for 30 s"


def test_a_watch_that_is_not_answered() -> None:
    rig = play(server("a", open_faults=["hang"]), wait(17))
    assert rig.server.asked[1:] == ["0.01 watch 101", "15.21 list", "15.22 watch 101"]
    assert rig.condition.last_error == "no answer to a watch for 15 s"


def test_an_expired_page_restarts_the_list() -> None:
    rig = play(server("a", "b", "c", list_faults=["", "gone"]), wait(1))
    assert rig.server.asked[:4] == [
        "0.00 list",
        "0.01 list 103-1",
        "0.02 list",
        "0.03 list 103-1",
    ]
    assert rig.store.told == ["0.04 = a b c"]
    assert rig.condition.restarts == 0


def test_pages_that_always_expire_are_a_failure() -> None:
    rig = play(server("a", "b", "c", list_faults=["", "gone", "", "gone"]), wait(2))
    assert rig.server.asked[4] == "0.24 list"
    assert rig.condition.restarts == 1


def test_what_the_store_raises_ends_it() -> None:
    class Broken(Checked):
        def put(self, obj: object) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        there = server("a")
        list_watch = ListWatch(there, Broken(there), name="x")
        asyncio.get_running_loop().call_later(1, there.put, "b")
        await list_watch.run()

    with pytest.raises(ZeroDivisionError):
        run_paused(main())
