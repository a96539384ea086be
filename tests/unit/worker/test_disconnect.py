import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Message

from app.worker.disconnect import ClientDisconnectedError, run_while_connected


class Client:
    """An ASGI receive: silent until its client leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.body_ends = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Message:
        if self.body_ends:
            return self.body_ends.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Work that goes on until told, and tells whether it began and was stopped."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.stopped = False

    async def run(self) -> str:
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return "result"


@contextmanager
def no_task_left() -> Iterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before


async def test_the_work_is_done_while_the_client_stays() -> None:
    with no_task_left():
        client, work = Client(), Work()
        running = asyncio.create_task(run_while_connected(work.run(), client.receive))
        await work.began.wait()
        work.may_end.set()
        assert await running == "result"


async def test_the_work_stops_when_the_client_leaves() -> None:
    with no_task_left():
        client, work = Client(), Work()
        running = asyncio.create_task(run_while_connected(work.run(), client.receive))
        await work.began.wait()
        client.left.set()
        with pytest.raises(ClientDisconnectedError):
            await running
        assert work.stopped


async def test_a_client_that_left_before_the_work_began_stops_it_too() -> None:
    with no_task_left():
        client, work = Client(), Work()
        client.left.set()
        with pytest.raises(ClientDisconnectedError):
            await run_while_connected(work.run(), client.receive)
        assert work.stopped


async def test_the_error_of_the_work_comes_through() -> None:
    with no_task_left():

        async def broken() -> str:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run_while_connected(broken(), Client().receive)


async def test_cancelling_the_handler_stops_the_work() -> None:
    with no_task_left():
        client, work = Client(), Work()
        running = asyncio.create_task(run_while_connected(work.run(), client.receive))
        await work.began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert work.stopped
