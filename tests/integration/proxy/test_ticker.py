"""One connection's fault, or one tick's, does not end the process."""

import logging
from math import inf
from time import monotonic

import pytest

from app.balancing.pool import Pool
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import request, response
from tests.integration.waiting import eventually


class Mortal:
    """Something with a deadline that it cannot bear, or can."""

    def __init__(self, *, fails: bool) -> None:
        self.armed = inf
        self.looked_at = 0
        self._fails = fails

    def expire(self, now: float) -> float | None:
        self.looked_at += 1
        if self._fails:
            raise ZeroDivisionError
        return None


async def test_a_deadline_that_fails_ends_neither_the_others_nor_the_process(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as scene:
        mortals = [Mortal(fails=True), Mortal(fails=False), Mortal(fails=True)]
        now = monotonic()
        for mortal in mortals:
            scene.proxy.deadlines.arm(mortal, now)
        await eventually(lambda: all(mortal.looked_at for mortal in mortals), "all looked at")
        assert sum("ZeroDivisionError" in (r.exc_text or "") for r in caplog.records) == 2
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(b"alive"))
        assert (await client.response()).body == b"alive"


async def test_a_tick_of_the_pool_that_fails_does_not_end_the_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = 0

    def fail(pool: Pool, now: float) -> None:
        nonlocal failed
        failed += 1
        raise ZeroDivisionError

    async with stage() as scene:
        with monkeypatch.context() as patched:
            patched.setattr(Pool, "tick", fail)
            await eventually(lambda: failed >= 3, "three ticks that failed")
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert errors
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(response(b"alive"))
        assert (await client.response()).body == b"alive"


async def test_accepting_pauses_with_one_warning(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(settings={"max_connections": 1}) as scene:
        clients = [await scene.client() for _ in range(5)]
        worker = None
        for client in clients:  # each of them waits for the one before
            await client.send(request())
            worker = worker or await scene.worker.connection()
            await worker.request()
            await worker.send(response())
            await client.response()
            client.close()
        warnings = [r for r in caplog.records if "accepting pauses" in r.getMessage()]
        assert len(warnings) == 1
