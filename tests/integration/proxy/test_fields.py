"""Header fields: what is passed on, what is not, and what is added."""

import pytest

from app.config.addresses import AddressPort
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.wire import Request, Response, chunked, request, response

HOP_BY_HOP = (
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Upgrade: foo",
    "X-Named: 1",
    "x-other: 2",
)
NAMES = (b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"x-named", b"x-other")


async def forwarded(
    stage: Stage,
    *lines: str,
    target: str = "/",
    method: str = "GET",
    version: str = "HTTP/1.1",
    trusted: str = "",
) -> Request:
    """Send a request with these lines; return what the worker got."""
    async with stage(settings={"trusted_networks": trusted}) as scene:
        client = await scene.client()
        await client.send(request(target, *lines, method=method, version=version))
        worker, got = await scene.worker.request()
        await worker.send(response())
        await client.response()
        return got


async def answered(stage: Stage, raw: bytes) -> Response:
    """Let the worker answer this; return what the client got."""
    async with stage() as scene:
        client = await scene.client()
        await client.send(request())
        worker, _ = await scene.worker.request()
        await worker.send(raw)
        return await client.response()


async def test_end_to_end_fields_stay_as_they_are_and_in_order(stage: Stage) -> None:
    lines = ("X-B:  two  words ", "x-a: 1", "X-B: again", "Cookie: a=b", "X-Empty:", "X-\xc3: \xe4")
    got = await forwarded(stage, *lines[:-1])
    assert got.fields[:6] == [
        (b"host", b"lb.test"),
        (b"x-b", b"two  words"),
        (b"x-a", b"1"),
        (b"x-b", b"again"),
        (b"cookie", b"a=b"),
        (b"x-empty", b""),
    ]
    answer = await answered(stage, response(b"", "Set-Cookie: a", "Set-Cookie: b", "X-A: \xe4"))
    assert answer.all(b"set-cookie") == [b"a", b"b"]
    assert answer.get(b"x-a") == b"\xe4"


@pytest.mark.parametrize(
    "options",
    [
        ("Connection: keep-alive, X-Named, X-Other, Upgrade",),
        ("Connection: x-named", "X-Between: 1", "connection: ,x-other,,Upgrade"),
    ],
)
async def test_hop_by_hop_fields_of_a_request_end_here(
    stage: Stage, options: tuple[str, ...]
) -> None:
    got = await forwarded(stage, *HOP_BY_HOP, "X-Kept: 1", *options)
    assert [name for name in NAMES if got.all(name)] == []
    assert got.get(b"connection") is None
    assert got.get(b"x-kept") == b"1"


async def test_hop_by_hop_fields_of_a_response_end_here(stage: Stage) -> None:
    lines = ("Connection: X-Named, keep-alive, x-other", *HOP_BY_HOP, "X-Kept: 1")
    answer = await answered(stage, response(b"hello", *lines))
    assert [name for name in NAMES if answer.all(name)] == []
    assert answer.get(b"connection") is None
    assert (answer.get(b"x-kept"), answer.body) == (b"1", b"hello")


