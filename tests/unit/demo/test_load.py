import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from time import monotonic

import httpx
import pytest

from app.demo.load import Load
from app.demo.records import Response
from app.demo.scenario import Scenario

Answer = Callable[[httpx.Request], httpx.Response]


def right(request: httpx.Request) -> httpx.Response:
    payload = json.loads(request.content)["payload"]
    return httpx.Response(200, json={"result": hashlib.sha256(payload.encode()).hexdigest()})


def of_another(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"result": hashlib.sha256(b"other").hexdigest()})


def unended(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"result": None})


def no_json(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="oops")


def no_object(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[1])


def unavailable(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, text="no worker")


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("it hung up", request=request)


async def responses(
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    seen_enough: Callable[[float], bool] = lambda _: True,
) -> list[Response]:
    client = httpx.AsyncClient

    def mocked(**arguments: object) -> httpx.AsyncClient:
        arguments["transport"] = httpx.MockTransport(answer)
        return client(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx, "AsyncClient", mocked)
    told: list[Response] = []
    scenario = Scenario(speed=1000.0, requests=20, most_requests=25)
    load = Load(scenario, "http://balancer", told.append, seen_enough)
    await load.run(monotonic())
    assert load.sent == len(told)
    assert told == load.responses
    return told


async def test_every_request_has_its_time_and_its_own_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payloads = []

    def answer(request: httpx.Request) -> httpx.Response:
        payloads.append(json.loads(request.content)["payload"])
        assert request.url.path == "/compute"
        assert request.method == "POST"
        return right(request)

    found = await responses(answer, monkeypatch)
    assert len(set(payloads)) == 20
    assert [response.number for response in found] == list(range(20))
    assert {response.error for response in found} == {""}
    due = [response.due for response in found]
    steps = [later - earlier for earlier, later in pairwise(due)]
    assert steps == pytest.approx([0.001] * 19)
    # uvloop's timers are exact to a millisecond.
    assert all(response.due - 0.002 <= response.sent <= response.ended for response in found)


async def test_it_goes_on_until_enough_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def at_the_third(t: float) -> bool:
        asked.append(t)
        return len(asked) == 3

    found = await responses(right, monkeypatch, at_the_third)
    assert len(found) == 22
    assert asked[2] - asked[1] == pytest.approx(0.001)


async def test_it_does_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(await responses(right, monkeypatch, lambda _: False)) == 25


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (of_another, "another result"),
        (unended, "another result"),
        (no_json, "another result: oops"),
        (no_object, "another result"),
        (unavailable, "503 no worker"),
        (broken, "RemoteProtocolError it hung up"),
    ],
)
async def test_what_is_not_the_right_result_is_a_failure(
    answer: Answer, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await responses(answer, monkeypatch)
    assert len(found) == 20
    assert all(response.error.startswith(error) for response in found)
