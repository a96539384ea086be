"""Messages to be read: well formed ones, and the same with damage done to them."""

from hypothesis import strategies as st

from app.http1.bodies import last_chunk

NAMES = st.sampled_from([b"Accept", b"X-A", b"x-b", b"Cookie", b"TEA", b"Hosts", b"Date"])
VALUES = st.sampled_from([b"", b"1", b"a, b", b"x\t y", b'"q:"', b"\xe9", b"chunked", b"a=b; c"])
BLANKS = st.sampled_from([b"", b" ", b"\t ", b"  "])
PLAIN = st.builds(lambda n, b, v, c: n + b":" + b + v + c, NAMES, BLANKS, VALUES, BLANKS)
ODD_FIELDS = [
    *(b"TE: trailers", b"Keep-Alive: timeout=5", b"X-Forwarded-For: b", b"X-Request-ID: 1"),
    *(b"Connection: x-a", b"Connection: TE, X-B", b"Expect: 100-continue", b"connection: close"),
    *(b"Forwarded: for=b", b"Idempotency-Key: k", b"Proxy-Connection: x", b"HTTP2-Settings: "),
    b"Upgrade: h2c",
]
FIELDS = st.lists(PLAIN | st.sampled_from(ODD_FIELDS), max_size=5)
EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b c"'])
TRAILERS = st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"X-A: 2\r\nx-b:\r\n"])
PAYLOADS = st.lists(st.binary(min_size=1, max_size=20), max_size=3)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Draw framing fields, and a body that they frame."""
    kind = draw(st.sampled_from(["none", "length", "chunked", "chunked"]))
    if kind == "none":
        return [], b""
    payloads = draw(PAYLOADS)
    if kind == "length":
        body = b"".join(payloads)
        return [b"Content-Length: %d" % len(body)], body
    chunks = [b"%x%b\r\n%b\r\n" % (len(p), draw(EXTENSIONS), p) for p in payloads]
    return [b"Transfer-Encoding: chunked"], b"".join(chunks) + last_chunk(draw(TRAILERS))


@st.composite
def _messages(draw: st.DrawFn, first_lines: list[bytes], more: list[bytes]) -> bytes:
    framing, body = draw(_bodies())
    fields = draw(st.permutations([*draw(FIELDS), *framing, *more]))
    lines = [draw(st.sampled_from(first_lines)), *fields, b""]
    return b"".join(line + b"\r\n" for line in lines) + body


METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS"]
TARGETS = [b"/", b"/a/b?c=d&e", b"//x", b"http://b/c?d", b"https://[::1]:8/", b"/%0d%0a", b"/a|b"]
_OLD = st.lists(PLAIN, max_size=3).map(lambda fields: [b"GET /old HTTP/1.0", *fields, b""])

REQUESTS = _messages(
    [b"%b %b HTTP/1.1" % (method, target) for method in METHODS for target in TARGETS],
    [b"Host: a:80"],
) | _OLD.map(lambda lines: b"".join(line + b"\r\n" for line in lines))

RESPONSES = _messages(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 503 \xe9", b"HTTP/1.1 299 "], []
)

# --- damage

BAD_LINES = [
    *(b"Content-Length: 3", b"Content-Length: +3", b"Transfer-Encoding: chunked", b"Host: b"),
    *(b"Transfer-Encoding: x", b" folded", b"Connection: content-length, host", b"A : b", b""),
    *(b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding\t: chunked", b": a"),
    *(b"Content-Length: 03", b"content-length:\t000 "),
    *(b"Content-Length: 3, 3", b"Transfer-Encoding: x, chunked", b"Connection: X-A, x-sum"),
    *(b"0", b"3", b"5;a=b", b"GET /other HTTP/1.1", b"HTTP/1.1 200 OK"),
    *ODD_FIELDS,
]
_LETTERS = b"\r\n\0 \t:,;\x0b\xe9\x7f01f-+/*#@xX"
_PIECES = st.sampled_from([*(bytes([letter]) for letter in _LETTERS), b"\r\n", b"\r\n\r\n"])
_HARM = st.tuples(
    st.sampled_from(["put", "replace", "drop", "line", "line", "repeat", "swap"]),
    st.integers(0, 300),
    _PIECES,
    st.sampled_from(BAD_LINES),
)
HARMS = st.lists(_HARM, min_size=1, max_size=3)


def damaged(stream: bytes, harms: list[tuple[str, int, bytes, bytes]]) -> bytes:
    """Return the stream with bytes put in, replaced or dropped, and lines put in or repeated."""
    for kind, place, piece, bad_line in harms:
        at = place % (len(stream) + 1)
        lines = stream.split(b"\r\n")
        line = place % len(lines)
        match kind:
            case "put":
                stream = stream[:at] + piece + stream[at:]
            case "replace":
                stream = stream[:at] + piece + stream[at + 1 :]
            case "drop":
                stream = stream[:at] + stream[at + 1 :]
            case "line":
                stream = b"\r\n".join([*lines[:line], bad_line, *lines[line:]])
            case "repeat":
                stream = b"\r\n".join([*lines[:line], lines[line], *lines[line:]])
            case _:
                stream = b"\r\n".join([*lines[line:], *lines[:line]])
    return stream
