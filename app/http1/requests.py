"""Request heads: taken apart, checked, and made fit to be passed on.

One pass over the lines of a head checks them all and reads the few fields that matter to an
intermediary; all other fields are kept as the bytes that came. `fields` of a parsed
head is thus what goes on to the worker: hop-by-hop fields and those that `Connection` names are
gone, and so are the fields that we always write ourselves: `Transfer-Encoding`, and the trail that
the client left (`X-Forwarded-*`, `Forwarded`, `X-Request-ID`). `Content-Length` stays where it
stands, once there is only one and it is a plain number.
"""

import re
from typing import Final

from app.http1.errors import ProtocolError
from app.http1.fields import (
    PASSED,
    TOKEN,
    UNKNOWN,
    Head,
    folded,
    is_token,
    malformed_field,
    take_coding,
    take_connection,
    take_length,
    treatments,
    without,
)

_REQUEST_LINE: Final = re.compile(
    rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
)

# How a field is treated, beside `UNKNOWN` and `PASSED`.
_HOST_FIELD: Final = 2
_LENGTH: Final = 3
_KEY: Final = 4
_CONNECTION: Final = 5
_CODING: Final = 6
_UPGRADE: Final = 7
_EXPECT: Final = 8
_REQUEST_ID: Final = 9
_TRAIL: Final = 10
_DROPPED: Final = 11
_LOOKALIKES: Final = [
    b"x" + first + middle + second + last
    for middle, lasts in ((b"forwarded", (b"for", b"proto", b"host")), (b"request", (b"id",)))
    for last in lasts
    for first in (b"-", b"_")
    for second in (b"-", b"_")
]
"""With an underscore it is another field, but the same variable to a CGI or WSGI worker."""

