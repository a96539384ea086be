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
    DROPPED,
    OWN,
    TOKEN,
    Head,
    folded,
    is_token,
    malformed_field,
    treatments,
    without,
)

_REQUEST_LINE: Final = re.compile(
    rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
)

_HOST_FIELD: Final = OWN
_KEY: Final = OWN + 1
_EXPECT: Final = OWN + 2
_REQUEST_ID: Final = OWN + 3
_TRAIL: Final = OWN + 4
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
        b"idempotency-key": _KEY,
        b"expect": _EXPECT,
        **dict.fromkeys(_LOOKALIKES, DROPPED),
        **dict.fromkeys(
            (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"), _TRAIL
        ),
        b"x-request-id": _REQUEST_ID,
        **dict.fromkeys((b"keep-alive", b"http2-settings"), DROPPED),
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

    def take_own(self, kind: int, name: bytes, value: bytes) -> bool:
        """Read a field of a request; return whether its line is passed on."""
        if kind == _HOST_FIELD:
            if self.host is not None:
                raise ProtocolError("Host is there twice")
            self.host = value
            return True
        if kind == _KEY:
            self.keyed = True
            return True
        if kind == _REQUEST_ID:
            self.request_id = value
        elif kind == _TRAIL:
            before = self.forwarded.get(name)
            came = value if before is None else before + b", " + value
            self.forwarded = self.forwarded | {name: came}
        else:
            if value.lower() != b"100-continue":
                raise ProtocolError("Expect: only 100-continue is understood", 417)
            self.expects_continue = self.minor == 1
        return False


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
    if head is None or not head.take_fields(data, lines, _FIELDS):
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
