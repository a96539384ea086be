"""Requests that are over, made up for the tests of what looks at them."""

from dataclasses import dataclass


@dataclass
class Ended:
    """An `EndedRequest`: by default it waited 2 s, and was answered after another 15."""

    method: bytes = b"POST"
    target: bytes = b"/compute?key=secret"
    status: int = 200
    arrived: float = 100.0
    ready_at: float = 100.0
    granted_at: float = 102.0
    sent_at: float = 102.25
    answered_at: float = 117.25
    ended_at: float = 117.5
    attempts: int = 1
    worker: str = "worker-1"
    identifier: bytes = b"id-1"
    bytes_in: int = 30
    bytes_out: int = 70
    ending: str = "--"


def refused(**changes: object) -> Ended:
    """Return one that found no slot in a minute."""
    ended = Ended(status=503, granted_at=0.0, sent_at=0.0, answered_at=160.0, ended_at=160.0,
                  attempts=0, worker="", ending="sQ")  # fmt: skip
    for name, value in changes.items():
        setattr(ended, name, value)
    return ended
