"""What RFC 9110 and 9112 demand of an intermediary's messages and no other test covers.

The whole list, with the test of each demand, is docs/rfc.md.
"""

import pytest

from app.config.addresses import AddressPort
from tests.integration.process.harness import free_port
from tests.integration.proxy.harness import Stage
from tests.integration.proxy.problems import check
from tests.integration.proxy.wire import Request, Response, request, response
from tests.integration.proxy.workers import ScriptedWorker


async def exchanged(
    stage: Stage, sent: bytes, answer: bytes | None = None, method: bytes = b"GET"
) -> tuple[Request, Response]:
    """Send a request, let the worker answer; return what each side got."""
    async with stage() as scene:
        client = await scene.client()
        await client.send(sent)
        worker, got = await scene.worker.request()
        await worker.send(response() if answer is None else answer)
        return got, await client.response(method)


async def test_the_version_is_ours_both_ways(stage: Stage) -> None:
    got, answer = await exchanged(
        stage, request(version="HTTP/1.0"), b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    assert (got.minor, answer.minor) == (1, 1)


@pytest.mark.parametrize(
    "target",
    [
        *("//", "/../a/./b", "/a%2fb%2Fc", "/%0d%0aX-Injected:%20yes", "/a;b=c?d=e?f&&g"),
        *("/?", "/%", "/a//b///", "/http://b.test/", "/\xe9"),
    ],
)
async def test_path_and_query_are_passed_on_untouched(stage: Stage, target: str) -> None:
    got, _ = await exchanged(stage, request(target))
    assert got.target == target.encode("latin-1")
    assert got.get(b"x-injected") is None


async def test_credentials_and_challenges_are_passed_on_untouched(stage: Stage) -> None:
    lines = ("Authorization: Basic  YTpi, x", "Authorization: Other a=b")
    challenges = ('WWW-Authenticate: A realm="b", C', "WWW-Authenticate: D")
    infos = ('Authentication-Info: nextnonce="e"',)
    got, answer = await exchanged(
        stage, request("/", *lines), response(b"", *challenges, *infos, status="401 Unauthorized")
    )
    assert got.all(b"authorization") == [b"Basic  YTpi, x", b"Other a=b"]
    assert answer.all(b"www-authenticate") == [b'A realm="b", C', b"D"]
    assert answer.get(b"authentication-info") == b'nextnonce="e"'


async def test_an_interim_response_is_passed_on_without_framing(stage: Stage) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nLink: </a>\r\n\r\n"
    odd = b"HTTP/1.1 199 Odd\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    _, answer = await exchanged(stage, request(), hint + odd + response(b"hello"))
    assert [(hint.status, hint.all(b"link")) for hint in answer.interim] == [
        (103, [b"</a>"]),
        (199, []),
    ]
    for interim in answer.interim:
        assert interim.all(b"content-length") + interim.all(b"transfer-encoding") == []
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_status_without_a_body_is_passed_on_without_a_coding(
    stage: Stage, status: str
) -> None:
    raw = response(None, "Transfer-Encoding: chunked", status=status)
    _, answer = await exchanged(stage, request(), raw)
    assert answer.all(b"transfer-encoding") == []


@pytest.mark.parametrize("status", ["299 Odd", "499 ", "599 Odder"])
async def test_a_status_that_nobody_knows_is_passed_on(stage: Stage, status: str) -> None:
    _, answer = await exchanged(stage, request(), response(b"hello", status=status))
    assert (str(answer.status), answer.body) == (status[:3], b"hello")


async def test_a_method_is_passed_on_in_its_own_case(stage: Stage) -> None:
    got, _ = await exchanged(stage, request(method="Get"))
    assert got.method == b"Get"


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
@pytest.mark.parametrize(("came", "passed_on"), [("5", b"4"), ("1", b"0"), ("007", b"6")])
async def test_a_hop_is_counted(stage: Stage, method: str, came: str, passed_on: bytes) -> None:
    got, _ = await exchanged(stage, request("/", f"Max-Forwards: {came}", method=method))
    assert got.get(b"max-forwards") == passed_on


async def test_a_hop_of_very_many_is_counted(stage: Stage) -> None:
    got, _ = await exchanged(stage, request("/", "Max-Forwards: 10000000000", method="TRACE"))
    assert int(got.get(b"max-forwards") or b"") < 10_000_000_000


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
async def test_the_last_hop_is_ours(stage: Stage, method: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request("/", "Max-Forwards: 0", "Cookie: secret", method=method))
        answer = await client.response()
        check(answer, 501, "http_request_error")
        assert b"secret" not in answer.body
        assert scene.worker.accepted == 0


async def test_hops_of_other_methods_are_not_counted(stage: Stage) -> None:
    got, _ = await exchanged(stage, request("/", "Max-Forwards: 0"))
    assert got.get(b"max-forwards") == b"0"


@pytest.mark.parametrize("end", ["", " HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_a_target_that_is_too_long_is_told_by_414(stage: Stage, end: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /" + b"x" * 40_000 + end.encode())
        check(await client.response(), 414, "http_request_error")


async def test_a_request_line_of_8000_bytes_is_passed_on(stage: Stage) -> None:
    got, _ = await exchanged(stage, request("/" + "x" * 8000))
    assert len(got.target) == 8001


async def test_a_date_is_passed_on_as_it_came(stage: Stage) -> None:
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    _, answer = await exchanged(stage, request(), response(b"", f"date: {date}"))
    assert answer.get(b"date") == date.encode()


async def test_a_response_without_a_date_gets_one(stage: Stage) -> None:
    _, answer = await exchanged(stage, request(), response(b""))
    assert answer.get(b"date") is not None


async def test_our_own_answers_have_a_date(stage: Stage) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        answer = await client.response()
        assert answer.status == 400
        assert answer.get(b"date") is not None


async def test_a_balancer_that_is_its_own_worker_comes_to_an_end(stage: Stage) -> None:
    """Each round adds to the head, and takes a slot: the limit of either ends it."""
    itself = ScriptedWorker()
    await itself.refuse()  # only its address is wanted
    itself.port = port = free_port()
    settings = {"listen": AddressPort("127.0.0.1", port), "max_header_bytes": 2048}
    async with stage([itself], settings=settings, timeouts={"idle": "50ms"}) as scene:
        client = await scene.client()
        await client.send(request())
        answer = await client.response()
        assert answer.status == 431
        assert scene.proxy.backend.stats.requests < 100
        await scene.in_flight(0)
