"""What request heads and response heads have in common: grammar, framing, hop-by-hop fields."""

import re
from typing import Final

from app.http1.errors import ProtocolError

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"
FIELD_LINES: Final = rb"(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"
FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"++):[\t ]*+(" + VALUE + rb"*+)\r\n")
_LONE_NEWLINE: Final = re.compile(rb"\n(?<!\r\n)")
_MAX_DIGITS: Final = 18
_ZERO: Final = ord(b"0")
_LENGTHS: Final = {b"%d" % length: length for length in range(1000)}
"""Those of short bodies: to look one up costs less than to read it."""

_KEEP: Final = frozenset({b"keep-alive", b"Keep-Alive"})
"""The one option that most peers send, as they spell it."""

NO_NAMES: Final[frozenset[bytes]] = frozenset()
_STANDING_OPTIONS: Final = frozenset(
    {b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b"transfer-encoding", b""}
    | {b"content-length", b"host", b"connection", b"proxy-connection"}
)
"""Connection options that name no further field to remove: those fields are handled anyway, and
Host and Content-Length are not the peer's to remove."""


_FOLDED: Final = bytes(
    bytes([byte]).lower()[0] if re.match(VALUE + rb"|[\r\n]", bytes([byte])) else 0
    for byte in range(256)
)
_TOKENS: Final = bytes(byte if re.match(TOKEN, bytes([byte])) else 0 for byte in range(256))

# How a field is treated, by the tables that `treatments` makes. A well-known name that is only
# passed on stands there too: it need not be checked letter by letter.
UNKNOWN: Final = 0
PASSED: Final = 1
LENGTH: Final = 2
CONNECTION: Final = 3
CODING: Final = 4
UPGRADE: Final = 5
DROPPED: Final = 6
OWN: Final = 7
"""From here on: what requests alone, or responses alone, have; see `Head.take_own`."""

_WELL_KNOWN: Final = b"""
accept accept-encoding accept-language authorization cache-control content-encoding content-type
cookie dnt if-modified-since if-none-match origin pragma priority range referer sec-ch-ua
sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user
traceparent tracestate upgrade-insecure-requests user-agent x-api-key x-requested-with
accept-ranges access-control-allow-credentials access-control-allow-headers
access-control-allow-methods access-control-allow-origin access-control-expose-headers age
content-disposition content-language content-security-policy etag expires last-modified location
retry-after server set-cookie strict-transport-security vary via x-content-type-options
x-frame-options
""".split()


def treatments(own: dict[bytes, int]) -> dict[bytes, int]:
    """Make the table of field names, in lower case, with how each is treated."""
    return (
        dict.fromkeys(_WELL_KNOWN, PASSED)
        | {
            b"content-length": LENGTH,
            b"connection": CONNECTION,
            b"transfer-encoding": CODING,
            b"upgrade": UPGRADE,
            b"proxy-connection": DROPPED,
            b"te": DROPPED,
        }
        | own
    )


class Head:
    """What request heads and response heads have in common."""

    __slots__ = (
        "chunked",
        "content_length",
        "count",
        "fields",
        "keep_alive",
        "minor",
        "named",
        "size",
        "upgrade",
    )

    def __init__(self, minor: int, size: int, count: int) -> None:
        self.minor = minor
        """Of the version: HTTP/1.`minor`."""

        self.size = size
        """Bytes that it took on the wire, its empty line included."""

        self.count = count
        """Field lines that it came with."""

        self.fields = b""
        """Field lines to pass on, each with its CRLF."""

        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1
        """Whether the peer will use the connection again."""

        self.named = NO_NAMES
        """Fields that `Connection` names: not to be passed on, as trailers neither."""

        self.upgrade: bytes | None = None
        """The protocol asked for, in lower case, if `Connection` says upgrade too."""

    def take_fields(self, data: bytes, lines: list[bytes], table: dict[bytes, int]) -> bool:
        """Read the fields; return whether all are well formed. Raises `ProtocolError`.

        `lines` are those of the head that `data` begins with, in lower case; the first of them
        was read already.
        """
        at = len(lines[0]) + 2  # where the line begins in `data`
        kept = at  # where the lines begin that are passed on and not yet in `passed`
        passed: list[bytes] = []
        options: list[bytes] = []
        respelled = False
        for number in range(1, len(lines)):
            line = lines[number]
            name, colon, _ = line.partition(b":")
            behind = at + len(line) + 2
            kind = table.get(name, UNKNOWN)
            if not colon or (kind == UNKNOWN and not is_token(name)):
                return False
            if kind > PASSED:
                value = data[at + len(name) + 1 : behind - 2].strip(b"\t ")
                if kind >= OWN:
                    as_it_is = self.take_own(kind, name, value)
                else:
                    as_it_is = self._take(kind, value, options)
                if not as_it_is:
                    respelled = respelled or kind == LENGTH
                    passed.append(data[kept:at])
                    kept = behind
            at = behind
        self.fields = data[kept:at]
        if passed:
            passed.append(self.fields)
            if respelled:
                passed.append(b"Content-Length: %d\r\n" % (self.content_length or 0))
            self.fields = b"".join(passed)
        if options:
            take_connection(self, options)
        else:
            self.upgrade = None
        return True

    def _take(self, kind: int, value: bytes, options: list[bytes]) -> bool:
        """Read a field that both kinds of heads have; return whether its line is passed on."""
        if kind == LENGTH:
            return take_length(self, value)
        if kind == CONNECTION:
            options.append(value)
        elif kind == CODING:
            take_coding(self, value)
        elif kind == UPGRADE:
            self.upgrade = value.lower() if self.upgrade is None else b"several"
        return False

    def take_own(self, kind: int, name: bytes, value: bytes) -> bool:
        """Read a field of `OWN` or above; return whether its line is passed on."""
        raise NotImplementedError


