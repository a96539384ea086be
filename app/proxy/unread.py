"""What is to be told of a request whose head could not be read: that it came, and how it ended.

An `app.telemetry.requests.EndedRequest` for the access log. Method and path are not known for
sure, so they are not told: what came in their place may be anything.
"""

from time import monotonic


class Unread:
    """The facts of a request that is none."""

    method = target = b"-"
    worker = ""
    ready_at = granted_at = sent_at = 0.0
    attempts = bytes_in = bytes_out = 0

    def __init__(self, status: int, ending: str, identifier: bytes) -> None:
        self.status = status
        self.ending = ending
        self.identifier = identifier
        self.arrived = self.answered_at = self.ended_at = monotonic()
