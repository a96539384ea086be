"""Work that ends with its client: a FastAPI handler goes on to its end after the client has left.

For a request of 15 seconds that is 15 seconds of a slot for nobody. `run_while_connected` is
what a worker of your own can copy; `app.worker.api` calls it once the request's body is read.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientDisconnectedError(Exception):
    """The client closed its connection before its work was done."""


async def run_while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Return the result of `work`, or raise what it raises; stop it when the client leaves.

    `receive` is the request's own, its body read to the end: what it gives next is the
    disconnect. Raises ClientDisconnectedError once the work has stopped. Whichever way it ends,
    no task stays behind.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnectedError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    # The server sleeps in here until the connection ends, so nothing is polled. An empty piece of
    # body may still come first: ASGI lets a server end a body with one.
    while (await receive())["type"] != "http.disconnect":
        pass
