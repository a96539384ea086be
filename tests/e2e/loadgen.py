"""Requests without a pause, from several clients at once; one line of JSON for each.

Runs anywhere with nothing but Python: on this machine, and in a Job of the cluster, to which a
ConfigMap brings this file. Every other client keeps its connection, the others open a new one for
each request. A client sends the next request when it has the answer to the last. No client sends
anything twice: what fails is told as failed.

    python loadgen.py --target lb:80 | --targets FILE   [--clients N] [--workers worker:8080]
                      [--path /compute] [--host NAME]

`--targets` names a file of addresses, one a line, read again for each connection, in place of a
Service. With `--workers`, the counts of all workers that the name resolves to are told too.
Ends after SIGTERM, or after `--seconds`, once all answers are there.
"""

import argparse
import hashlib
import http.client
import json
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

_LOCK = threading.Lock()


def tell(record: dict[str, Any]) -> None:
    """Write one line, whole."""
    line = json.dumps(record) + "\n"
    with _LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


class Client(threading.Thread):
    """One client. `kept` is whether it keeps its connection."""

    def __init__(self, number: int, options: argparse.Namespace, over: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._number, self._options, self._over = number, options, over
        self._kept = number % 2 == 0
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Send requests until it is over."""
        count = 0
        while not self._over.is_set():
            count += 1
            self._send(f"{self._number}/{count} {random.random()}")
            self._over.wait(self._options.pause)
        self._close()

    def _send(self, payload: str) -> None:
        began = time.time()
        record: dict[str, Any] = {"client": self._number, "kept": self._kept, "began": began}
        try:
            record |= self._exchange(payload)
        except (OSError, http.client.HTTPException, ValueError) as error:
            record |= {"status": 0, "error": f"{type(error).__name__}: {error}"}
            self._close()
            time.sleep(0.05)  # a target that refuses is not to be stormed
        record["seconds"] = round(time.time() - began, 4)
        tell(record)

    def _exchange(self, payload: str) -> dict[str, Any]:
        connection = self._connect()
        body = json.dumps({"payload": payload})
        headers = {"Content-Type": "application/json"}
        if self._options.host:
            headers["Host"] = self._options.host
        connection.request("POST", self._options.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if not self._kept or answer.will_close:
            self._close()
        record: dict[str, Any] = {"status": answer.status, "error": ""}
        if answer.status != http.client.OK:
            record["error"] = f"{answer.status} {content[:200].decode(errors='replace')}"
            record["retry_after"] = answer.getheader("Retry-After")
        elif json.loads(content)["result"] != hashlib.sha256(payload.encode()).hexdigest():
            record["error"] = "another result"
        return record

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            target = self._options.target
            if target is None:
                targets = Path(self._options.targets).read_text().split()
                if not targets:
                    raise OSError("the Service has no endpoint")
                target = random.choice(targets)
            host, _, port = target.rpartition(":")
            timeout = self._options.timeout
            self._connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def watch_workers(name: str, over: threading.Event) -> None:
    """Tell the workers' own counts twice a second."""
    host, _, port = name.rpartition(":")
    while not over.wait(0.5):
        try:
            found = {str(i[4][0]) for i in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except OSError:
            continue  # none is ready
        for address in found:
            connection = http.client.HTTPConnection(address, int(port), timeout=2)
            try:
                connection.request("GET", "/status")
                tell({"worker": json.loads(connection.getresponse().read())})
            except (OSError, http.client.HTTPException, ValueError):
                pass  # it is on its way out
            finally:
                connection.close()


def main() -> None:
    """Read the arguments, and send."""
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--target")
    where.add_argument("--targets")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--path", default="/compute")
    parser.add_argument("--host")
    parser.add_argument("--workers")
    options = parser.parse_args()
    over = threading.Event()

    end = [time.monotonic() + options.seconds]

    def stop(_number: int, _frame: FrameType | None) -> None:
        end[0] = 0.0  # an Event is not to be set here: the main thread may be within it

    signal.signal(signal.SIGTERM, stop)
    clients = [Client(number, options, over) for number in range(options.clients)]
    if options.workers:
        threading.Thread(target=watch_workers, args=(options.workers, over), daemon=True).start()
    for client in clients:
        client.start()
    while time.monotonic() < end[0]:
        time.sleep(0.05)
    over.set()
    for client in clients:
        client.join()


if __name__ == "__main__":
    main()
