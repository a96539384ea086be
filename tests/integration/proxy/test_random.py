"""The same bytes cut anywhere mean the same, and nobody gets a byte that is another's."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import (
    Request,
    Response,
    Truncated,
    Wire,
    chunked,
    request,
    response,
)
from tests.integration.proxy.workers import ScriptedWorker

BATCH = 12


def cut(data: bytes, chance: Random) -> Iterator[bytes]:
    """Cut `data` into pieces, most of them small."""
    while data:
        size = chance.choice([1, 2, 3, 7, 20, 100, 1000, len(data)])
        yield data[:size]
        data = data[size:]


async def send_cut(wire: Wire, data: bytes, chance: Random) -> None:
    """Send in pieces that the balancer reads one by one, mostly."""
    for piece in cut(data, chance):
        await wire.send(piece)
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)


def some_request(tag: str, chance: Random) -> bytes:
    """Write a request that carries its tag in every part."""
    method = chance.choice(["GET", "HEAD", "POST", "PUT", "PURGE"])
    body = f"{tag} ".encode() * chance.choice([0, 1, 30, 3000])
    lines = [f"X-Tag: {tag}", *chance.sample(["Cookie: a", "Connection: X-A", "X-A: b"], 2)]
    if chance.random() < 0.3:
        parts = list(cut(body, chance)) if len(body) < 1000 else [body]
        head = request(f"/{tag}", *lines, "Transfer-Encoding: chunked", method=method)
        return head + chunked(*parts, trailers=f"X-Sum: {tag}\r\n".encode())
    return request(f"/{tag}", *lines, method=method, body=body or None)


def some_response(got: Request, chance: Random) -> tuple[bytes, bool]:
    """Answer a request with all that it carries; tell whether the connection ends with that."""
    tag = (got.get(b"x-tag") or b"").decode()
    line = f"X-Tag: {tag}"
    body = b"%b for %b, %d bytes " % (tag.encode(), got.method, len(got.body))
    body *= chance.choice([1, 20, 2000])
    interim = f"HTTP/1.1 103 Early Hints\r\n{line}\r\n\r\n".encode() * chance.randrange(2)
    kind = chance.choice(["length", "chunked", "close", "none"])
    if kind == "none" or got.method == b"HEAD":
        return interim + response(None, line, status="204 No Content"), False
    if kind == "length":
        return interim + response(body, line), False
    if kind == "close":
        return interim + response(None, line) + body, True
    head = response(None, line, "Transfer-Encoding: chunked")
    half = len(body) // 2
    tail = chunked(body[:half], body[half:], trailers=f"X-Sum: {tag}\r\n".encode())
    return interim + head + tail, False


def expected(raw: bytes) -> tuple[int, bytes]:
    """What a client should get of a response that `some_response` wrote: status and body."""
    head, _, body = raw.rpartition(b"X-Tag: ")[2].partition(b"\r\n\r\n")
    if b"chunked" in head:
        whole = b""
        while body[:1] != b"0":
            size, _, body = body.partition(b"\r\n")
            whole += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        body = whole
    return (204 if b" 204 " in raw else 200), body


def is_all_its_own(answer: Response, tag: str) -> bool:
    """Whether every part of a response carries the tag, and no other."""
    tags = answer.all(b"x-tag") + [value for _, value in answer.trailers]
    tags += [tag for hint in answer.interim for tag in hint.all(b"x-tag")]
    words = answer.body.split()[::5]
    return set(tags) == {tag.encode()} and set(words) <= {tag.encode()}


@pytest.mark.parametrize("seed", range(15))
async def test_pipelined_requests_and_responses_cut_anywhere(stage: Stage, seed: int) -> None:
    chance = Random(seed)
    asked: list[Request] = []
    answers: list[bytes] = []

    async def answer(wire: Wire, got: Request) -> None:
        raw, closes = some_response(got, chance)
        asked.append(got)
        answers.append(raw)
        await send_cut(wire, raw, chance)
        if closes:
            wire.close()

    async with stage() as scene:
        scene.worker.serve(answer)
        client = await scene.client()
        batch = [some_request(f"{seed}-{number}", chance) for number in range(BATCH)]
        sending = scene.background(send_cut(client, b"".join(batch), chance))
        for number, raw in enumerate(batch):
            tag = f"{seed}-{number}"
            got = await client.response(raw.split(b" ", 1)[0])
            assert is_all_its_own(got, tag)
            assert (got.status, got.body) == expected(answers[number])
            assert asked[number].target == f"/{tag}".encode()
            assert set(asked[number].body.split()) <= {tag.encode()}
            assert raw.endswith((asked[number].body, b"X-Sum: %b\r\n\r\n" % tag.encode()))
        await sending
        assert scene.proxy.backend.stats.requests == len(asked) == BATCH
        assert scene.healthy()


@pytest.mark.parametrize("seed", range(3))
async def test_no_byte_of_one_client_reaches_another(stage: Stage, seed: int) -> None:
    """With workers that die and clients that leave in the middle of everything."""
    chance = Random(seed)
    done = 0

    async def answer(wire: Wire, got: Request) -> None:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))
        raw, closes = some_response(got, chance)
        if chance.random() < 0.03:
            await send_cut(wire, raw[: chance.randrange(len(raw))], chance)
            wire.reset()
            return
        if not closes and len(raw) < 9000 and chance.random() < 0.03:
            # More than was asked for, and at once: after a pause it would be the next's response.
            await wire.send(raw + response(b"more"))
            return
        await send_cut(wire, raw, chance)
        if closes:
            wire.close()

    async def talk(name: str) -> None:
        nonlocal done
        client = await scene.client()
        for number in range(20):
            tag = f"{name}-{number}"
            raw = some_request(tag, chance)
            sending = asyncio.create_task(send_cut(client, raw, chance))
            if chance.random() < 0.03:  # leaves
                await asyncio.sleep(0)
                sending.cancel()
                chance.choice([Wire.close, Wire.reset])(client)
                client = await scene.client()
                continue
            try:
                got = await client.response(raw.split(b" ", 1)[0])
                await sending
            except (ConnectionError, Truncated):
                client.close()
                sending.cancel()
                client = await scene.client()
                continue
            if got.status < 500:
                assert is_all_its_own(got, tag), (tag, got)
                done += 1

    workers = [ScriptedWorker(f"127.0.0.{n}") for n in (1, 2, 3)]
    async with stage(workers, maxInFlight=6, health={"failures": 100}) as scene:
        for worker in scene.workers:
            worker.serve(answer)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(talk(f"{seed}-{number}"))
        await scene.in_flight(0)
        assert done > 700