def folded(head: bytes) -> list[bytes] | None:
    """Return a head's lines in lower case, to be looked at; None if it cannot be one.

    `head` is without the CRLF of its last line. No byte stands in what is returned that may not
    stand in a head, and all lines but the last had a CRLF.
    """
    text = head.translate(_FOLDED)
    if 0 in text or text.endswith(b"\r") or text.endswith(b"\n"):  # noqa: PIE810 - one is compiled
        return None
    lines = text.splitlines()
    length = 2 * len(lines) - 2
    for line in lines:
        length += len(line)
    return lines if length == len(text) else None  # longer, if a line ends with CR or LF alone


def is_token(name: bytes) -> bool:
    """Tell whether it can be a field's name, or a method."""
    return name != b"" and name.translate(_TOKENS) == name


def head_end(buffer: bytes, limit: int, searched: int = 0) -> int:
    """Return where the head at the buffer's start ends, or -1 if more bytes are needed.

    `searched` is the buffer's length at the call before, if there was one for this head: what
    comes byte by byte is then not searched from its start for every byte.

    Raises `ProtocolError` 431 beyond `limit` bytes, 414 if the first line alone is longer, and 400
    for a line that ends without CR, so that a client that ends lines so is told, rather than waited
    for.
    """
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3))
    if end >= 0 and end + 4 <= limit:
        return end + 4
    if end >= 0 or len(buffer) > limit:
        if buffer.find(b"\r\n", 0, limit) < 0:
            raise ProtocolError(f"the first line is longer than {limit} bytes", 414)
        raise ProtocolError(f"the header section is longer than {limit} bytes", 431)
    if buffer.find(b"\n", searched) >= 0 and _LONE_NEWLINE.search(buffer, searched):
        raise ProtocolError("a line ends with LF alone, not with CR LF")
    return -1


def without(fields: bytes, names: frozenset[bytes]) -> bytes:
    """Return the field lines without those of the given lower-case names."""
    # No regular expression: the names are the peer's, and may be thousands.
    lines = fields.splitlines(keepends=True)
    return b"".join([line for line in lines if line.partition(b":")[0].lower() not in names])


def take_connection(head: Head, values: list[bytes]) -> None:
    """Obey what `Connection` says: persistence, upgrade, and the fields that it names."""
    if len(values) == 1 and values[0] in _KEEP:
        head.keep_alive = True
        head.upgrade = None
        return
    options = options_of(b",".join(values))
    if b"close" in options:
        head.keep_alive = False
    elif b"keep-alive" in options:
        head.keep_alive = True
    if b"upgrade" not in options or head.minor == 0:
        head.upgrade = None
    if not _STANDING_OPTIONS.issuperset(options):
        head.named = frozenset(options) - _STANDING_OPTIONS
        head.fields = without(head.fields, head.named)


def take_coding(head: Head, value: bytes) -> None:
    """Accept `chunked`, once, and nothing else."""
    if head.chunked:
        raise ProtocolError("Transfer-Encoding is there twice")
    if head.minor == 0:
        raise ProtocolError("Transfer-Encoding in an HTTP/1.0 message")
    if value.lower() != b"chunked":
        codings = options_of(value)
        known = codings.count(b"chunked") == 1 and codings[-1] == b"chunked"
        raise ProtocolError(
            f"Transfer-Encoding: {_shown(value)} (only chunked is understood)",
            501 if known else 400,
        )
    head.chunked = True


def take_length(head: Head, value: bytes) -> bool:
    """Accept one length, in digits; return whether it can be passed on as it is spelled.

    One with zeros before it cannot: there are peers that would read it as octal.
    """
    if head.content_length is not None:
        raise ProtocolError("Content-Length is there twice")
    length = _LENGTHS.get(value)
    if length is not None:
        head.content_length = length
        return True
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise ProtocolError(f"Content-Length: {_shown(value)} is no length")
    head.content_length = int(value)
    return value[0] != _ZERO or len(value) == 1


def options_of(value: bytes) -> list[bytes]:
    """Split a list of tokens, such as the value of `Connection`, in lower case."""
    return [token.strip(b"\t ") for token in value.lower().split(b",")]


def _shown(value: bytes) -> str:
    """Write a peer's bytes so that they can stand in any answer or log line."""
    return repr(value[:40])[2:-1]


def malformed_field(raw: bytes) -> ProtocolError:
    """Find words for a head whose first line is right and whose fields are not."""
    for number, line in enumerate(raw.split(b"\r\n")[1:-2], start=1):
        if FIELD_LINE.fullmatch(line + b"\r\n") is None:
            return ProtocolError(f"header field {number} is malformed")
    return ProtocolError("the head is malformed")
