import json

import h11
import pytest

from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.lease import Outcome
from app.http1.errors import ProtocolError
from app.proxy import responses
from app.proxy.responses import Problem


def read(raw: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Let a strict client read the answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    head = client.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return head.status_code, headers, body


def test_an_answer_says_who_speaks_and_why() -> None:
    raw = responses.serialise(responses.EXPIRED, b"id-1", keep_alive=True, with_body=True)
    status, headers, body = read(raw)
    assert status == 504
    assert headers["content-type"] == "application/problem+json"
    assert headers["proxy-status"] == "leastwise; error=http_response_timeout"
    assert headers["x-request-id"] == "id-1"
    assert "connection" not in headers
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "The request took longer than it may.",
        "request_id": "id-1",
    }


def test_an_answer_to_head_has_the_length_and_not_the_body() -> None:
    full = responses.serialise(responses.EXPIRED, b"id-1", keep_alive=True, with_body=True)
    bare = responses.serialise(responses.EXPIRED, b"id-1", keep_alive=True, with_body=False)
    assert read(bare, "HEAD")[1] == read(full)[1]
    assert bare.endswith(b"\r\n\r\n")


def test_a_connection_that_will_be_closed_is_announced() -> None:
    raw = responses.serialise(responses.EXPIRED, b"id-1", keep_alive=False, with_body=True)
    assert read(raw)[1]["connection"] == "close"


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (QueueFull(), "http_request_denied"),
        (QueueTimeout(), "http_request_denied"),
        (NoEndpoint(), "destination_unavailable"),
    ],
)
def test_a_refusal_is_503_and_says_when_to_come_back(reason: Refusal, error: str) -> None:
    raw = responses.serialise(responses.refusal(reason), b"i", keep_alive=True, with_body=True)
    status, headers, _ = read(raw)
    assert status == 503
    assert headers["proxy-status"] == f"leastwise; error={error}"
    assert headers["retry-after"] == str(responses.RETRY_AFTER)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.CONNECT_REFUSED, 502),
        (Outcome.CONNECT_SILENT, 504),
        (Outcome.DIED, 502),
        (Outcome.TIMED_OUT, 504),
        (Outcome.STALLED, 504),
        (Outcome.GARBLED, 502),
        (Outcome.EXPIRED, 504),
    ],
)
def test_each_way_to_fail_has_an_answer(outcome: Outcome, status: int) -> None:
    assert responses.failure(outcome).status == status


def test_a_bad_request_is_told_what_is_wrong_with_it() -> None:
    problem = responses.misunderstood(ProtocolError("Host is missing"))
    assert problem == Problem(400, "http_request_error", "Bad request: Host is missing.")
