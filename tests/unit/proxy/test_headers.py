from email.utils import parsedate_to_datetime
from ipaddress import ip_network
from time import time

import pytest

from app.http1.requests import RequestHead, parse_request
from app.http1.responses import ResponseHead, parse_response
from app.proxy.headers import (
    ClientFraming,
    Trail,
    client_framing,
    new_request_id,
    request_head,
    request_id,
    response_head,
)

DATE = "Date: Tue, 15 Nov 1994 08:12:31 GMT"
PRIVATE = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request(*fields: str, line: str = "GET / HTTP/1.1") -> RequestHead:
    return parse_request("\r\n".join([line, "Host: example.org", *fields, "", ""]).encode())


def response(*fields: str, line: str = "HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response("\r\n".join([line, *fields, "", ""]).encode())


def sent(head: RequestHead, address: str = "203.0.113.7", *, trusted: bool = False) -> list[str]:
    trail = Trail(address, PRIVATE if trusted else ())
    return request_head(head, trail, b"id-1").decode().split("\r\n")


def test_the_trail_names_client_scheme_and_host() -> None:
    lines = sent(request("Accept: */*"))
    assert lines == [
        "GET / HTTP/1.1",
        "Host: example.org",
        "Accept: */*",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: example.org",
        "X-Request-ID: id-1",
        "Via: 1.1 leastwise",
        "",
        "",
    ]


CAME = (
    "X-Forwarded-For: 198.51.100.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: api.example.org",
    "Forwarded: for=198.51.100.1",
)


def test_a_trail_from_nobody_we_trust_is_dropped() -> None:
    lines = sent(request(*CAME))
    assert "X-Forwarded-For: 203.0.113.7" in lines
    assert "X-Forwarded-Proto: http" in lines
    assert "X-Forwarded-Host: example.org" in lines
    assert not any("198.51.100.1" in line for line in lines)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0"])
def test_a_trusted_proxys_trail_is_kept_and_continued(address: str) -> None:
    lines = sent(request(*CAME), address, trusted=True)
    assert f"X-Forwarded-For: 198.51.100.1, {address}" in lines
    assert "X-Forwarded-Proto: https" in lines
    assert "X-Forwarded-Host: api.example.org" in lines
    assert "Forwarded: for=198.51.100.1" in lines


def test_an_address_outside_the_trusted_networks_is_not_trusted() -> None:
    assert "X-Forwarded-For: 203.0.113.7" in sent(request(*CAME), trusted=True)


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ((), None),
        (("Content-Length: 5",), "Content-Length: 5"),
        (("Content-Length: 0",), "Content-Length: 0"),
        (("Transfer-Encoding: Chunked",), "Transfer-Encoding: chunked"),
        (("Connection: upgrade", "Upgrade: websocket"), "Upgrade: websocket"),
    ],
)
def test_the_framing_is_written_for_the_worker(
    fields: tuple[str, ...], framing: str | None
) -> None:
    lines = sent(request(*fields))
    expected = {"Content-Length", "Transfer-Encoding", "Upgrade"}
    found = [line for line in lines if line.partition(":")[0] in expected]
    assert found == ([] if framing is None else [framing])


def test_a_length_is_written_once_where_it_stood() -> None:
    lines = sent(request("A: 1", "Content-Length: 5", "B: 2"))
    assert lines[1:5] == ["Host: example.org", "A: 1", "Content-Length: 5", "B: 2"]
    assert [line for line in lines if line.lower().startswith("content-length")] == [lines[3]]


def test_a_body_in_chunks_is_announced_though_an_upgrade_is_asked_for() -> None:
    lines = sent(request("Connection: upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked"))
    assert "Transfer-Encoding: chunked" in lines
    assert not any(line.startswith(("Connection", "Upgrade")) for line in lines)


def test_what_there_is_of_the_body_follows_the_head() -> None:
    head, trail = request("Content-Length: 5"), Trail("203.0.113.7", ())
    alone = request_head(head, trail, b"id-1")
    assert alone.endswith(b"\r\n\r\n")
    assert request_head(head, trail, b"id-1", b"a\0\r\nb") == alone + b"a\0\r\nb"


