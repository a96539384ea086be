"""Request heads: what is accepted, what is refused and how, and what is passed on."""

import pytest

from app.http1.errors import ProtocolError
from app.http1.requests import RequestHead, check_limits, parse_request, read_request


def parse(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> RequestHead:
    """Parse a head of these lines; the Host field comes first, unless `host` is empty."""
    lines = (line, host, *fields) if host else (line, *fields)
    return parse_request(b"".join(field + b"\r\n" for field in lines) + b"\r\n")


def refused(
    *fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a"
) -> tuple[int, str]:
    """Return with which status a head is refused, and in which words."""
    with pytest.raises(ProtocolError) as caught:
        parse(*fields, line=line, host=host)
    return caught.value.status, caught.value.detail


# --- the request line

GOOD_LINES = {
    "a method of one's own": (b"BREW /pot HTTP/1.1", b"BREW", b"/pot"),
    "a method of odd characters": (b"!#$%&'*+-.^_`|~09aZ / HTTP/1.1", b"!#$%&'*+-.^_`|~09aZ", b"/"),
    "methods have case": (b"get / HTTP/1.1", b"get", b"/"),
    "query": (b"GET /a?b=c&d=%00 HTTP/1.1", b"GET", b"/a?b=c&d=%00"),
    "path that looks like an authority": (b"GET //b/c HTTP/1.1", b"GET", b"//b/c"),
    "dots are the worker's business": (b"GET /../a HTTP/1.1", b"GET", b"/../a"),
    "what browsers do not escape": (b'GET /"<>\\^`{|} HTTP/1.1', b"GET", b'/"<>\\^`{|}'),
    "unescaped UTF-8": ("GET /é HTTP/1.1".encode(), b"GET", "/é".encode()),
    "asterisk": (b"OPTIONS * HTTP/1.1", b"OPTIONS", b"*"),
}


@pytest.mark.parametrize(("line", "method", "target"), GOOD_LINES.values(), ids=GOOD_LINES)
def test_request_line(line: bytes, method: bytes, target: bytes) -> None:
    head = parse(line=line)
    assert (head.method, head.target, head.minor) == (method, target, 1)


BAD_LINES = {
    "HTTP/0.9": (b"GET /", 400),
    "HTTP/0.9, spelled out": (b"GET / HTTP/0.9", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0", 505),
    "a version that there is not": (b"GET / HTTP/1.2", 505),
    "version in lower case": (b"GET / http/1.1", 400),
    "version without its minor": (b"GET / HTTP/1", 400),
    "version with more digits": (b"GET / HTTP/1.10", 400),
    "another protocol": (b"GET / RTSP/1.0", 400),
    "nothing": (b"", 400),
    "no method": (b" / HTTP/1.1", 400),
    "no target": (b"GET  HTTP/1.1", 400),
    "space before": (b" GET / HTTP/1.1", 400),
    "space behind": (b"GET / HTTP/1.1 ", 400),
    "two spaces before the target": (b"GET  / HTTP/1.1", 400),
    "two spaces behind the target": (b"GET /  HTTP/1.1", 400),
    "tab for a space": (b"GET\t/ HTTP/1.1", 400),
    "space in the target": (b"GET /a b HTTP/1.1", 400),
    "two versions": (b"GET / HTTP/1.1 HTTP/1.1", 400),
    "CR in the target": (b"GET /\rX HTTP/1.1", 400),
    "LF in the target": (b"GET /\nX HTTP/1.1", 400),
    "CR behind": (b"GET / HTTP/1.1\r", 400),
    "LF instead of CR LF": (b"GET / HTTP/1.1\nA: b", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1", 400),
    "DEL in the target": (b"GET /\x7f HTTP/1.1", 400),
    "fragment": (b"GET /#top HTTP/1.1", 400),
    "method that is no token": (b"G(T / HTTP/1.1", 400),
    "method beyond ASCII": (b"G\xcbT / HTTP/1.1", 400),
    "colon behind the method": (b"GET: / HTTP/1.1", 400),
    "tunnel": (b"CONNECT a:443 HTTP/1.1", 501),
    "authority for a target": (b"GET a:80 HTTP/1.1", 400),
    "asterisk, but not OPTIONS": (b"GET * HTTP/1.1", 400),
    "relative path": (b"GET a/b HTTP/1.1", 400),
    "other scheme": (b"GET ftp://a/ HTTP/1.1", 400),
    "userinfo in the target": (b"GET http://me:secret@a/ HTTP/1.1", 400),
    "absolute without an authority": (b"GET http:///a HTTP/1.1", 400),
    "absolute with a port and no host": (b"GET http://:80/a HTTP/1.1", 400),
    "absolute with an odd host": (b"GET http://a\\b/ HTTP/1.1", 400),
}


@pytest.mark.parametrize(("line", "status"), BAD_LINES.values(), ids=BAD_LINES)
def test_refused_request_line(line: bytes, status: int) -> None:
    assert refused(line=line)[0] == status


ABSOLUTE = {
    "path and query": (b"GET http://b/c?d", b"/c?d", b"b"),
    "no path": (b"GET http://b", b"/", b"b"),
    "query, no path": (b"GET http://b?c", b"/?c", b"b"),
    "port, upper case": (b"GET HTTP://b:81/", b"/", b"b:81"),
    "https, IPv6": (b"GET https://[::1]:8443/", b"/", b"[::1]:8443"),
    "an address behind the path": (b"GET http://b/c@d", b"/c@d", b"b"),
    "OPTIONS of the server": (b"OPTIONS http://b:80", b"*", b"b:80"),
    "OPTIONS of its root": (b"OPTIONS http://b/", b"/", b"b"),
}


@pytest.mark.parametrize(("line", "target", "host"), ABSOLUTE.values(), ids=ABSOLUTE)
def test_absolute_target_becomes_origin_form_and_outranks_host(
    line: bytes, target: bytes, host: bytes
) -> None:
    head = parse(b"A: b", line=line + b" HTTP/1.1", host=b"hOST: other")
    assert (head.target, head.host) == (target, host)
    assert head.fields == b"Host: " + host + b"\r\nA: b\r\n"


# --- the fields

BAD_FIELDS = {
    "space before the colon": b"Content-Length : 5",
    "tab before the colon": b"Content-Length\t: 5",
    "no name": b": b",
    "no colon": b"A",
    "space in the name": b"A b: c",
    "space before the name: obs-fold": b" folded",
    "tab before the name: obs-fold": b"\tfolded: b",
    "CR in the value": b"A: b\rC: d",
    "CR at the end": b"A: b\r",
    "LF in the value": b"A: b\nTransfer-Encoding: chunked",
    "NUL in the value": b"A: b\0c",
    "NUL in the name": b"A\0: b",
    "control character": b"A: \x0b",
    "DEL": b"A: \x7f",
    "name beyond ASCII": b"\xc5: b",
    "name in brackets": b"[A]: b",
}


@pytest.mark.parametrize("field", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_malformed_field_is_refused_by_its_number(field: bytes) -> None:
    assert refused(field, b"Z: z") == (400, "header field 2 is malformed")


@pytest.mark.parametrize("end", [b"", b"\r", b"\r\n\r\n", b"\r\nA"], ids=repr)
def test_head_that_does_not_end_with_its_empty_line(end: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + end)


def test_ordinary_fields_are_passed_on_as_the_bytes_that_came() -> None:
    fields = (b"accept:*/*", b"X-Odd:  \t a\t b \t", b"Empty:", b"\x21: \xe9\xff", b"Accept: again")
    head = parse(*fields)
    assert head.fields == b"Host: a\r\n" + b"".join(field + b"\r\n" for field in fields)


# --- from the front of what came

WHOLE = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("behind", [b"", b"abc", b"abcGET / HTTP/1.1\r\n", b"\r\n\r\n\0"], ids=repr)
def test_a_head_is_read_whatever_is_behind_it(behind: bytes) -> None:
    head = read_request(WHOLE + behind)
    assert head is not None
    assert (head.method, head.target, head.content_length) == (b"POST", b"/a", 3)
    assert head.size == len(WHOLE)
    assert head.fields == b"Host: a\r\nContent-Length: 3\r\n"


def test_fields_behind_the_head_are_not_its_own() -> None:
    head = read_request(WHOLE + b"X-Request-ID: 1\r\nTE: x\r\nHost: b\r\n\r\n")
    assert head is not None
    assert (head.host, head.request_id) == (b"a", None)
    assert head.fields == b"Host: a\r\nContent-Length: 3\r\n"


def test_what_is_not_whole_is_not_read() -> None:
    assert all(read_request(WHOLE[:end]) is None for end in range(len(WHOLE)))


@pytest.mark.parametrize(
    "raw",
    [
        *(b"\r\n" + WHOLE, b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n"),
        *(b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n"),
    ],
    ids=repr,
)
def test_what_is_malformed_is_not_read_and_parsing_finds_the_words(raw: bytes) -> None:
    assert read_request(raw) is None
    with pytest.raises(ProtocolError):
        parse_request(raw)


def test_what_is_well_formed_and_cannot_be_accepted_is_refused_at_once() -> None:
    with pytest.raises(ProtocolError, match="Host is missing"):
        read_request(b"GET / HTTP/1.1\r\n\r\nbehind")


def test_parsing_wants_the_head_and_nothing_behind_it() -> None:
    assert parse_request(WHOLE).size == len(WHOLE)
    with pytest.raises(ProtocolError, match="malformed"):
        parse_request(WHOLE + b"abc")


def test_the_size_is_that_on_the_wire_whatever_is_taken_out() -> None:
    raw = b"GET http://b/ HTTP/1.1\r\nHost: a\r\nTE: x\r\nConnection: close\r\n\r\n"
    assert parse_request(raw).size == len(raw)


# --- Host

HOSTS = {
    "name": b"example.org",
    "name and port": b"example.org:8080",
    "port left out": b"example.org:",
    "IPv4": b"192.0.2.1:80",
    "IPv6": b"[2001:db8::1]:80",
    "underscores": b"my_pod",
    "empty": b"",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_host(host: bytes) -> None:
    head = parse(host=b"HOST:\t" + host + b" ")
    assert head.host == host
    assert head.fields == b"HOST:\t" + host + b" \r\n"


BAD_HOSTS = {
    "missing": b"",
    "twice": b"Host: a\r\nHost: b",
    "twice the same": b"Host: a\r\nhost: a",
    "twice, the second empty": b"Host: a\r\nHost:",
    "list": b"Host: a, b",
    "userinfo": b"Host: me@a",
    "path": b"Host: a/b",
    "query": b"Host: a?b",
    "port of letters": b"Host: a:b",
    "two ports": b"Host: a:1:2",
    "IPv6 without brackets": b"Host: ::1",
    "IPv6 with a tail": b"Host: [::1]a",
    "bracket left open": b"Host: [::1",
    "beyond ASCII": b"Host: \xe9",
    "backslash": b"Host: a\\b",
}


@pytest.mark.parametrize("host", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_refused_host(host: bytes) -> None:
    status, detail = refused(host=host)
    assert status == 400
    assert detail.startswith("Host is ")


def test_host_may_be_missing_in_http_1_0_but_not_doubled() -> None:
    assert parse(line=b"GET / HTTP/1.0", host=b"").host is None
    assert refused(b"Host: b", line=b"GET / HTTP/1.0") == (400, "Host is there twice")


def test_host_is_refused_before_the_target_that_would_outrank_it() -> None:
    assert refused(line=b"GET http://b/ HTTP/1.1", host=b"Host: me@a")[1] == "Host is no host"


# --- Max-Forwards

HOPS = {
    "counted down": (b"OPTIONS", b"Max-Forwards: 10", b"Max-Forwards: 9"),
    "spelling kept": (b"TRACE", b"max-FORWARDS:\t1 ", b"max-FORWARDS:\t0 "),
    "not a number": (b"TRACE", b"Max-Forwards: many", b"Max-Forwards: many"),
    "only counted by OPTIONS and TRACE": (b"GET", b"Max-Forwards: 0", b"Max-Forwards: 0"),
    "not in another's value": (b"TRACE", b"A: max-forwards: 0", b"A: max-forwards: 0"),
}


@pytest.mark.parametrize(("method", "came", "passed_on"), HOPS.values(), ids=HOPS)
def test_hops_are_counted(method: bytes, came: bytes, passed_on: bytes) -> None:
    head = parse(came, line=method + b" / HTTP/1.1")
    assert head.fields == b"Host: a\r\n" + passed_on + b"\r\n"


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE"])
def test_the_last_hop_is_not_passed_on(method: bytes) -> None:
    assert refused(b"Max-Forwards: 0", line=method + b" / HTTP/1.1")[0] == 501


# --- limits


def limited(raw: bytes, *, fields: int, target: int) -> str:
    """Return how a head is refused by its limits; empty if it is not."""
    try:
        check_limits(parse_request(raw), fields=fields, target=target)
    except ProtocolError as error:
        return f"{error.status} {error.detail}"
    return ""


@pytest.mark.parametrize(("count", "answer"), [(127, ""), (128, "431 there are more than 128")])
@pytest.mark.parametrize("line", [b"a:\r\n", b"X-Long-Name: a value\r\n"])
def test_the_number_of_fields_is_bounded(count: int, answer: str, line: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + line * count + b"\r\n"
    assert limited(raw, fields=128, target=1000).startswith(answer or "")
    assert bool(limited(raw, fields=128, target=1000)) is bool(answer)


def test_the_body_behind_the_head_counts_for_nothing() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
    head = parse_request(raw)
    check_limits(head, fields=2, target=1000)


@pytest.mark.parametrize(("length", "answer"), [(300, ""), (301, "414 the target is longer")])
def test_the_length_of_the_target_is_bounded(length: int, answer: str) -> None:
    raw = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * (length - 1))
    found = limited(raw, fields=128, target=300)
    assert found.startswith(answer)
    assert bool(found) is bool(answer)
