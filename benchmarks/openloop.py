"""An open loop: requests are sent when they are due, whether or not earlier ones were answered.

Run as a process of its own: `python -m benchmarks.openloop PORT RATE SECONDS SEED` prints one JSON
object. Independent clients come as a Poisson process, which is drawn beforehand from the seed, so
that every proxy gets the very same arrivals. A latency counts from the moment at which the request
was *due*, not from its sending: a stall is felt by all that came meanwhile ("no coordinated
omission"). asyncio's timers are good to a millisecond only; select(2) waits to the microsecond,
and with the timer slack turned down the generator itself adds some ten (see "direct" in the
results).
"""

import gc
import json
import random
import select
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.machine import OTHER_CORES, on_cores
from benchmarks.stats import percentiles
from benchmarks.wrk import BODY

MAX_CONNECTIONS = 256
"""What comes while all are busy waits in the generator, and its latency runs."""

_PATIENCE = 5.0
"""Seconds that the last answers may take."""

_HEAD_END = b"\r\n\r\n"


def request(port: int) -> bytes:
    """Return the request as it is sent."""
    return (
        f"POST /compute HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
    ).encode()


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw when the requests are due, in seconds from the beginning."""
    source, when, times = random.Random(seed), 0.0, []
    while (when := when + source.expovariate(rate)) < seconds:
        times.append(when)
    return times


def content_length(head: bytes) -> int | None:
    """Return the Content-Length of a message's head, None if it has none."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else None


def response_length(data: bytes) -> int | None:
    """Return the length of the response that `data` begins with, None if its head is incomplete.

    Raises RuntimeError for any status but 200, and for a response without a Content-Length.
    """
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end]
    if not head.lower().startswith(b"http/1.1 200"):
        raise RuntimeError(f"answered {data[:200]!r}")
    length = content_length(head)
    if length is None:
        raise RuntimeError(f"no length in {data[:300]!r}")
    return end + len(_HEAD_END) + length


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    due: float = 0.0
    received: bytes = b""


class Generator:
    """Sends the requests of one schedule and takes the time of each."""

    def __init__(self, port: int, schedule: list[float]) -> None:
        self._port = port
        self._request = request(port)
        self._schedule = schedule
        self._idle: list[_Connection] = []
        self._busy: dict[socket.socket, _Connection] = {}
        self.latencies: list[float] = []
        """Of the answered requests, in seconds."""

    def run(self, connections: int) -> float:
        """Send all and await the answers; return the seconds until the last one."""
        self._idle = [self._connect() for _ in range(connections)]
        began = perf_counter()
        due = deque(began + when for when in self._schedule)
        end = (due[-1] if due else began) + _PATIENCE
        waiting: deque[float] = deque()
        now = began
        while (due or waiting or self._busy) and now < end:
            now = perf_counter()
            while due and due[0] <= now:
                waiting.append(due.popleft())
            while waiting and self._send(waiting[0]):
                waiting.popleft()
            wait = (due[0] if due else end) - perf_counter()
            for sock in select.select(list(self._busy), (), (), max(0.0, wait))[0]:
                self._receive(self._busy[sock])
        return perf_counter() - began

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *self._busy.values()):
            connection.sock.close()

    def _connect(self) -> _Connection:
        sock = socket.create_connection(("127.0.0.1", self._port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Connection(sock)

    def _send(self, due: float) -> bool:
        if not self._idle:
            if len(self._busy) >= MAX_CONNECTIONS:
                return False
            self._idle.append(self._connect())
        connection = self._idle.pop()
        connection.due = due
        self._busy[connection.sock] = connection
        connection.sock.sendall(self._request)
        return True

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(65536)
        if not data:
            raise RuntimeError("the connection was closed without an answer")
        connection.received += data
        length = response_length(connection.received)
        if length is None or len(connection.received) < length:
            return
        self.latencies.append(perf_counter() - connection.due)
        connection.received = b""
        del self._busy[connection.sock]
        self._idle.append(connection)


def measure(port: int, rate: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run a generator as a process on the load's cores; return what it printed."""
    command = [sys.executable, "-m", "benchmarks.openloop", str(port), str(rate), str(seconds)]
    with on_cores(OTHER_CORES):
        done = subprocess.run([*command, str(seed)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the open loop at {rate} a second failed: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(port: int, rate: int, seconds: float, seed: int) -> None:
    """Measure, and print the result."""
    warm = Generator(port, arrivals(rate, 0.3, seed + 1))
    warm.run(connections=8)
    warm.close()
    schedule = arrivals(rate, seconds, seed)
    generator = Generator(port, schedule)
    took = generator.run(connections=8)
    told = {name: value * 1e3 for name, value in percentiles(generator.latencies).items()}
    lost = len(schedule) - len(generator.latencies)
    print(json.dumps({"sent": len(schedule), "lost": lost, "seconds": took, "latency_ms": told}))


if __name__ == "__main__":
    Path("/proc/self/timerslack_ns").write_text("1")
    gc.disable()  # a collection of the generator's would count as the proxy's latency
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
