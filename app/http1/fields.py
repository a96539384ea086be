"""What request heads and response heads have in common: grammar, framing, hop-by-hop fields."""

import re
from typing import Final, Protocol

from app.http1.errors import ProtocolError

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"
FIELD_LINES: Final = rb"(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"
FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"++):[\t ]*+(" + VALUE + rb"*+)\r\n")
_LONE_NEWLINE: Final = re.compile(rb"\n(?<!\r\n)")
_MAX_DIGITS: Final = 18
_ZERO: Final = ord(b"0")

_KEEP: Final = frozenset({b"keep-alive", b"Keep-Alive"})
"""The one option that most peers send, as they spell it."""

_FEW: Final = 8
NO_NAMES: Final[frozenset[bytes]] = frozenset()
_STANDING_OPTIONS: Final = frozenset(
    {b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b"transfer-encoding", b""}
    | {b"content-length", b"host", b"connection", b"proxy-connection"}
)
"""Connection options that name no further field to remove: those fields are handled anyway, and
Host and Content-Length are not the peer's to remove."""


class Head(Protocol):
    """What the helpers below read and write of either head."""

    minor: int
    fields: bytes
    content_length: int | None
    chunked: bool
    keep_alive: bool
    named: frozenset[bytes]
    upgrade: bytes | None


def search_for(*names: bytes) -> "re.Pattern[bytes]":
    """Compile the search for the lines of some fields in a head that is known to be well formed.

    A match begins at the newline before the field's name, group 1, and ends before the one behind
    its value, group 2. Begins with a literal newline, to which the search can skip, and looks at
    the name's first letter, so that most fields cost one step and not one for each alternative.
    """
    first = bytes(sorted({name[0] for name in names}))
    return re.compile(
        rb"\n(?=[" + first + rb"])(" + rb"|".join(names) + rb"):[\t ]*([^\r]*)\r", re.IGNORECASE
    )


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


def cut(block: bytes, lines: list[tuple[bytes, bytes]]) -> bytes:
    """Return field lines without some of them, each given by its name and value as they came.

    `lines` holds all lines of each of its names. `block` begins with the CRLF of the line before,
    and so does what is returned.
    """
    if len(lines) > _FEW:  # each cut is a copy: thousands would be a way to keep us busy
        return without(block, frozenset([name.lower() for name, _ in lines]))
    rest = block
    for name, value in lines:
        at = rest.find(b"\n%b: %b\r" % (name, value)) + 1
        if not at:  # not one space before the value, which is rare
            return without(block, frozenset([name.lower() for name, _ in lines]))
        rest = rest[:at] + rest[at + len(name) + len(value) + 4 :]
    return rest


def take_connection(head: Head, values: list[bytes]) -> None:
    """Obey what `Connection` says: persistence, upgrade, and the fields that it names."""
    if not values:
        head.upgrade = None
        return
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
