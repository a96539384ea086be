"""Response heads: taken apart, checked, and made fit to be passed on.

Made as `app.http1.requests` is: `fields` is what goes on to the client, without
`Transfer-Encoding` and the hop-by-hop fields.
"""

import re
from typing import Final

from app.http1.errors import ProtocolError
from app.http1.fields import (
    FIELD_LINE,
    OWN,
    VALUE,
    Head,
    folded,
    malformed_field,
    treatments,
    without,
)

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + VALUE + rb"*+))?\r\n")
_STATUSES: Final = {b"%d" % status: status for status in range(100, 1000)}

_DATE: Final = OWN
_REQUEST_ID: Final = OWN + 1
_KEEP_ALIVE: Final = OWN + 2
_FIELDS: Final = treatments(
    {b"date": _DATE, b"x-request-id": _REQUEST_ID, b"keep-alive": _KEEP_ALIVE}
)
_SHORTEST: Final = len(b"HTTP/1.1 200\r\n")
_FINAL: Final = 200
_NO_LENGTH: Final = 204
"""The status that, like all 1xx, may not state a length: RFC 9110, section 8.6."""

_TIMEOUT: Final = re.compile(rb"(?:^|[,\t ])timeout=([0-9]{1,9})", re.IGNORECASE)


class ResponseHead(Head):
    """A response's head, as it goes on to a client."""

    __slots__ = ("dated", "identified", "keep_alive_timeout", "line", "status")

    def __init__(self, status: int, line: bytes, minor: int, size: int, count: int) -> None:
        super().__init__(minor, size, count)
        self.status = status
        self.line = line
        """The status line to pass on, with its CRLF."""

        self.dated = False
        """Whether it has a Date."""

        self.identified = False
        """Whether it has an X-Request-ID."""

        self.keep_alive_timeout: int | None = None
        """Seconds after which the worker closes the idle connection, if it says so."""

    def take_own(self, kind: int, name: bytes, value: bytes) -> bool:  # noqa: ARG002 - requests'
        """Read a field of a response; return whether its line is passed on."""
        if kind == _DATE:
            self.dated = True
            return True
        if kind == _REQUEST_ID:
            self.identified = True
            return True
        timeout = _TIMEOUT.search(value)
        self.keep_alive_timeout = int(timeout[1]) if timeout else None
        return False

    def value(self, name: bytes) -> bytes | None:
        """Return the first value of a passed-on field; `name` in lower case."""
        for found, value in FIELD_LINE.findall(self.fields):
            if found.lower() == name:
                return bytes(value.rstrip(b"\t "))
        return None


def parse_response(raw: bytes) -> ResponseHead:
    """Take a response's head apart; `raw` ends with the empty line. Raises `ProtocolError`."""
    head = read_response(raw)
    if head is None or head.size != len(raw):
        good = _STATUS_LINE.match(raw) is not None
        raise malformed_field(raw) if good else ProtocolError("the status line is malformed")
    return head


def read_response(data: bytes) -> ResponseHead | None:
    """Take apart the head that `data` begins with; None if it is not whole, or malformed.

    Raises `ProtocolError` for what is well formed and yet cannot be accepted.
    """
    text, empty_line, _ = data.partition(b"\r\n\r\n")
    if not empty_line:
        return None
    lines = folded(text)
    if not lines:
        return None
    head = _status_line(data[: len(lines[0]) + 2], len(text) + 4, len(lines) - 1)
    if head is None or not head.take_fields(data, lines, _FIELDS):
        return None
    if head.content_length is not None:
        if head.chunked:
            raise ProtocolError("both Content-Length and Transfer-Encoding")
        if head.status < _FINAL or head.status == _NO_LENGTH:
            head.fields = without(head.fields, frozenset({b"content-length"}))
    return head


def _status_line(line: bytes, size: int, count: int) -> ResponseHead | None:
    """Begin a head; None if its first line, which is given with its CRLF, is malformed."""
    status = _STATUSES.get(line[9:12], 0)
    if line.startswith(b"HTTP/1.1 "):
        minor = 1
    elif line.startswith(b"HTTP/1.0 "):
        minor = 0
    else:
        return None
    has_reason = line[12:13] == b" "
    if not status or not (has_reason or len(line) == _SHORTEST):
        return None
    if not has_reason or minor == 0:
        line = b"HTTP/1.1 " + line[9:12] + (line[12:] if has_reason else b" \r\n")
    return ResponseHead(status, line, minor, size, count)
