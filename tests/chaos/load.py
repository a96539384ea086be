"""The clients of a chaos run: what they ask, what they check, and what may go wrong by right.

A request may fail only if the promise (docs/reliability.md) leaves it out: it may not be repeated
(a POST without a key), its body did not fit the replay buffer, or the answer had begun.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic

from tests.chaos.worker import content, digest
from tests.integration.process.client import Connection

REPLAY_LIMIT = 64 * 1024
LARGEST = 200 * 1024
LEAVE = 0.03
"""Share of the requests whose client leaves before the answer is complete."""

HURRIED = 0.9
"""Share of the requests that are sent in one piece and whose answer is read at once; the others
are sent in some pieces, or read late."""

PATIENCE = 45.0
"""Seconds after which a client calls its request lost: nothing in a run takes half as long."""

_SIZES = ((0, 0), (1, 200), (200, 4_000), (4_000, 60_000), (70_000, LARGEST))
_SIZE_WEIGHTS = (30, 30, 20, 12, 8)
_WORK = ((0.001, 0.02), (0.02, 0.2), (0.2, 1.0))
_WORK_WEIGHTS = (60, 30, 10)


class Wrong(Exception):  # noqa: N818 - an observation
    """An answer that is not the request's."""


@dataclass
class Request:
    """One request, and all that is to be known about it."""

    identifier: str
    method: str
    keyed: bool
    """Whether it carries an Idempotency-Key."""

    repeatable: bool
    """Whether the balancer may send it again after it was written."""

    body: bytes
    work: float
    size: int
    chunked: bool
    upload_chunked: bool

    @property
    def replayable(self) -> bool:
        """Whether the balancer can, and may."""
        return self.repeatable and len(self.body) <= REPLAY_LIMIT

    def wire(self) -> bytes:
        """Write it out."""
        lines = [
            f"{self.method} /{self.identifier} HTTP/1.1",
            "Host: chaos",
            f"X-Id: {self.identifier}",
            f"X-Work: {self.work:.4f}",
            f"X-Size: {self.size}",
            f"X-Digest: {digest(self.body)}",
        ]
        lines += ["X-Chunked: yes"] if self.chunked else []
        lines += [f"Idempotency-Key: {self.identifier}"] if self.keyed else []
        lines += [] if self.repeatable else ["X-Once: yes"]
        body = self.body
        if self.upload_chunked and body:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif body or self.method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


def any_request(identifier: str, chance: Random, *, non_idempotent: bool = False) -> Request:
    """Make up a request for a pool that sends again what is not idempotent, or does not."""
    method, keyed = chance.choices(
        (("GET", False), ("PUT", False), ("POST", True), ("POST", False)), (40, 25, 25, 10)
    )[0]
    size, answer = (chance.randint(*r) for r in chance.choices(_SIZES, _SIZE_WEIGHTS, k=2))
    return Request(
        identifier,
        method,
        keyed,
        keyed or non_idempotent or method != "POST",
        b"" if method == "GET" else chance.randbytes(size),
        chance.uniform(*chance.choices(_WORK, _WORK_WEIGHTS)[0]),
        answer,
        chunked=chance.random() < 0.3,
        upload_chunked=chance.random() < 0.3,
    )


def small_request(longest: float, identifier: str, chance: Random) -> Request:
    """Make up one that carries next to nothing, and takes up to `longest` seconds."""
    work = chance.uniform(0, longest)
    return Request(
        identifier, "GET", False, True, b"", work, 100, chunked=False, upload_chunked=False
    )


@dataclass
class Tally:
    """What became of the requests."""

    answered: int = 0
    left: int = 0
    """Whose client left."""

    failed: list[str] = field(default_factory=list)
    """What the promise does not leave out."""

    excused: Counter[str] = field(default_factory=Counter)
    """What it does leave out, by why."""

    waits: list[float] = field(default_factory=list)
    """Seconds beyond the work itself, of each that was answered."""