async def test_fields_that_connection_names_end_here_as_trailers_too(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Connection: X-Named", "Transfer-Encoding: chunked")
        body = chunked(b"one", trailers=b"X-Named: 1\r\nX-Kept: 2\r\n")
        await client.send(request("/", *lines, method="POST") + body)
        worker, got = await scene.worker.request()
        assert got.trailers == [(b"x-kept", b"2")]
        await worker.send(response(None, *lines) + body)
        assert (await client.response()).trailers == [(b"x-kept", b"2")]


async def test_connection_cannot_remove_what_frames_the_message(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        lines = ("Connection: Content-Length, Host, Transfer-Encoding",)
        await client.send(request("/", *lines, method="POST", body=b"hello"))
        worker, got = await scene.worker.request()
        assert (got.body, got.get(b"host")) == (b"hello", b"lb.test")
        await worker.send(response(b"hello", *lines))
        assert (await client.response()).body == b"hello"


async def test_the_trail_is_ours_if_the_client_is_not_trusted(stage: Stage) -> None:
    got = await forwarded(
        stage,
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "Forwarded: for=6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        trusted="10.0.0.0/8",
    )
    assert got.get(b"x-forwarded-for") == b"127.0.0.1"
    assert got.get(b"x-forwarded-proto") == b"http"
    assert got.get(b"x-forwarded-host") == b"lb.test"
    assert got.get(b"forwarded") is got.get(b"x_forwarded_for") is None


async def test_the_trail_of_a_trusted_client_is_continued(stage: Stage) -> None:
    got = await forwarded(
        stage,
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-For: 8.8.8.8, 7.7.7.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: site.test",
        "Forwarded: for=9.9.9.9",
        trusted="10.0.0.0/8,127.0.0.0/24",
    )
    assert got.get(b"x-forwarded-for") == b"9.9.9.9, 8.8.8.8, 7.7.7.7, 127.0.0.1"
    assert got.get(b"x-forwarded-proto") == b"https"
    assert got.get(b"x-forwarded-host") == b"site.test"
    assert got.get(b"forwarded") == b"for=9.9.9.9"


async def test_a_trusted_client_without_a_trail_begins_one(stage: Stage) -> None:
    got = await forwarded(stage, trusted="127.0.0.1")
    assert got.get(b"x-forwarded-for") == b"127.0.0.1"
    assert got.get(b"x-forwarded-proto") == b"http"
    assert got.get(b"x-forwarded-host") == b"lb.test"


async def test_a_request_id_is_kept_or_made(stage: Stage) -> None:
    assert (await forwarded(stage, "X-Request-ID: abc-1")).get(b"x-request-id") == b"abc-1"
    long = "x" * 129
    made = {
        (await forwarded(stage, *lines)).get(b"x-request-id")
        for lines in ((), ("X-Request-ID:",), (f"X-Request-ID: {long}",))
    }
    assert len(made) == 3
    assert all(value is not None and len(value) >= 16 for value in made)
    assert long.encode() not in made


async def test_via_is_added_to_what_is_there_both_ways(stage: Stage) -> None:
    assert (await forwarded(stage, "Via: 1.1 edge")).all(b"via") == [b"1.1 edge", b"1.1 leastwise"]
    assert (await forwarded(stage, version="HTTP/1.0")).get(b"via") == b"1.0 leastwise"
    answer = await answered(stage, response(b"", "Via: 1.1 inner"))
    assert answer.all(b"via") == [b"1.1 inner", b"1.1 leastwise"]
    answer = await answered(stage, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (answer.minor, answer.get(b"via")) == (1, b"1.0 leastwise")


@pytest.mark.parametrize(
    ("method", "target", "passed_on"),
    [
        ("GET", "http://other.test:81/a?b", b"/a?b"),
        ("GET", "HTTP://other.test:81", b"/"),
        ("GET", "http://other.test:81?b", b"/?b"),
        ("OPTIONS", "http://other.test:81", b"*"),
    ],
)
async def test_a_target_in_absolute_form_outranks_host(
    stage: Stage, method: str, target: str, passed_on: bytes
) -> None:
    got = await forwarded(stage, target=target, method=method)
    assert (got.target, got.get(b"host")) == (passed_on, b"other.test:81")
    assert got.get(b"x-forwarded-host") == b"other.test:81"


async def test_options_of_the_server_itself_is_passed_on(stage: Stage) -> None:
    got = await forwarded(stage, target="*", method="OPTIONS")
    assert (got.method, got.target) == (b"OPTIONS", b"*")


async def test_an_ipv4_client_of_a_dual_stack_port_is_named_by_its_ipv4_address(
    stage: Stage,
) -> None:
    async with stage(settings={"listen": AddressPort("::", 0)}) as scene:
        client = await scene.client()
        await client.send(request())
        worker, got = await scene.worker.request()
        assert got.get(b"x-forwarded-for") == b"127.0.0.1"
        await worker.send(response())
        await client.response()
