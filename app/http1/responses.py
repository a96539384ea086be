"""Response heads: taken apart, checked, and made fit to be passed on.

Made as `app.http1.requests` is: `fields` is what goes on to the client, without
`Transfer-Encoding` and the hop-by-hop fields.
"""

import re
from typing import Final

from app.http1.errors import ProtocolError
from app.http1.fields import (
    FIELD_LINE,
    FIELD_LINES,
    NO_NAMES,
    VALUE,
    cut,
    malformed_field,
    search_for,
    take_coding,
    take_connection,
    take_length,
    without,
)

_LINE: Final = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + VALUE + rb"*+))?\r\n"
_RESPONSE: Final = re.compile(_LINE + FIELD_LINES + rb"\r\n")
_STATUS_LINE: Final = re.compile(_LINE)
_SPECIAL: Final = search_for(
    *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade"),
    *(b"proxy-connection", b"te"),
)
_FINAL: Final = 200
_NO_LENGTH: Final = 204
"""The status that, like all 1xx, may not state a length: RFC 9110, section 8.6."""

_DATE: Final = re.compile(rb"\ndate:", re.IGNORECASE)
_TIMEOUT: Final = re.compile(rb"(?:^|[,\t ])timeout=([0-9]{1,9})", re.IGNORECASE)


class ResponseHead:
    """A response's head, as it goes on to a client."""

    __slots__ = (
        "chunked",
        "content_length",
        "dated",
        "fields",
        "keep_alive",
        "keep_alive_timeout",
        "line",
        "minor",
        "named",
        "size",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, line: bytes, minor: int, size: int) -> None:
        self.size = size
        """Bytes that it took on the wire, its empty line included."""

        self.status = status
        self.line = line
        """The status line to pass on, with its CRLF."""

        self.minor = minor
        self.dated = True
        """Whether it has a Date."""

        self.fields = b""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1
        self.keep_alive_timeout: int | None = None
        """Seconds after which the worker closes the idle connection, if it says so."""

        self.named = NO_NAMES
        """Fields that `Connection` names: not to be passed on, as trailers neither."""

        self.upgrade: bytes | None = None

    def has(self, name: bytes) -> bool:
        """Tell whether there is a passed-on field; `name` in lower case and with its colon."""
        fields = self.fields.lower()
        return fields.startswith(name) or b"\n" + name in fields

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
    match = _RESPONSE.match(data)
    if match is None:
        return None
    minor, code, reason = match.groups()
    begin, end = data.index(b"\r"), match.end()  # the CRLF of the status line; the end of all
    status = int(code)
    if minor == b"1" and reason is not None:
        head = ResponseHead(status, data[: begin + 2], 1, end)
    else:
        line = b"HTTP/1.1 %b %b\r\n" % (code, reason or b"")
        head = ResponseHead(status, line, 1 if minor == b"1" else 0, end)
    options: list[bytes] = []
    dropped: list[tuple[bytes, bytes]] = []
    respelled = b""
    for field in _SPECIAL.findall(data, begin, end):
        name, value = field
        name, value = name.lower(), value.rstrip(b"\t ")
        if name == b"content-length":
            if not take_length(head, value):
                respelled = b"Content-Length: %d\r\n" % int(value)
                dropped.append(field)
        else:
            dropped.append(field)
            _take_field(head, name, value, options)
    if dropped:
        head.fields = cut(data[begin : end - 2], dropped)[2:] + respelled
    else:
        head.fields = data[begin + 2 : end - 2]
    if data.find(b"\nDate: ", begin, end) < 0:  # how most spell it
        head.dated = _DATE.search(data, begin, end) is not None
    take_connection(head, options)
    if head.chunked and head.content_length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    if head.content_length is not None and (status < _FINAL or status == _NO_LENGTH):
        head.fields = without(head.fields, frozenset({b"content-length"}))
    return head


def _take_field(head: ResponseHead, name: bytes, value: bytes, options: list[bytes]) -> None:
    """Read a field that is not passed on."""
    if name == b"connection":
        options.append(value)
    elif name == b"transfer-encoding":
        take_coding(head, value)
    elif name == b"upgrade":
        head.upgrade = value.lower() if head.upgrade is None else b"several"
    elif name == b"keep-alive":
        timeout = _TIMEOUT.search(value)
        head.keep_alive_timeout = int(timeout[1]) if timeout else None