_FIELDS: Final = treatments(
    {
        b"host": _HOST_FIELD,
        b"content-length": _LENGTH,
        b"idempotency-key": _KEY,
        b"connection": _CONNECTION,
        b"transfer-encoding": _CODING,
        b"upgrade": _UPGRADE,
        b"expect": _EXPECT,
        **dict.fromkeys(_LOOKALIKES, _DROPPED),
        **dict.fromkeys(
            (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"), _TRAIL
        ),
        b"x-request-id": _REQUEST_ID,
        **dict.fromkeys((b"keep-alive", b"proxy-connection", b"te", b"http2-settings"), _DROPPED),
    }
)
_NOTHING_CAME: Final[dict[bytes, bytes]] = {}
_METHODS_OF_OURS: Final = frozenset({b"CONNECT", b"OPTIONS", b"TRACE"})
"""Methods that an intermediary has a part in."""

_HOPS: Final = re.compile(
    rb"^(max-forwards:[\t ]*+)([0-9]{1,18})(?=[\t ]*+\r)", re.IGNORECASE | re.MULTILINE
)
_OTHER_VERSION: Final = re.compile(rb"[^\r\n ]+ [^\r\n ]+ HTTP/([0-9]\.[0-9])\r\n")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?@:][^/?@]*)((?:[/?].*)?)", re.IGNORECASE)
_IN_NAME: Final = rb"[A-Za-z0-9\-._~!$&'()*+,;=%]"
_HOST: Final = re.compile(rb"(?:" + _IN_NAME + rb"*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_IN_NAMES: Final = bytes(byte if re.match(_IN_NAME, bytes([byte])) else 0 for byte in range(256))
_PARTS: Final = 3
_FRAGMENT: Final = ord(b"#")
_TAB: Final = ord(b"\t")


class RequestHead(Head):
    """A request's head, as it goes on to a worker."""

    __slots__ = (
        "expects_continue",
        "forwarded",
        "host",
        "keyed",
        "method",
        "request_id",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, minor: int, size: int, count: int) -> None:
        super().__init__(minor, size, count)
        self.method = method
        self.target = target
        """In origin form (`/path?query`), or `*`."""

        self.host: bytes | None = None
        """From the target, if it was in absolute form, else from the Host field."""

        self.expects_continue = False
        self.keyed = False
        """Whether it carries an Idempotency-Key."""

        self.request_id: bytes | None = None
        self.forwarded = _NOTHING_CAME
        """What came as x-forwarded-for, -proto, -host and forwarded, by lower-case name."""

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow."""
        return self.chunked or bool(self.content_length)


def parse_request(raw: bytes) -> RequestHead:
    """Take a request's head apart; `raw` ends with the empty line. Raises `ProtocolError`."""
    head = read_request(raw)
    if head is None or head.size != len(raw):
        raise _malformed(raw)
    return head


def read_request(data: bytes) -> RequestHead | None:
    """Take apart the head that `data` begins with; None if it is not whole, or malformed.

    Raises `ProtocolError` for what is well formed and yet cannot be accepted.
    """
    text, empty_line, _ = data.partition(b"\r\n\r\n")
    if not empty_line:
        return None
    lines = folded(text)
    if not lines:
        return None
    head = _request_line(data[: len(lines[0])], len(text) + 4, len(lines) - 1)
    if head is None or not _take_fields(head, data, lines):
        return None
    _check(head)
    return head


def check_limits(head: RequestHead, *, fields: int, target: int) -> None:
    """See to it that the head has no more fields and no longer a target.

    Raises `ProtocolError` 431 or 414.
    """
    if len(head.target) > target:
        raise ProtocolError(f"the target is longer than {target} bytes", 414)
    if head.count > fields:
        raise ProtocolError(f"there are more than {fields} header fields", 431)


def _request_line(line: bytes, size: int, count: int) -> RequestHead | None:
    """Begin a head; None if its first line is malformed."""
    parts = line.split(b" ")
    if len(parts) != _PARTS:
        return None
    method, target, version = parts
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    else:
        return None
    if not target or _FRAGMENT in target or _TAB in target or not is_token(method):
        return None
    return RequestHead(method, target, minor, size, count)


def _take_fields(head: RequestHead, data: bytes, lines: list[bytes]) -> bool:
    """Read the fields; return whether all are well formed.

    `lines` are those of the head in `data`, in lower case; the first of them was read already.
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
        kind = _FIELDS.get(name, UNKNOWN)
        if not colon or (kind == UNKNOWN and not is_token(name)):
            return False
        if kind > PASSED:
            value = data[at + len(name) + 1 : behind - 2].strip(b"\t ")
            if not _take_field(head, kind, name, value, options):
                respelled = respelled or kind == _LENGTH
                passed.append(data[kept:at])
                kept = behind
        at = behind
    head.fields = data[kept:at]
    if passed:
        passed.append(head.fields)
        if respelled:
            passed.append(b"Content-Length: %d\r\n" % (head.content_length or 0))
        head.fields = b"".join(passed)
    if options:
        take_connection(head, options)
    else:
        head.upgrade = None
    return True


def _take_field(
    head: RequestHead, kind: int, name: bytes, value: bytes, options: list[bytes]
) -> bool:
    """Read a field that matters to us; return whether its line is passed on."""
    if kind == _HOST_FIELD:
        if head.host is not None:
            raise ProtocolError("Host is there twice")
        head.host = value
        return True
    if kind == _LENGTH:
        return take_length(head, value)
    if kind == _KEY:
        head.keyed = True
        return True
    if kind == _CONNECTION:
        options.append(value)
    elif kind == _CODING:
        take_coding(head, value)
    elif kind == _REQUEST_ID:
        head.request_id = value
    elif kind == _TRAIL:
        before = head.forwarded.get(name)
        came = value if before is None else before + b", " + value
        head.forwarded = head.forwarded | {name: came}
    elif kind == _UPGRADE:
        head.upgrade = value.lower() if head.upgrade is None else b"several"
    elif kind == _EXPECT:
        if value.lower() != b"100-continue":
            raise ProtocolError("Expect: only 100-continue is understood", 417)
        head.expects_continue = head.minor == 1
    return False


def _check(head: RequestHead) -> None:
    """See to what the fields must be together."""
    if head.named and b"idempotency-key" in head.named:
        head.keyed = False  # not passed on, so the worker cannot know a repetition by it
    if head.chunked and head.content_length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    if head.host is None:
        if head.minor == 1:
            raise ProtocolError("Host is missing")
    elif not _is_host(head.host):
        raise ProtocolError("Host is no host")
    if head.method in _METHODS_OF_OURS:
        _take_method(head)
    if not head.target.startswith(b"/") and (head.target != b"*" or head.method != b"OPTIONS"):
        _take_absolute(head)


def _is_host(host: bytes) -> bool:
    name, _, port = host.partition(b":")
    if name.translate(_IN_NAMES) == name and (not port or port.isdigit()):
        return True
    return _HOST.fullmatch(host) is not None


def _take_method(head: RequestHead) -> None:
    """Refuse CONNECT; count a hop of OPTIONS or TRACE, if the client counts (RFC 9110, 7.6.2)."""
    if head.method == b"CONNECT":
        raise ProtocolError("CONNECT is for forward proxies", 501)
    hops = _HOPS.search(head.fields)
    if hops is None:
        return
    left = int(hops[2]) - 1
    if left < 0:
        raise ProtocolError("Max-Forwards ends here, and the balancer answers for no worker", 501)
    head.fields = _HOPS.sub(rb"\g<1>%d" % left, head.fields)


def _take_absolute(head: RequestHead) -> None:
    """Turn a target in absolute form into origin form; its authority outranks Host."""
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None or not _is_host(match[1]):
        raise ProtocolError("the request's target is neither a path nor an absolute URI")
    head.host, path = match[1], match[2]
    if head.method == b"OPTIONS" and not path:
        head.target = b"*"
    else:
        head.target = path if path.startswith(b"/") else b"/" + path
    head.fields = b"Host: " + head.host + b"\r\n" + without(head.fields, frozenset({b"host"}))


def _malformed(raw: bytes) -> ProtocolError:
    """Find words for a head that the grammar does not accept."""
    version = _OTHER_VERSION.match(raw)
    if version is not None and version[1] not in {b"1.0", b"1.1"}:
        return ProtocolError(f"HTTP/{version[1].decode()} is not spoken here", 505)
    if _REQUEST_LINE.match(raw) is None:
        return ProtocolError("the request line is malformed")
    return malformed_field(raw)
