from ipaddress import ip_network

import pytest

from app.http1.requests import RequestHead, parse_request
from app.http1.responses import ResponseHead, parse_response
from app.proxy.headers import (
    ClientFraming,
    Trail,
    new_request_id,
    request_head,
    request_id,
    response_head,
)

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
def test_the_framing_is_written_anew(fields: tuple[str, ...], framing: str | None) -> None:
    lines = sent(request(*fields))
    expected = {"Content-Length", "Transfer-Encoding", "Upgrade"}
    found = [line for line in lines if line.partition(":")[0] in expected]
    assert found == ([] if framing is None else [framing])


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


@pytest.mark.parametrize(
    ("asked", "answered", "lines", "chunked", "keep_alive"),
    [
        ("GET / HTTP/1.1", ("Content-Length: 3",), "Content-Length: 3\r\n", False, True),
        ("GET / HTTP/1.1", (), "Transfer-Encoding: chunked\r\n", True, True),
        (
            "GET / HTTP/1.1",
            ("Transfer-Encoding: chunked",),
            "Transfer-Encoding: chunked\r\n",
            True,
            True,
        ),
        (
            "GET / HTTP/1.0",
            ("Content-Length: 3",),
            "Content-Length: 3\r\nConnection: close\r\n",
            False,
            False,
        ),
        ("GET / HTTP/1.0", (), "Connection: close\r\n", False, False),
        ("HEAD / HTTP/1.1", ("Content-Length: 3",), "Content-Length: 3\r\n", False, True),
        ("HEAD / HTTP/1.1", (), "", False, True),
    ],
)
def test_the_framing_for_the_client(
    asked: str, answered: tuple[str, ...], lines: str, chunked: bool, keep_alive: bool
) -> None:
    framing = ClientFraming(request(line=asked), response(*answered), keep_alive=True)
    assert framing.lines.decode() == lines
    assert framing.chunked is chunked
    assert framing.keep_alive is keep_alive


def test_http_1_0_keep_alive_is_confirmed_where_the_length_is_known() -> None:
    asked = request("Connection: keep-alive", line="GET / HTTP/1.0")
    known = ClientFraming(asked, response("Content-Length: 3"), keep_alive=True)
    assert known.lines == b"Content-Length: 3\r\nConnection: keep-alive\r\n"
    assert known.keep_alive
    unknown = ClientFraming(asked, response(), keep_alive=True)
    assert unknown.lines == b"Connection: close\r\n"
    assert not unknown.keep_alive


@pytest.mark.parametrize(("status", "lines"), [(204, b""), (304, b"Content-Length: 3\r\n")])
def test_a_response_without_a_body(status: int, lines: bytes) -> None:
    head = response("Content-Length: 3", line=f"HTTP/1.1 {status} X")
    assert ClientFraming(request(), head, keep_alive=True).lines == lines


def test_when_we_want_to_close_we_say_so() -> None:
    framing = ClientFraming(request(), response("Content-Length: 3"), keep_alive=False)
    assert framing.lines == b"Content-Length: 3\r\nConnection: close\r\n"


def test_a_body_is_written_in_chunks_where_its_length_is_not_known() -> None:
    framing = ClientFraming(request(), response(), keep_alive=True)
    assert framing.frame(b"abc", done=False, trailers=b"") == b"3\r\nabc\r\n"
    assert framing.frame(b"", done=False, trailers=b"") == b""
    assert framing.frame(b"de", done=True, trailers=b"A: b\r\n") == b"2\r\nde\r\n0\r\nA: b\r\n\r\n"


def test_the_response_head_keeps_what_the_worker_said() -> None:
    head = response("Server: s", "Set-Cookie: a=b", line="HTTP/1.0 418 I'm a teapot")
    assert response_head(head, b"Content-Length: 0\r\n") == (
        b"HTTP/1.1 418 I'm a teapot\r\nServer: s\r\nSet-Cookie: a=b\r\n"
        b"Content-Length: 0\r\nVia: 1.0 leastwise\r\n\r\n"
    )
