"""Response heads: taken apart, checked, and made fit to be passed on.

Made as `app.http1.requests` is: `fields` is what goes on to the client, without the framing and
the hop-by-hop fields.
"""

import re

from app.http1.errors import ProtocolError
from app.http1.fields import (
    FIELD_LINE,
    FIELD_LINES,
    NO_NAMES,
    VALUE,
    malformed_field,
    options_of,
    search_for,
    take_coding,
    take_connection,
    take_length,
)

_LINE = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + VALUE + rb"*+))?\r\n"
_RESPONSE = re.compile(_LINE + FIELD_LINES + rb"\r\n")
_STATUS_LINE = re.compile(_LINE)
_SPECIAL = search_for(
    *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade"),
    *(b"proxy-connection", b"te"),
)
_TIMEOUT = re.compile(rb"(?:^|[,\t ])timeout=([0-9]{1,9})", re.IGNORECASE)


class ResponseHead:
    """A response's head, as it goes on to a client."""

    __slots__ = (
        "chunked",
        "content_length",
        "fields",
        "keep_alive",
        "keep_alive_timeout",
        "minor",
        "named",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, minor: int) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.fields = b""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1
        self.keep_alive_timeout: int | None = None
        """Seconds after which the worker closes the idle connection, if it says so."""

        self.named = NO_NAMES
        """Fields that `Connection` names: not to be passed on, as trailers neither."""

        self.upgrade: bytes | None = None

    def value(self, name: bytes) -> bytes | None:
        """Return the first value of a passed-on field; `name` in lower case."""
        for found, value in FIELD_LINE.findall(self.fields):
            if found.lower() == name:
                return bytes(value.rstrip(b"\t "))
        return None


def parse_response(raw: bytes) -> ResponseHead:
    """Take a response's head apart; `raw` ends with the empty line. Raises `ProtocolError`."""
    match = _RESPONSE.fullmatch(raw)
    if match is None:
        good = _STATUS_LINE.match(raw) is not None
        raise malformed_field(raw) if good else ProtocolError("the status line is malformed")
    head = ResponseHead(int(match[2]), match[3] or b"", 1 if match[1] == b"1" else 0)
    keep_from = raw.index(b"\n") + 1
    kept: list[bytes] = []
    options: list[bytes] = []
    for field in _SPECIAL.finditer(raw, keep_from - 1):
        name, value = field.groups()
        name, value = name.lower(), value.rstrip(b"\t ")
        kept.append(raw[keep_from : field.start() + 1])
        keep_from = field.end() + 1
        if name == b"content-length":
            take_length(head, value)
        elif name == b"transfer-encoding":
            take_coding(head, value)
        elif name == b"connection":
            options += options_of(value)
        elif name == b"upgrade":
            head.upgrade = value.lower() if head.upgrade is None else b"several"
        elif name == b"keep-alive":
            timeout = _TIMEOUT.search(value)
            head.keep_alive_timeout = int(timeout[1]) if timeout else None
    kept.append(raw[keep_from:-2])
    head.fields = b"".join(kept)
    take_connection(head, options)
    if head.chunked and head.content_length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    return head
