"""The access log: one line for a request that is over, and never more lines than it may write.

Off unless it is configured; then `RequestStats.log` is an `AccessLog`, and what it costs (some
15 µs a line) is bounded by its rate. When there is more to tell than the rate admits, the next
line that is written says how many were left out, or, if none comes within a second, a line of its
own by `tick`, so that nobody takes silence for quiet.
Requests that failed have a bound of their own, as high: good ones do not push them out.

The query is left out unless asked for, since secrets stand in queries.
"""

import logging
from time import monotonic
from typing import Final

from app.balancing.pool import Pool
from app.telemetry.endings import COMPLETE
from app.telemetry.requests import EndedRequest

log = logging.getLogger("leastwise.access")

_SERVER_ERROR: Final = 500
_LONGEST_PATH: Final = 2048
_PATIENCE: Final = 1.0
"""Seconds for which what was left out waits for another line to be told with."""


class _Bound:
    """So many lines a second, with one second's worth in hand."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._left = max(1.0, rate)
        self._at = 0.0
        self.left_out = 0
        self.since = 0.0
        """When the first of these was."""

    def admits(self, now: float) -> bool:
        """Take one line, if there is one left."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            self.since = self.since if self.left_out else now
            self.left_out += 1
            return False
        self._left -= 1.0
        return True


class AccessLog:
    """Writes lines to the logger `leastwise.access`. `rate` is in lines a second."""

    def __init__(self, pool: Pool, *, rate: float, query: bool) -> None:
        self._pool = pool
        self._query = query
        self._good = _Bound(rate)
        self._bad = _Bound(rate)

    def ended(self, request: EndedRequest) -> None:
        """Write a line for the request, if there is one left."""
        bad = request.ending != COMPLETE or request.status >= _SERVER_ERROR
        bound = self._bad if bad else self._good
        if not bound.admits(request.ended_at or monotonic()):
            return
        fields = describe(request, self._pool.name, query=self._query)
        if bound.left_out:
            fields["left_out"], bound.left_out = bound.left_out, 0
        text = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _SAID)
        head = f"{fields['method']} {fields['path']} {fields['status']} {fields['ending']}"
        log.info("%s %s", head, text, extra={"fields": fields})

    def tick(self, now: float) -> None:
        """Tell what was left out, if no line came that could. `now` is of `time.monotonic()`."""
        for bound in (self._good, self._bad):
            if bound.left_out and now - bound.since >= _PATIENCE:
                self._tell(bound)

    def close(self) -> None:
        """Tell what was left out, since there will be no further line."""
        for bound in (self._good, self._bad):
            if bound.left_out:
                self._tell(bound)

    def _tell(self, bound: _Bound) -> None:
        number, bound.left_out = bound.left_out, 0
        what = "failed requests" if bound is self._bad else "requests"
        fields = {"pool": self._pool.name, "left_out": number, "failed": bound is self._bad}
        text = "%d %s left out: more than the access log's rate pool=%s left_out=%d"
        log.info(text, number, what, self._pool.name, number, extra={"fields": fields})


_SAID = frozenset({"method", "path", "status", "ending"})


def describe(request: EndedRequest, pool: str, *, query: bool) -> dict[str, object]:
    """Say all of a request, durations in seconds; a phase that it did not come to is left out."""
    target = request.target if query else request.target.partition(b"?")[0]
    fields: dict[str, object] = {
        "method": request.method.decode("latin-1"),
        "path": _printable(target),
        "status": request.status,
        "ending": request.ending,
        "pool": pool,
        "worker": request.worker or "-",
        "attempts": request.attempts,
    }
    ended = request.ended_at
    phases = (
        ("receive", request.arrived, request.ready_at or ended),
        ("queue", request.ready_at, request.granted_at or ended),
        ("connect", request.granted_at, request.sent_at or ended),
        ("first_byte", request.sent_at, request.answered_at or ended),
        ("body", request.answered_at, ended),
    )
    fields |= {name: round(to - since, 6) for name, since, to in phases if since}
    fields["total"] = round(ended - request.arrived, 6)
    fields["bytes_in"], fields["bytes_out"] = request.bytes_in, request.bytes_out
    fields["request_id"] = _printable(request.identifier)
    return fields


def _printable(text: bytes) -> str:
    """Write what a client sent so that it cannot forge a line."""
    shown = text[:_LONGEST_PATH].decode("latin-1")
    if shown.isascii() and shown.isprintable():
        return shown
    return shown.encode("unicode_escape").decode()
