"""How a request ended, in two letters, as HAProxy says it in its log.

The first tells what ended it, the second where it was by then:

| first | ended by                           | second | the request was                         |
|-------|------------------------------------|--------|-----------------------------------------|
| `-`   | nothing: it came to its end        | `-`    | complete                                |
| `C`   | the client left                    | `R`    | coming from the client                  |
| `c`   | the client took too long           | `Q`    | waiting for a slot                      |
| `S`   | the worker refused, reset or closed| `C`    | connecting to the worker                |
| `s`   | the worker, or the wait, took too  | `H`    | waiting for the worker's response head  |
|       | long                               |        |                                         |
| `P`   | the balancer: a limit, a protocol  | `D`    | in the response's body                  |
|       | error                              |        |                                         |
| `R`   | a resource of the balancer is out  |        |                                         |
| `K`   | the balancer was stopped           |        |                                         |

So `--` is well; `sQ` waited for as long as it may, `SQ` did so while no worker was in rotation,
`PQ` found the queue full; `SC` and `sC` got no connection, `SH` lost its worker and might not be
sent again, `sH` got no answer in time, `PH` an answer that was not HTTP, `SD` half an answer; `CQ`
and `CH` were given up by their client.
"""

from typing import Final

from app.balancing.lease import Outcome

COMPLETE: Final = "--"

QUEUE_FULL: Final = "PQ"
QUEUE_TIMEOUT: Final = "sQ"
NO_ENDPOINT: Final = "SQ"
BAD_REQUEST: Final = "PR"
SLOW_REQUEST: Final = "cR"
"""The endings of requests that never had a slot, by what the client was told."""

WHERE: Final = {
    "R": "coming from the client",
    "Q": "waiting for a slot",
    "C": "connecting to the worker",
    "H": "waiting for the worker's answer",
    "D": "in the answer's body",
}
"""What the second letter says."""

WHY: Final = {
    "C": "the client left",
    "c": "the client took too long",
    "S": "the worker refused, closed the connection, or was not there",
    "s": "it took longer than allowed",
    "P": "a limit or a protocol error",
    "R": "the balancer was out of sockets",
    "K": "the balancer was stopped",
}
"""What the first letter says."""

BY_OUTCOME: Final = {
    Outcome.ANSWERED: COMPLETE[0],
    Outcome.REFUSED: COMPLETE[0],  # its answer was passed on
    Outcome.CONNECT_REFUSED: "S",
    Outcome.CONNECT_SILENT: "s",
    Outcome.DIED: "S",
    Outcome.TIMED_OUT: "s",
    Outcome.STALLED: "s",
    Outcome.GARBLED: "P",
    Outcome.CLIENT_GONE: "C",
    Outcome.EXPIRED: "s",
    Outcome.CANCELLED: "R",
}
"""The first letter, by how the last attempt ended."""


def ending(outcome: Outcome, where: str) -> str:
    """Return the two letters; `where` is a letter of `WHERE`. Answered means complete."""
    why = BY_OUTCOME[outcome]
    return COMPLETE if why == COMPLETE[0] else why + where


def explain(letters: str) -> str:
    """Say the two letters in words."""
    if letters == COMPLETE:
        return "complete"
    return f"{WHY[letters[0]]} while it was {WHERE[letters[1]]}"
