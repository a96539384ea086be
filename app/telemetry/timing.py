"""`Server-Timing` and `X-Leastwise-Worker`: an answer that says itself where its time went.

Called by the exchange when it writes a response's head, if the setting is on. Browsers show
`Server-Timing` in their network panel, and `curl -i` in plain words.
"""

NAME = b"X-Leastwise-Worker"


def timing_lines(ready_at: float, granted_at: float, sent_at: float, answered_at: float) -> bytes:
    """Return the field line of `Server-Timing` (W3C), its durations in milliseconds.

    Times are those of an `EndedRequest`: queue from the first wish for a slot to the last slot,
    connect from there to sent, worker from there to the response's head.
    """
    return b"Server-Timing: queue;dur=%.1f, connect;dur=%.1f, worker;dur=%.1f\r\n" % (
        (granted_at - ready_at) * 1000.0,
        (sent_at - granted_at) * 1000.0,
        (answered_at - sent_at) * 1000.0,
    )


def worker_line(name: str, attempts: int) -> bytes:
    """Return the field line that names the worker; after a retry, with the number of attempts."""
    # A name comes from the pool's file or the Kubernetes API; what is no field value is replaced.
    text = name if name.isascii() and name.isprintable() else ascii(name)[1:-1]
    if attempts > 1:
        return b"%b: %b; attempts=%d\r\n" % (NAME, text.encode(), attempts)
    return b"%b: %b\r\n" % (NAME, text.encode())
