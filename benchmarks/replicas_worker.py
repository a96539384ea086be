"""A light worker that never refuses: it sleeps as long as it is asked to, and keeps its own count.

Run as a process of its own: `python -m benchmarks.replicas_worker HOST PORT`. It stands for the
reference worker, whose framework takes a good part of the CPU of the machine that is measured. Each
answer tells when the worker had read the request, by the clock that all processes of a machine
share, so that a way of one direction can be timed.

    POST /compute   {"seconds": 0.2}: sleeps, then {"began": 1234.5}
    GET  /status    {"peak": 4, "in_flight": 1, "served": 17}
    GET  anything   200, for probes
"""

import asyncio
import json
import sys
from time import monotonic
from typing import cast

from benchmarks.openloop import content_length

_HEAD_END = b"\r\n\r\n"


class Count:
    """What the worker does at once, and did."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.peak = 0
        self.served = 0

    def begin(self) -> None:
        """One more."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def end(self, *, served: bool) -> None:
        """One less."""
        self.in_flight -= 1
        self.served += served

    def told(self) -> dict[str, int]:
        """Return what /status says."""
        return {"peak": self.peak, "in_flight": self.in_flight, "served": self.served}


class Serving(asyncio.Protocol):
    """One connection. Its peer sends a request only when the one before is answered."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Begin a request once it is whole."""
        self._received += data
        end = self._received.find(_HEAD_END)
        if end < 0:
            return
        head, body = self._received[:end], self._received[end + len(_HEAD_END) :]
        if len(body) < (content_length(head) or 0):
            return
        self._received = b""
        if head.startswith(b"POST"):
            self._begin(json.loads(body).get("seconds", 0.0))
        else:
            self._answer(self._count.told())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Give up what runs: a worker stops when its client is gone."""
        if self._task is not None:
            self._task.cancel()
            self._count.end(served=False)

    def _begin(self, seconds: float) -> None:
        began = monotonic()
        self._count.begin()
        if seconds > 0:
            self._task = self._loop.call_later(seconds, self._end, began)
        else:
            self._end(began)

    def _end(self, began: float) -> None:
        self._task = None
        self._count.end(served=True)
        self._answer({"began": began})

    def _answer(self, told: object) -> None:
        body = json.dumps(told)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        if self._transport is not None:
            self._transport.write(f"{head}\r\n\r\n{body}".encode())


async def serve(host: str, port: int) -> None:
    """Serve until cancelled."""
    count = Count()
    server = await asyncio.get_running_loop().create_server(lambda: Serving(count), host, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
