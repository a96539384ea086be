"""Upgrades that are not tunnelled: served as the plain HTTP/1.1 that they are, too."""

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import chunked, request, response

SETTINGS = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
SMUGGLED = request("/smuggled")


@pytest.mark.parametrize("protocol", ["h2c", "foo", "websocket, h2c", "TLS/1.0", "websocket/13"])
async def test_another_upgrade_is_stripped(stage: Stage, protocol: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Connection: Upgrade", f"Upgrade: {protocol}"))
        worker, got = await scene.worker.request()
        assert got.get(b"upgrade") is None
        assert got.get(b"connection") is None
        await worker.send(response(b"plain"))
        assert (await client.response()).body == b"plain"


@pytest.mark.parametrize("chunks", [True, False])
async def test_the_body_of_an_upgrade_to_h2c_smuggles_nothing(stage: Stage, chunks: bool) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS)
        if chunks:
            head = request("/", *lines, "Transfer-Encoding: chunked", method="POST")
            await client.send(head + chunked(SMUGGLED))
        else:
            await client.send(request("/", *lines, method="POST", body=SMUGGLED))
        worker, got = await scene.worker.request()
        assert (got.method, got.target, got.body) == (b"POST", b"/", SMUGGLED)
        assert got.get(b"upgrade") is got.get(b"http2-settings") is None
        await worker.send(response(b"one"))
        assert (await client.response()).body == b"one"
        await client.send(request("/two"))
        assert (await worker.request()).target == b"/two"
        assert worker.held == b""
        await worker.send(response(b"two"))
        assert (await client.response()).body == b"two"
        assert scene.proxy.backend.stats.requests == 2


async def test_a_websocket_handshake_with_a_body_is_no_handshake(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Connection: Upgrade", "Upgrade: websocket")
        await client.send(request("/", *lines, method="POST", body=SMUGGLED))
        worker, got = await scene.worker.request()
        assert (got.body, got.get(b"upgrade")) == (SMUGGLED, None)
        await worker.send(response(b"plain"))
        assert (await client.response()).body == b"plain"


async def test_an_upgrade_that_connection_does_not_name_is_none(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Upgrade: websocket"))
        worker, got = await scene.worker.request()
        assert got.get(b"upgrade") is None
        await worker.send(response())
        await client.response()


async def test_an_upgrade_of_an_http_1_0_client_is_none(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Connection: Upgrade", "Upgrade: websocket")
        await client.send(request("/", *lines, version="HTTP/1.0"))
        worker, got = await scene.worker.request()
        assert got.get(b"upgrade") is None
        await worker.send(response())
        await client.response()


async def test_a_worker_may_decline_a_websocket(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/ws", "Connection: Upgrade", "Upgrade: websocket"))
        worker, _ = await scene.worker.request()
        await worker.send(response(b"no", status="403 Forbidden"))
        answer = await client.response()
        assert (answer.status, answer.body) == (403, b"no")
        await client.send(request("/next"))
        assert (await worker.request()).target == b"/next"
        await worker.send(response())
        await client.response()


@pytest.mark.parametrize("asked", [None, "websocket", "foo"])
async def test_a_switch_to_what_was_not_asked_for_is_a_502(stage: Stage, asked: str | None) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = () if asked is None else ("Connection: Upgrade", f"Upgrade: {asked}")
        await client.send(request("/", *lines))
        worker, _ = await scene.worker.request()
        switch = response(None, "Connection: Upgrade", "Upgrade: foo", status="101 Switching")
        await worker.send(switch + b"and bytes of another protocol")
        assert (await client.response()).status == 502
        await worker.gone()
