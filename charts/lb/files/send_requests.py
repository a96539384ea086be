"""Send requests through the balancer; `helm test` runs this in a pod of the image.

Arguments: the balancer's URL, and a path if the workers are not the chart's own. Then the path is
asked for by GET, and any status below 500 passes; else tasks are sent, each of which has to come
back with its payload's SHA-256. Exit code 0 if all passed. Standard library only.
"""

import hashlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

REQUESTS = 8
TIMEOUT = 600.0
"""Seconds for one request, its wait in the queue too."""

PATIENCE = 60.0
"""Seconds in which the balancer may not be listening yet."""


def ask(request: Request) -> tuple[int, bytes]:
    """Return status and body of the answer; 0 and a reason if there was none."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except (OSError, HTTPException) as error:
            # Only what is not there yet is asked again: a request that dies is what we look for.
            reason = error.reason if isinstance(error, URLError) else error
            absent = isinstance(reason, ConnectionRefusedError | socket.gaierror)
            if not absent or time.monotonic() > give_up:
                return 0, repr(reason).encode()
            time.sleep(0.5)


def get(url: str) -> str:
    """Ask by GET; return what is wrong, or nothing."""
    status, body = ask(Request(url))
    return "" if 0 < status < 500 else f"{status} {body[:200]!r}"


def compute(url: str, payload: str) -> str:
    """Send a task; return what is wrong, or nothing."""
    content = json.dumps({"payload": payload}).encode()
    status, body = ask(Request(f"{url}/compute", content, {"Content-Type": "application/json"}))
    if status != 200:
        return f"{status} {body[:200]!r}"
    right = hashlib.sha256(payload.encode()).hexdigest()
    return "" if json.loads(body)["result"] == right else f"a wrong result: {body[:200]!r}"


def main(url: str, path: str = "") -> int:
    """Send the requests all at once, say what came of them, return the exit code."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        problems: Iterator[str]
        if path:
            problems = pool.map(get, [url + path] * REQUESTS)
        else:
            problems = pool.map(compute, [url] * REQUESTS, map(str, range(REQUESTS)))
        failed = [problem for problem in problems if problem]
    for problem in failed:
        print("failed:", problem)
    print(f"{REQUESTS - len(failed)} of {REQUESTS} requests passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
