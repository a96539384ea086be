"""The load of several replicas: each request has its own time to be sent, target and task time.

An open loop as `openloop` is, and a process of its own: `python -m benchmarks.replicas_load` reads
a plan as JSON from its input and prints what became of each request, in the order of the plan. What
the workers say of when they began is by the same clock.
"""

import gc
import json
import random
import select
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from benchmarks.openloop import response_length

MOST_AT_ONCE = 900
"""select(2) takes no more. What comes while all are busy waits here, and its time runs."""

PATIENCE = 30.0
"""Seconds that the last answers may take."""

_LEAD = 0.1


class Call(NamedTuple):
    """One request of a plan."""

    due: float
    """Seconds from the beginning."""

    target: int
    """Which of the targets; taken modulo their number."""

    seconds: float
    """How long its task takes."""


class Answer(NamedTuple):
    """What became of it. The first three by the machine's monotonic clock, in seconds."""

    sent: float
    """When it was sent: up to some ten microseconds after it was due, more if the load is late."""

    began: float
    """When its worker had it."""

    done: float
    queued: float
    """Seconds that the balancer says it waited for a slot."""


def plan(rate: float, count: int, seconds: float, seed: int, targets: int) -> list[Call]:
    """Draw a Poisson process of `count` calls, with exponential task times of that mean.

    The arrivals and the task times do not depend on the number of targets.
    """
    source, choice = random.Random(seed), random.Random(seed + 1)
    due, calls = 0.0, []
    for _ in range(count):
        due += source.expovariate(rate)
        task = source.expovariate(1 / seconds) if seconds else 0.0
        calls.append(Call(due, choice.randrange(targets), task))
    return calls


def queued_seconds(head: bytes) -> float:
    """Return what Server-Timing says of the wait for a slot; 0 without one."""
    _, found, rest = head.partition(b"queue;dur=")
    return float(rest[: rest.index(b",")]) / 1e3 if found else 0.0


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    target: int
    number: int = -1
    sent: float = 0.0
    received: bytes = b""


class Load:
    """Sends the calls of a plan when they are due."""

    def __init__(self, targets: Sequence[tuple[str, int]], calls: Sequence[Call]) -> None:
        self._targets = targets
        self._calls = calls
        self._requests = [self._request(call) for call in calls]
        self._idle: list[list[_Connection]] = [[] for _ in targets]
        self._busy: dict[socket.socket, _Connection] = {}
        self.answers: list[Answer | None] = [None] * len(calls)
        """None for one that was not answered."""

    def run(self) -> None:
        """Send all and await the answers."""
        for target in range(len(self._targets)):
            self._idle[target] = [self._connect(target) for _ in range(4)]
        start = monotonic() + _LEAD
        due = deque(enumerate(start + call.due for call in self._calls))
        end = (due[-1][1] if due else start) + PATIENCE
        now = start
        while (due or self._busy) and now < end:
            now = monotonic()
            while due and due[0][1] <= now and len(self._busy) < MOST_AT_ONCE:
                self._send(due.popleft()[0])
            wait = (due[0][1] if due else end) - monotonic()
            for sock in select.select(list(self._busy), (), (), max(0.0, wait))[0]:
                self._receive(self._busy[sock])

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._busy.values(), *(one for idle in self._idle for one in idle)):
            connection.sock.close()

    def _request(self, call: Call) -> bytes:
        host, port = self._targets[call.target % len(self._targets)]
        body = json.dumps({"payload": "x", "seconds": call.seconds})
        head = f"POST /compute HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json"
        return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def _connect(self, target: int) -> _Connection:
        sock = socket.create_connection(self._targets[target])
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Connection(sock, target)

    def _send(self, number: int) -> None:
        target = self._calls[number].target % len(self._targets)
        idle = self._idle[target]
        connection = idle.pop() if idle else self._connect(target)
        self._busy[connection.sock] = connection
        connection.number, connection.sent = number, monotonic()
        connection.sock.sendall(self._requests[number])

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(65536)
        if not data:
            raise RuntimeError("the connection was closed without an answer")
        connection.received += data
        length = response_length(connection.received)
        if length is None or len(connection.received) < length:
            return
        head, _, body = connection.received.partition(b"\r\n\r\n")
        began = json.loads(body)["began"]
        answer = Answer(connection.sent, began, monotonic(), queued_seconds(head))
        self.answers[connection.number] = answer
        connection.received = b""
        del self._busy[connection.sock]
        self._idle[connection.target].append(connection)


def write(targets: Sequence[tuple[str, int]], calls: Sequence[Call]) -> bytes:
    """Return a plan for the input of a process that runs it."""
    return json.dumps({"targets": targets, "calls": calls}).encode()


def read(printed: bytes, calls: Sequence[Call]) -> list[Answer]:
    """Return the answers that were printed. Raises RuntimeError unless each call has one."""
    answers = [Answer(*one) for one in json.loads(printed) if one is not None]
    if len(answers) != len(calls):
        raise RuntimeError(f"{len(calls) - len(answers)} of {len(calls)} were not answered")
    return answers


def main() -> None:
    """Read a plan, run it, print what became of it."""
    told: dict[str, Any] = json.load(sys.stdin)
    targets = [(str(host), int(port)) for host, port in told["targets"]]
    load = Load(targets, [Call(*one) for one in told["calls"]])
    load.run()
    load.close()
    print(json.dumps(load.answers))


def overtaken(answers: Sequence[Answer], slack: float) -> int:
    """Count those that another overtook: it was sent later and began earlier by more than `slack`.

    `slack` is in seconds.
    """
    return sum(_passed(sorted(answers), slack))


def _passed(answers: Sequence[Answer], slack: float) -> Iterator[bool]:
    """Tell of each, in order of sending, whether one that was sent well after it began well before.

    From the last to the first: the earliest beginning among those that were sent late enough.
    """
    later, earliest = len(answers) - 1, float("inf")
    for answer in reversed(answers):
        while later >= 0 and answers[later].sent > answer.sent + slack:
            earliest = min(earliest, answers[later].began)
            later -= 1
        yield earliest < answer.began - slack


if __name__ == "__main__":
    Path("/proc/self/timerslack_ns").write_text("1")
    gc.disable()  # a collection of the generator's would count as the balancer's delay
    main()
