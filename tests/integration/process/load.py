"""Load on a balancer: clients that ask one after the other, check each answer, and go on."""

import asyncio
from random import Random
from types import TracebackType
from typing import Self

from tests.integration.process.client import Connection, check, compute
from tests.integration.process.harness import LIMIT, until


class Load:
    """`async with Load(port, 16) as load:` asks until the end of the block.

    At the end each client finishes its request. What went wrong is in `failures`, as text; a
    client goes on after it with a new connection.
    """

    def __init__(
        self, port: int, clients: int, *fields: str, seed: int = 0, largest: int = 2000
    ) -> None:
        """`fields` go with each request; payloads have up to `largest` characters."""
        self.failures: list[str] = []
        self.answered = 0
        self._port = port
        self._clients = clients
        self._fields = fields
        self._random = Random(seed)
        self._largest = largest
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping = True
        _, hanging = await asyncio.wait(self._tasks, timeout=LIMIT if error is None else 0)
        for task in hanging:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            assert not any(results), results

    async def more(self, number: int = 1) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answered + number
        await until(f"{number} more answers", lambda: self.answered >= wanted)

    async def _client(self, number: int) -> None:
        connection: Connection | None = None
        asked = 0
        try:
            while not self._stopping:
                asked += 1
                payload = f"{number}.{asked}." + "x" * self._random.randrange(self._largest)
                try:
                    connection = connection or await Connection.open(self._port)
                    answer = await connection.ask(compute(payload, *self._fields))
                    check(answer, payload)
                except (OSError, EOFError, AssertionError) as error:
                    self.failures.append(f"{number}.{asked}: {error!r}"[:500])
                    close = True
                else:
                    self.answered += 1
                    close = answer.headers.get("connection") == "close"
                if close and connection is not None:
                    connection.close()
                    connection = None
        finally:  # also where the test failed, and this was cancelled
            if connection is not None:
                connection.close()
