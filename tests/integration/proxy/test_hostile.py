"""Hostile clients and a hostile worker beside good clients, who must not notice.

The hostile requests are good ones with bytes changed, taken out, put in or moved. What a worker
gets of them is read by the strict parser of `wire`, which raises at the first byte that is not
clearly HTTP: nothing of that kind may be passed on.
"""

import asyncio
import contextlib
from collections.abc import Callable
from random import Random

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.test_random import is_all_its_own, send_cut, some_request
from tests.integration.proxy.test_random import some_response as honest
from tests.integration.proxy.wire import Request, Truncated, Wire
from tests.integration.proxy.workers import ScriptedWorker

GOOD, EVIL = 20, 20
"""Clients of each kind."""

ROUNDS = 15

_ODD = [
    *(b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x0b", b"\x7f", b"\xff", b"\r\n", b"\r\n\r\n"),
    *(b"0", b"9", b"f", b",", b";", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Host: b\r\n", b"Connection: close\r\n", b"Connection: Host\r\n", b"Upgrade: h2c\r\n"),
    *(b"GET /evil-in HTTP/1.1\r\nHost: a\r\nX-Tag: evil-in\r\n\r\n", b"0\r\n\r\n", b" folded\r\n"),
]


def _put_in(raw: bytes, at: int, chance: Random) -> bytes:
    return raw[:at] + chance.choice(_ODD) + raw[at:]


def _put_over(raw: bytes, at: int, chance: Random) -> bytes:
    odd = chance.choice(_ODD)
    return raw[:at] + odd + raw[at + len(odd) :]


def _take_out(raw: bytes, at: int, chance: Random) -> bytes:
    return raw[:at] + raw[at + chance.choice([1, 2, 10]) :]


def _double(raw: bytes, at: int, chance: Random) -> bytes:
    piece = raw[at : at + chance.choice([1, 2, 20, 100])]
    return raw[:at] + piece + piece + raw[at + len(piece) :]


def _cut_off(raw: bytes, at: int, chance: Random) -> bytes:
    return raw[:at]


def _swap_lines(raw: bytes, at: int, chance: Random) -> bytes:
    lines = raw.split(b"\r\n")
    first, second = (chance.randrange(len(lines)) for _ in range(2))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\r\n".join(lines)


_MUTATIONS: list[Callable[[bytes, int, Random], bytes]] = [
    *(_put_in, _put_in, _put_over, _take_out, _double, _cut_off, _swap_lines)
]


def mutated(raw: bytes, chance: Random) -> bytes:
    """Damage a message in one to three places, mostly within its head."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        end = raw.find(b"\r\n\r\n") + 8 if chance.random() < 0.8 else len(raw)
        at = chance.randrange(max(1, min(end, len(raw))))
        raw = chance.choice(_MUTATIONS)(raw, at, chance)
    return raw


def is_evil(got: Request) -> bool:
    return not any(tag.startswith(b"good-") for tag in got.all(b"x-tag"))


@pytest.mark.parametrize("seed", range(3))
async def test_good_clients_do_not_notice_hostile_ones(stage: Stage, seed: int) -> None:
    chance = Random(seed)
    seen: list[bytes] = []
    done = refused = 0

    async def answer(wire: Wire, got: Request) -> None:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))
        evil = is_evil(got)
        if evil:
            got.fields = [(b"x-tag", b"evil")]  # instead of two, or none
        raw, closes = honest(got, chance)
        if evil:  # the worker is hostile, too
            await wire.send(mutated(raw, chance) if chance.random() < 0.5 else raw)
            wire.close()
            return
        tag = got.get(b"x-tag") or b""
        assert got.target == b"/" + tag
        assert set(got.body.split()) <= {tag}
        seen.append(tag)
        await send_cut(wire, raw, chance)
        if closes:
            wire.close()

    async def good(name: str) -> None:
        nonlocal done
        client = await scene.client()
        for number in range(ROUNDS):
            tag = f"{name}-{number}"
            raw = some_request(tag, chance)
            # A worker that closes after a hostile request may meet a good one on its way.
            raw = raw.replace(b"\r\n", b"\r\nIdempotency-Key: 1\r\n", 1)
            await send_cut(client, raw, chance)
            got = await client.response(raw.split(b" ", 1)[0])
            assert is_all_its_own(got, tag), (tag, got)
            done += 1

    async def evil(name: str) -> None:
        nonlocal refused
        for number in range(ROUNDS):
            batch = [some_request(f"{name}-{number}", chance) for _ in range(chance.choice([1, 2]))]
            client = await scene.client()
            with contextlib.suppress(ConnectionError, Truncated, TimeoutError):
                await client.send(mutated(b"".join(batch), chance))
                async with asyncio.timeout(0.05):
                    refused += b" 400 " in await client.until(b"\r\n")
                    await client.rest()
            assert b"good-" not in client.held
            chance.choice([Wire.close, Wire.reset])(client)

    workers = [ScriptedWorker(f"127.0.0.{n}") for n in (1, 2)]
    async with stage(workers, maxInFlight=8, health={"failures": 100}) as scene:
        for worker in scene.workers:
            worker.serve(answer)
        async with asyncio.TaskGroup() as group:
            for number in range(GOOD):
                group.create_task(good(f"good-{seed}-{number}"))
            for number in range(EVIL):
                group.create_task(evil(f"evil-{seed}-{number}"))
        assert done == GOOD * ROUNDS
        assert len(seen) == len(set(seen)) == done
        assert refused > 10
