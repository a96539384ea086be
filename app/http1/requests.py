"""Request heads: taken apart, checked, and made fit to be passed on.

One regular expression accepts the whole head or none of it, one more finds the few fields that
matter to an intermediary; all other fields are kept as the bytes that came. `fields` of a parsed
head is thus what goes on to the worker: hop-by-hop fields and those that `Connection` names are
gone, and so are the fields that we always write ourselves: `Transfer-Encoding`, and the trail that
the client left (`X-Forwarded-*`, `Forwarded`, `X-Request-ID`). `Content-Length` stays where it
stands, once there is only one and it is a plain number.
"""

import re
from typing import Final

from app.http1.errors import ProtocolError
from app.http1.fields import (
    FIELD_LINES,
    NO_NAMES,
    TOKEN,
    cut,
    malformed_field,
    search_for,
    take_coding,
    take_connection,
    take_length,
    without,
)

_LINE: Final = rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
_REQUEST: Final = re.compile(_LINE + FIELD_LINES + rb"\r\n")
_REQUEST_LINE: Final = re.compile(_LINE)
_SPECIAL: Final = search_for(
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade"),
    *(b"proxy-connection", b"te", b"http2-settings", b"expect", b"idempotency-key"),
    # With an underscore it is another field, but the same variable to a CGI or WSGI worker.
    *(b"forwarded", b"x[-_]forwarded[-_](?:for|proto|host)", b"x[-_]request[-_]id"),
)
_FORWARDED: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}
)
_NOTHING_CAME: Final[dict[bytes, bytes]] = {}
_SHORTEST_LINE: Final = len(b"a:\r\n")
_METHODS_OF_OURS: Final = frozenset({b"CONNECT", b"OPTIONS", b"TRACE"})
"""Methods that an intermediary has a part in."""

_HOPS: Final = re.compile(
    rb"^(max-forwards:[\t ]*+)([0-9]{1,18})(?=[\t ]*+\r)", re.IGNORECASE | re.MULTILINE
)
_OTHER_VERSION: Final = re.compile(rb"[^\r\n ]+ [^\r\n ]+ HTTP/([0-9]\.[0-9])\r\n")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?@:][^/?@]*)((?:[/?].*)?)", re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


class RequestHead:
    """A request's head, as it goes on to a worker."""

    __slots__ = (
        "chunked",
        "content_length",
        "expects_continue",
        "fields",
        "forwarded",
        "host",
        "keep_alive",
        "keyed",
        "method",
        "minor",
        "named",
        "request_id",
        "size",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, minor: int, size: int) -> None:
        self.size = size
        """Bytes that it took on the wire, its empty line included."""

        self.method = method
        self.target = target
        """In origin form (`/path?query`), or `*`."""

        self.minor = minor
        """Of the version: HTTP/1.`minor`."""

        self.fields = b""
        """Field lines to pass on, each with its CRLF."""

        self.host: bytes | None = None
        """From the target, if it was in absolute form, else from the Host field."""

        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1
        """Whether the client will use the connection again."""

        self.named = NO_NAMES
        """Fields that `Connection` names: not to be passed on, as trailers neither."""

        self.upgrade: bytes | None = None
        """The protocol asked for, in lower case, if `Connection` says upgrade too."""

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
    match = _REQUEST.match(data)
    if match is None:
        return None
    method, target, minor = match.groups()
    begin, end = match.end(3), match.end()  # the CRLF of the request line; behind the empty line
    head = RequestHead(method, target, 1 if minor == b"1" else 0, end)
    options: list[bytes] = []
    dropped: list[tuple[bytes, bytes]] = []
    respelled = b""
    hosts = 0
    for field in _SPECIAL.findall(data, begin, end):
        name, value = field
        name, value = name.lower(), value.rstrip(b"\t ")
        if name == b"host":
            hosts += 1
            head.host = value
        elif name == b"content-length":
            if not take_length(head, value):
                respelled = b"Content-Length: %d\r\n" % int(value)
                dropped.append(field)
        elif name == b"idempotency-key":
            head.keyed = True
        else:
            dropped.append(field)
            _take_field(head, name, value, options)
    if dropped:
        head.fields = cut(data[begin : end - 2], dropped)[2:] + respelled
    else:
        head.fields = data[begin + 2 : end - 2]
    take_connection(head, options)
    if head.named and b"idempotency-key" in head.named:
        head.keyed = False  # not passed on, so the worker cannot know a repetition by it
    _check(head, hosts)
    return head


def check_limits(data: bytes, head: RequestHead, *, fields: int, target: int) -> None:
    """See to it that the head at the front of `data` has no more fields and no longer a target.

    Raises `ProtocolError` 431 or 414.
    """
    if len(head.target) > target:
        raise ProtocolError(f"the target is longer than {target} bytes", 414)
    if head.size > _SHORTEST_LINE * fields and data.count(b"\n", 0, head.size) - 2 > fields:
        raise ProtocolError(f"there are more than {fields} header fields", 431)


def _take_field(head: RequestHead, name: bytes, value: bytes, options: list[bytes]) -> None:
    """Read one of the rarer fields; what is not named here is only not passed on."""
    if name == b"connection":
        options.append(value)
    elif name == b"transfer-encoding":
        take_coding(head, value)
    elif name == b"x-request-id":
        head.request_id = value
    elif name in _FORWARDED:
        before = head.forwarded.get(name)
        came = value if before is None else before + b", " + value
        head.forwarded = head.forwarded | {name: came}
    elif name == b"upgrade":
        head.upgrade = value.lower() if head.upgrade is None else b"several"
    elif name == b"expect":
        if value.lower() != b"100-continue":
            raise ProtocolError("Expect: only 100-continue is understood", 417)
        head.expects_continue = head.minor == 1


def _check(head: RequestHead, hosts: int) -> None:
    """See to what the fields must be together."""
    if head.chunked and head.content_length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    if hosts > 1 or (hosts == 0 and head.minor == 1):
        raise ProtocolError("Host is there twice" if hosts else "Host is missing")
    if head.host is not None and _HOST.fullmatch(head.host) is None:
        raise ProtocolError("Host is no host")
    if head.method in _METHODS_OF_OURS:
        _take_method(head)
    if not head.target.startswith(b"/") and (head.target != b"*" or head.method != b"OPTIONS"):
        _take_absolute(head)


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
    if match is None or _HOST.fullmatch(match[1]) is None:
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