def test_a_trail_is_the_same_for_each_request_but_for_its_host() -> None:
    trail = Trail("203.0.113.7", ())
    first = trail.lines(request())
    bare = trail.lines(parse_request(b"GET / HTTP/1.0\r\n\r\n"))
    empty = trail.lines(parse_request(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"))
    assert first == bare + b"X-Forwarded-Host: example.org\r\n"
    assert empty == bare == b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\n"
    assert trail.lines(request()) == first


def test_a_request_of_http_1_0_without_host_gets_an_empty_one() -> None:
    lines = sent(parse_request(b"GET / HTTP/1.0\r\n\r\n"))
    assert "Host:" in lines
    assert "Via: 1.0 leastwise" in lines
    assert not any(line.startswith("X-Forwarded-Host") for line in lines)


def test_a_request_id_that_came_is_kept() -> None:
    assert request_id(request("X-Request-ID: abc")) == b"abc"


@pytest.mark.parametrize("fields", [(), ("X-Request-ID:",), ("X-Request-ID: " + "x" * 129,)])
def test_a_request_without_a_usable_id_gets_one(fields: tuple[str, ...]) -> None:
    made = request_id(request(*fields))
    assert len(made) > 16
    assert made != new_request_id()


CHUNKS, CLOSE, KEEP = (
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
)
LENGTH, CHUNKED = ("Content-Length: 3",), ("Transfer-Encoding: chunked",)


def framing_of(
    asked: str, answered: tuple[str, ...], *, status: int = 200, keep_alive: bool = True
) -> ClientFraming:
    line, *fields = asked.split("\r\n")
    head = response(*answered, line=f"HTTP/1.1 {status} X")
    return client_framing(request(*fields, line=line), head, keep_alive=keep_alive)


def facts(framing: ClientFraming) -> tuple[str, bool, bool]:
    return framing.lines.decode(), framing.chunked, framing.keep_alive


GET, OLD, HEAD = "GET / HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.1"
OLD_KEPT = OLD + "\r\nConnection: keep-alive"


@pytest.mark.parametrize(
    ("asked", "answered", "framing"),
    [
        (GET, LENGTH, ("", False, True)),
        (GET, (), (CHUNKS, True, True)),
        (GET, CHUNKED, (CHUNKS, True, True)),
        (GET + "\r\nConnection: close", LENGTH, (CLOSE, False, False)),
        (GET + "\r\nConnection: close", (), (CHUNKS + CLOSE, True, False)),
        (OLD, LENGTH, (CLOSE, False, False)),
        (OLD, (), (CLOSE, False, False)),
        (OLD, CHUNKED, (CLOSE, False, False)),
        (OLD_KEPT, LENGTH, (KEEP, False, True)),
        (OLD_KEPT, (), (CLOSE, False, False)),
        (HEAD, LENGTH, ("", False, True)),
        (HEAD, (), ("", False, True)),
        (HEAD, CHUNKED, ("", False, True)),
        ("HEAD / HTTP/1.0\r\nConnection: keep-alive", (), (KEEP, False, True)),
    ],
)
def test_the_framing_for_the_client(
    asked: str, answered: tuple[str, ...], framing: tuple[str, bool, bool]
) -> None:
    assert facts(framing_of(asked, answered)) == framing


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("answered", [(), LENGTH, CHUNKED])
@pytest.mark.parametrize(("asked", "lines"), [(GET, ""), (OLD_KEPT, KEEP)])
def test_a_response_without_a_body(
    status: int, answered: tuple[str, ...], asked: str, lines: str
) -> None:
    assert facts(framing_of(asked, answered, status=status)) == (lines, False, True)


@pytest.mark.parametrize("asked", [GET, OLD, OLD_KEPT, HEAD])
@pytest.mark.parametrize("answered", [(), LENGTH, CHUNKED])
@pytest.mark.parametrize("status", [200, 204, 304])
def test_when_we_want_to_close_we_say_so(
    asked: str, answered: tuple[str, ...], status: int
) -> None:
    framing = framing_of(asked, answered, status=status, keep_alive=False)
    chunked = asked == GET and answered != LENGTH and status == 200
    assert facts(framing) == (CHUNKS + CLOSE if chunked else CLOSE, chunked, False)


def test_framings_are_shared() -> None:
    assert framing_of(GET, LENGTH) is framing_of(HEAD, ())
    assert framing_of(GET, ()) is framing_of(GET, CHUNKED)
    assert framing_of(OLD, ()) is framing_of(GET, LENGTH, keep_alive=False)


def test_a_body_is_written_in_chunks_where_its_length_is_not_known() -> None:
    framing = framing_of(GET, ())
    assert framing.frame(b"abc", done=False, trailers=b"") == b"3\r\nabc\r\n"
    assert framing.frame(b"", done=False, trailers=b"") == b""
    assert framing.frame(b"de", done=True, trailers=b"A: b\r\n") == b"2\r\nde\r\n0\r\nA: b\r\n\r\n"
    assert framing.frame(b"", done=True, trailers=b"") == b"0\r\n\r\n"


@pytest.mark.parametrize("asked", [GET, OLD])
def test_a_body_of_known_length_is_written_as_it_is(asked: str) -> None:
    framing = framing_of(asked, LENGTH)
    assert framing.frame(b"abc", done=False, trailers=b"") == b"abc"
    assert framing.frame(b"de", done=True, trailers=b"A: b\r\n") == b"de"


def test_the_response_head_keeps_what_the_worker_said() -> None:
    head = response(DATE, "Server: s", "Set-Cookie: a=b", line="HTTP/1.0 418 I'm a teapot")
    assert response_head(head, b"Connection: close\r\n") == (
        b"HTTP/1.1 418 I'm a teapot\r\n" + DATE.encode() + b"\r\nServer: s\r\nSet-Cookie: a=b\r\n"
        b"Connection: close\r\nVia: 1.0 leastwise\r\n\r\n"
    )


def test_the_response_head_states_the_length_once_where_it_stood() -> None:
    head = response("Content-Length: 3", "Server: s", "date: x", line="HTTP/1.1 200")
    assert response_head(head, b"", b"abc") == (
        b"HTTP/1.1 200 \r\nContent-Length: 3\r\nServer: s\r\ndate: x\r\n"
        b"Via: 1.1 leastwise\r\n\r\nabc"
    )


def test_a_response_that_may_state_no_length_states_none() -> None:
    head = response("Content-Length: 3", "DATE:x", line="HTTP/1.1 204 No Content")
    lines = client_framing(request(), head, keep_alive=True).lines
    assert response_head(head, lines) == (
        b"HTTP/1.1 204 No Content\r\nDATE:x\r\nVia: 1.1 leastwise\r\n\r\n"
    )


def test_a_response_without_a_date_gets_one() -> None:
    before = int(time())
    lines = response_head(response("Server: s", "X-Date: y"), b"").decode().split("\r\n")
    (line,) = [line for line in lines if line.startswith("Date: ")]
    written = parsedate_to_datetime(line.removeprefix("Date: ")).timestamp()
    assert before <= written <= time()
    assert line.endswith(" GMT")


def test_an_interim_response_needs_no_date() -> None:
    head = response("Link: </a>", line="HTTP/1.1 103 Early Hints")
    assert b"Date" not in response_head(head, b"")
