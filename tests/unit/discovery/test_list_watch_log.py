"""What a list-watch says in the log: each trouble once, and the end of it."""

import asyncio
import logging

import pytest

from tests.unit.discovery.model import Watched
from tests.unit.discovery.rig import Rig, play, server, wait


def test_the_log_says_each_thing_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    play(server("a", list_faults=["error"] * 9), wait(300))
    assert [record.getMessage() for record in caplog.records] == [
        "things: no route to host",
        "things: watched again",
    ]
    assert caplog.records[0].levelname == "WARNING"


def test_the_log_says_it_again_after_a_healthy_spell(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def script(rig: Rig) -> None:
        for name in "bc":
            await asyncio.sleep(60)
            rig.server.put(name)
        await asyncio.sleep(1)

    play(server("a", watches=[Watched("error", 1), Watched("error", 1)]), script)
    again = ["things: connection reset", "things: watched again"]
    assert [record.getMessage() for record in caplog.records] == [*again, *again]


def test_expected_ends_are_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    play(server("a", watches=[Watched("gone"), Watched("silence"), Watched("order")]), wait(200))
    assert [record.levelname for record in caplog.records] == ["INFO"] * 3
