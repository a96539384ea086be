"""What an answer says of its way: attempts, worker, and where the time went.

Called by the exchange when it writes a response's head, if the setting is on. Browsers show
`Server-Timing` in their network panel, and `curl -i` in plain words.
"""

from typing import Final

_NAME: Final = b"X-Leastwise-Worker"


_ATTEMPTS: Final = [b"X-Leastwise-Attempts: %d\r\n" % attempts for attempts in range(10)]
_MILLISECONDS: Final = [b"%d.%d" % divmod(tenths, 10) for tenths in range(10_000)]
"""How durations are written that are not long: to write a number costs more than to look it up."""


def worker_line(name: str) -> bytes:
    """Return the field line that names the worker."""
    # A name comes from the pool's file or the Kubernetes API; what is no field value is replaced.
    text = name if name.isascii() and name.isprintable() else ascii(name)[1:-1]
    return b"%b: %b\r\n" % (_NAME, text.encode())


def attempts_line(attempts: int) -> bytes:
    """Return the field line that counts the workers which the request was sent to."""
    if attempts < len(_ATTEMPTS):
        return _ATTEMPTS[attempts]
    return b"X-Leastwise-Attempts: %d\r\n" % attempts


def way_lines(
    attempts: int,
    worker: bytes,
    identifier: bytes,
    *,
    ready_at: float,
    granted_at: float,
    sent_at: float,
    answered_at: float,
) -> bytes:
    """Return all field lines about a request's way; `worker` is its line, made once a connection.

    `identifier` is the request's id; empty if the worker has said it itself.
    `Server-Timing` (W3C) is in milliseconds. Times are those of an `EndedRequest`: queue from the
    first wish for a slot to the last slot, connect from there to sent, worker from there until the
    response is passed on.
    """
    return b"%b%b%bServer-Timing: queue;dur=%b, connect;dur=%b, worker;dur=%b\r\n" % (
        attempts_line(attempts),
        worker,
        b"X-Request-ID: %b\r\n" % identifier if identifier else b"",
        _milliseconds(granted_at - ready_at),
        _milliseconds(sent_at - granted_at),
        _milliseconds(answered_at - sent_at),
    )


def _milliseconds(seconds: float) -> bytes:
    """Write a duration in milliseconds, to the tenth."""
    tenths = int(seconds * 10_000.0 + 0.5)
    if 0 <= tenths < len(_MILLISECONDS):
        return _MILLISECONDS[tenths]
    return b"%.1f" % (seconds * 1000.0)
