"""How one worker is asked: a TCP connect that has to stand, or an HTTP request.

Called by `prober`. Each asking has a connection of its own, closed when it is over. What came of it
is a return or one of two exceptions: the worker did not pass, or this machine could not ask.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import OURS
from app.balancing.policy import ProbePolicy
from app.http1.errors import ProtocolError
from app.http1.responses import parse_response

STAND = 0.05
"""Seconds that a check's connection has to stand where no HTTP probe is sent on it."""

_PASSES_FROM, _PASSES_TO = 200, 399


class CheckFailed(Exception):  # noqa: N818 - an answer of the network, not an error of ours
    """A worker did not pass.

    `silent`: it did not answer at all, so that asking again is dear. `refused`: its port did not
    take the connection, so that what listens there was not asked.
    """

    def __init__(self, detail: str, *, silent: bool = False, refused: bool = False) -> None:
        super().__init__(detail)
        self.silent = silent
        self.refused = refused


class NotAsked(Exception):  # noqa: N818 - says nothing of the worker
    """This machine has no file, port or memory for a connection."""


async def connect(spec: EndpointSpec, timeout: float) -> None:  # noqa: ASYNC109 - of one step of two
    """Open a TCP connection, see it stand for a moment, close it.

    `timeout` is for the connection to be accepted. Raises `CheckFailed` and `NotAsked`.
    """
    try:
        async with asyncio.timeout(timeout):
            with _reaching():
                loop = asyncio.get_running_loop()
                transport, end = await loop.create_connection(_End, spec.host, spec.port)
    except TimeoutError:
        raise CheckFailed("connection not accepted in time", silent=True) from None
    try:
        await asyncio.wait({end.lost}, timeout=STAND)
    finally:
        transport.abort()
    if end.lost.done():
        raise CheckFailed("connection accepted and closed")


async def ask(spec: EndpointSpec, probe: ProbePolicy) -> None:
    """Send the HTTP probe and read the answer's head. Raises `CheckFailed` and `NotAsked`."""
    try:
        async with asyncio.timeout(probe.timeout):
            status = await _get(spec, probe.path)
    except TimeoutError:
        raise CheckFailed(f"{probe.path} not answered in time", silent=True) from None
    except OSError as error:
        raise CheckFailed(error.strerror or str(error)) from error
    except (EOFError, ProtocolError, asyncio.LimitOverrunError) as error:
        raise CheckFailed(f"{probe.path} answered no HTTP") from error
    if not _PASSES_FROM <= status <= _PASSES_TO:
        raise CheckFailed(f"{probe.path} answered {status}")


async def _get(spec: EndpointSpec, path: str) -> int:
    """Ask for `path` on a new connection; return the final status, and read no further."""
    host, port = spec.host, spec.port
    with _reaching():
        reader, writer = await asyncio.open_connection(host, port)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: leastwise-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        while True:
            head = parse_response(await reader.readuntil(b"\r\n\r\n"))
            if head.status >= _PASSES_FROM:  # 1xx is no answer yet
                return head.status
    finally:
        writer.transport.abort()


@contextmanager
def _reaching() -> Iterator[None]:
    """Tell what a failed connect says: something of the worker, or of this machine alone."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        if error.errno in OURS:
            raise NotAsked(str(error)) from error
        raise CheckFailed(error.strerror or str(error), refused=True) from error


class _End(asyncio.Protocol):
    """Waits for a connection's end."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - each end is an end
        if not self.lost.done():
            self.lost.set_result(None)
