"""What an answer says of its way: attempts, worker, and where the time went.

Called by the exchange when it writes a response's head, if the setting is on. Browsers show
`Server-Timing` in their network panel, and `curl -i` in plain words.
"""

from typing import Final

_NAME: Final = b"X-Leastwise-Worker"


_WAY: Final = (
    b"X-Leastwise-Attempts: %d\r\n%b%b%b%b"
    b"Server-Timing: queue;dur=%.1f, connect;dur=%.1f, worker;dur=%.1f\r\n"
)


def worker_line(name: str) -> bytes:
    """Return the field line that names the worker."""
    # A name comes from the pool's file or the Kubernetes API; what is no field value is replaced.
    text = name if name.isascii() and name.isprintable() else ascii(name)[1:-1]
    return b"%b: %b\r\n" % (_NAME, text.encode())


def attempts_line(attempts: int) -> bytes:
    """Return the field line that counts the workers which the request was sent to."""
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
    first wish for a slot to the last slot, connect from there to sent, worker from there to the
    response's head.
    """
    return _WAY % (
        attempts,
        worker,
        b"X-Request-ID: " if identifier else b"",
        identifier,
        b"\r\n" if identifier else b"",
        (granted_at - ready_at) * 1000.0,
        (sent_at - granted_at) * 1000.0,
        (answered_at - sent_at) * 1000.0,
    )
