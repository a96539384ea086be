"""The file of the replicas' secret changes, or cannot be read: links that stand go on."""

import asyncio

import pytest

from tests.integration.peers.rig import Api, running, two_of_them
from tests.integration.waiting import LIMIT, eventually


async def test_a_secret_that_changes(api: Api) -> None:
    """Those who still have the old one come in as soon as they have the new one."""
    async with two_of_them(api) as (one, two):
        one.secret = b"what they will all know"
        await one.serves()
        await two.serves()
        async with running(api, "three") as three:
            await eventually(lambda: three.me.id in str(api.lease), "it stands in the Lease")
            await eventually(lambda: three.links, "it calls")
            assert three.role == "joining"
            three.secret = one.secret
            await three.is_now("following")
            await three.serves()
        assert (one.role, two.role) == ("deciding", "following")
        assert two.runner.replica.promised == one.runner.replica.promised


async def test_a_secret_that_vanishes_where_others_come(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_of_them(api) as (one, two):
        links = one.links
        one.unreadable = "No such file or directory"
        reader, writer = await asyncio.open_connection(one.host, one.port)
        async with asyncio.timeout(LIMIT):
            assert await reader.read() == b""
        writer.close()
        assert "the peers' secret cannot be read" in caplog.text
        assert one.links == links
        await one.serves()
        await two.serves()
        one.unreadable = ""
        async with running(api, "three") as three:
            await three.is_now("following")


async def test_a_secret_that_vanishes_where_one_goes(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(api, "one") as one:
        await one.is_now("deciding")
        async with running(api, "two") as two:
            two.unreadable = "No such file or directory"
            await eventually(lambda: "the peers' secret" in caplog.text, "it tries to call")
            assert two.runner.unready()
            two.unreadable = ""
            await two.is_now("following")
            await two.serves()