class Crowd:
    """Clients that ask one after the other on connections that they keep, for a while."""

    def __init__(
        self,
        port: int,
        clients: int,
        seed: int,
        make: Callable[[str, Random], Request] = any_request,
        *,
        leave: float = LEAVE,
        hurried: float = HURRIED,
    ) -> None:
        """`leave` and `hurried`: the shares of requests whose clients do, or are."""
        self.tally = Tally()
        self._port = port
        self._clients = clients
        self._seed = seed
        self._make = make
        self._leave_share = leave
        self._hurried = hurried
        self._stopping = False

    async def run(self) -> None:
        """Ask until `stop`, and until each client has its last answer."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._client(number))

    def stop(self) -> None:
        """Let each client end after its present request."""
        self._stopping = True

    async def _client(self, number: int) -> None:
        chance = Random(f"{self._seed}/{number}")
        connection: Connection | None = None
        asked = 0
        while not self._stopping:
            asked += 1
            request = self._make(f"{self._seed}-{number}-{asked}", chance)
            if connection is None or chance.random() < 0.02:
                if connection is not None:
                    connection.close()
                connection = await Connection.open(self._port)
            if chance.random() < self._leave_share:
                await self._leave(connection, request, chance)
                connection = None
            elif not await self._ask(connection, request, chance):
                connection.close()
                connection = None
            await asyncio.sleep(chance.uniform(0, 0.01))
        if connection is not None:
            connection.close()

    async def _leave(self, connection: Connection, request: Request, chance: Random) -> None:
        """Send all of a request or a part, and go, before or within the answer."""
        raw = request.wire()
        if chance.random() < 0.3:
            raw = raw[: chance.randrange(1, len(raw))]
        connection.send(raw)
        with contextlib.suppress(TimeoutError, EOFError, OSError):
            async with asyncio.timeout(chance.uniform(0, 1.5 * request.work)):
                await connection.head()
        chance.choice((connection.close, connection.reset))()
        self.tally.left += 1

    async def _ask(self, connection: Connection, request: Request, chance: Random) -> bool:
        """Ask and check the answer; return whether the connection can be used again."""
        status, headers = 0, dict[str, str]()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send(connection, request.wire(), chance)
                began = monotonic()
                status, headers = await connection.head()
                body = await connection.body(headers)
            _check(request, status, headers, body)
        except (OSError, EOFError, TimeoutError, Wrong) as error:
            self._failed(request, status, headers, error)
            return isinstance(error, Wrong) and headers.get("connection") != "close"
        self.tally.answered += 1
        self.tally.waits.append(monotonic() - began - request.work)
        return headers.get("connection") != "close"

    async def _send(self, connection: Connection, raw: bytes, chance: Random) -> None:
        """Send a request, in one piece or in some with pauses between them."""
        if chance.random() < self._hurried:
            connection.send(raw)
            return
        for _ in range(4):
            size = chance.randrange(len(raw))
            connection.send(raw[:size])
            raw = raw[size:]
            await asyncio.sleep(chance.uniform(0, 0.05))
        connection.send(raw)
        await asyncio.sleep(chance.uniform(0, 0.2))

    def _failed(
        self,
        request: Request,
        status: int,
        headers: dict[str, str],
        error: Exception,
    ) -> None:
        begun = status == 200 and isinstance(error, (EOFError, ConnectionError))
        unanswered = status in {502, 504} or (status == 503 and "x-id" not in headers)
        if begun:
            self.tally.excused["the answer had begun"] += 1
        elif unanswered and not request.repeatable:
            self.tally.excused["may not be repeated"] += 1
        elif unanswered and not request.replayable:
            self.tally.excused["larger than the replay buffer"] += 1
        else:
            what = headers.get("proxy-status", "")
            self.tally.failed.append(
                f"{request.method} {request.identifier}: {len(request.body)} bytes, status {status}"
                f" {what}: {error!r}"
            )


def _check(request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
    """See that the answer is whole, right, and this request's. Raises `Wrong`."""
    if status != 200:
        raise Wrong(f"status {status}")
    if headers.get("x-id") != request.identifier:
        raise Wrong(f"the answer to {headers.get('x-id')}")
    if body != content(request.identifier, request.size) or headers["x-digest"] != digest(body):
        raise Wrong("another body")
