"""What large bodies cost, both ways: CPU time per MB, throughput, and the memory they take.

One client, one body after the other; leastwise and, as the yardsticks, nginx and HAProxy, all of
which stream. The throughput is that of the whole chain: the worker and the client, which share the
other cores, are Python too.
"""

import socket
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.connections import worker
from benchmarks.contenders import available, contender
from benchmarks.machine import OTHER_CORES, PROXY_CORES
from benchmarks.openloop import response_length
from benchmarks.processes import Meter, Process, running
from benchmarks.run import Run
from benchmarks.tables import Table, figure

MB = 1_000_000
SIZES = (1, 10, 100)
"""Lengths of the bodies, in MB."""

WAYS = {"down": "response bodies", "up": "request bodies"}
STREAMING = ("leastwise", "nginx", "haproxy")

_PIECE = bytes(1 << 20)
_AT_LEAST = 100
"""MB that are moved in one round, so that short bodies are measured as long."""


def download(sock: socket.socket, length: int) -> None:
    """Fetch a body and drop it. Raises RuntimeError if it does not come whole."""
    sock.sendall(_head(f"/stream/down/{length}", 0))
    buffer = bytearray(1 << 20)
    received = sock.recv(1 << 16)
    expected = response_length(received)
    while expected is None:
        received += _some(sock.recv(1 << 16))
        expected = response_length(received)
    to_come = expected - len(received)
    while to_come > 0:
        count = sock.recv_into(buffer)
        if not count:
            raise RuntimeError(f"{to_come} bytes of {length} were missing")
        to_come -= count


def upload(sock: socket.socket, length: int) -> None:
    """Send a body and await the answer."""
    sock.sendall(_head("/stream/up", length))
    pieces, rest = divmod(length, len(_PIECE))
    for _ in range(pieces):
        sock.sendall(_PIECE)
    sock.sendall(_PIECE[:rest])
    received = _some(sock.recv(1 << 16))
    while (expected := response_length(received)) is None or len(received) < expected:
        received += _some(sock.recv(1 << 16))


MOVE: dict[str, Callable[[socket.socket, int], None]] = {"down": download, "up": upload}


def _head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _some(data: bytes) -> bytes:
    if not data:
        raise RuntimeError("the connection was closed without an answer")
    return data


@dataclass(frozen=True, slots=True)
class _Streamer:
    """One proxy, running."""

    name: str
    port: int
    process: Process

    def round(self, way: str, size: int) -> dict[str, float]:
        """Move bodies of `size` MB one after the other, and weigh it."""
        count = max(1, _AT_LEAST // size)
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            MOVE[way](sock, MB)  # so that the worker's connection is there
            before = self.process.rss()
            self.process.forget_peak()
            meter = Meter(self.process)
            began = perf_counter()
            for _ in range(count):
                MOVE[way](sock, size * MB)
            seconds = perf_counter() - began
            moved = count * size
            return {
                "cpu_us_per_mb": meter.read().total * 1e6 / moved,
                "mb_per_second": moved / seconds,
                "peak_mib": max(0.0, (self.process.peak_rss() - before) / 2**20),
            }


def main(run: Run) -> None:
    """Measure all that can be had, in turns."""
    names = available(list(STREAMING))
    rounds: dict[str, dict[str, dict[int, list[dict[str, float]]]]] = {
        way: {name: defaultdict(list) for name in names} for way in WAYS
    }
    with TemporaryDirectory() as folder, ExitStack() as stack:
        behind = worker()
        stack.enter_context(running(behind, OTHER_CORES))
        streamers = []
        for name in names:
            server = contender(name, Path(folder), behind)
            process = stack.enter_context(running(server, PROXY_CORES))
            streamers.append(_Streamer(name, server.port, process))
        for _ in range(run.either(5, 2)):
            for way in WAYS:
                for size in SIZES:
                    for each in streamers:
                        rounds[way][each.name][size].append(each.round(way, size))
    run.conclude("bodies", {way: _summary(found) for way, found in rounds.items()}, tables)


def _summary(rounds: dict[str, dict[int, list[dict[str, float]]]]) -> dict[str, Any]:
    return {
        name: {
            str(size): {
                "cpu_us_per_mb": median(one["cpu_us_per_mb"] for one in those),
                "mb_per_second": median(one["mb_per_second"] for one in those),
                "peak_mib": max(one["peak_mib"] for one in those),
            }
            for size, those in sizes.items()
        }
        for name, sizes in rounds.items()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    header = ["", "MB each", "CPU µs per MB", "MB/s", "memory taken, MiB"]
    found = []
    for way, told in WAYS.items():
        rows = [
            [name, size, *(figure(one[key]) for key in ("cpu_us_per_mb", "mb_per_second",
                                                        "peak_mib"))]
            for name, sizes in figures[way].items()
            for size, one in sizes.items()
        ]  # fmt: skip
        found.append(Table(f"Large {told}", header, rows))
    return found
