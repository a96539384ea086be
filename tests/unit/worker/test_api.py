import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.worker import api
from app.worker.api import create_app
from app.worker.schemas import MAX_PAYLOAD, MAX_SECONDS
from app.worker.settings import WorkerSettings
from app.worker.tasks import TaskRegistry

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def app_with(draining: asyncio.Event | None = None, **settings: Any) -> FastAPI:
    return create_app(WorkerSettings(**({"task_seconds": 0} | settings)), draining)


def tasks_of(app: FastAPI) -> TaskRegistry:
    worker: api.Worker = app.state.worker
    return worker.tasks


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        yield client


class ComputeCall:
    """A POST /compute by hand, whose client can leave, and which sees each message as it goes."""

    def __init__(self, app: FastAPI, payload: str = "a") -> None:
        self.app = app
        self.body: bytes | None = json.dumps({"payload": payload}).encode()
        self.watched = asyncio.Event()
        self.left = asyncio.Event()
        self.in_flight_at_send: list[int] = []
        self.status: int | None = None

    async def run(self) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/compute",
            "query_string": b"",
            "headers": headers,
        }
        await self.app(scope, self.receive, self.send)

    async def receive(self) -> Message:
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        self.watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.in_flight_at_send.append(tasks_of(self.app).in_flight)
        if message["type"] == "http.response.start":
            self.status = message["status"]


@asynccontextmanager
async def running_task(app: FastAPI) -> AsyncIterator[ComputeCall]:
    """A task that runs inside the block, and is left by its client at the block's end."""
    call = ComputeCall(app)
    running = asyncio.create_task(call.run())
    await call.watched.wait()
    yield call
    call.left.set()
    await running


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem.keys() == {"type", "title", "status", "detail"}
    return problem


async def test_compute_answers_with_the_task_done() -> None:
    async with client_of(app_with()) as client:
        response = await client.post("/compute", json={"payload": "grüße"})
        assert response.status_code == 200
        task = response.json()
        assert task.keys() == {"uuid", "date", "result", "payload", "status"}
        assert task["result"] == hashlib.sha256("grüße".encode()).hexdigest()
        assert (task["payload"], task["status"]) == ("grüße", "DONE")
        assert (await client.get(f"/task/{task['uuid']}/")).json() == task


async def test_the_slot_is_free_before_the_response_is_sent() -> None:
    call = ComputeCall(app_with())
    await call.run()
    assert call.status == 200
    assert call.in_flight_at_send == [0, 0]


async def test_the_slot_is_free_before_an_error_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_payload: str, _seconds: float) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(api, "_compute", broken)
    app = app_with()
    call = ComputeCall(app)
    with pytest.raises(ZeroDivisionError):  # for the server to log, after the 500
        await call.run()
    assert call.status == 500
    assert call.in_flight_at_send == [0, 0]
    assert tasks_of(app).cancelled == 1


async def test_a_request_may_say_how_long_its_task_takes() -> None:
    async with client_of(app_with(task_seconds=3600)) as client, asyncio.timeout(20):
        answer = await client.post("/compute", json={"payload": "a", "seconds": 0})
        assert answer.json()["status"] == "DONE"
    app = app_with(task_seconds=0)
    asked = []

    async def compute(_payload: str, seconds: float) -> str:
        asked.append(seconds)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "_compute", compute)
        async with client_of(app) as client:
            for seconds in (None, 0.25, MAX_SECONDS):
                await client.post("/compute", json={"payload": "a", "seconds": seconds})
    assert asked == [0, 0.25, MAX_SECONDS]


@pytest.mark.parametrize("seconds", ["-0.1", str(MAX_SECONDS + 1), "NaN", "Infinity", '"soon"'])
async def test_but_not_any_time(seconds: str) -> None:
    app = app_with()
    async with client_of(app) as client:
        body = f'{{"payload": "a", "seconds": {seconds}}}'
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/compute", content=body, headers=headers)
    assert answer.status_code == 422
    assert "body.seconds" in answer.json()["detail"]
    assert tasks_of(app).peak == 0


async def test_a_client_that_leaves_stops_its_task() -> None:
    app = app_with(task_seconds=3600)
    async with client_of(app) as client:
        async with running_task(app):
            (task,) = (await client.get("/task/")).json()
            assert (task["status"], task["result"]) == ("RUNNING", None)
            assert (await client.get("/status")).json()["in_flight"] == 1
        status = (await client.get("/status")).json()
        assert (status["in_flight"], status["cancelled"], status["completed"]) == (0, 1, 0)
        task = (await client.get(f"/task/{task['uuid']}/")).json()
        assert (task["status"], task["result"]) == ("CANCELLED", None)


async def test_a_full_worker_refuses_and_has_done_nothing() -> None:
    app = app_with(task_seconds=3600, max_in_flight=1)
    async with client_of(app) as client, running_task(app):
        response = await client.post("/compute", json={"payload": "b"})
        assert response.headers["retry-after"] == "1"
        assert "1 of 1 tasks are running" in assert_problem(response, 503)["detail"]
        assert [task["payload"] for task in (await client.get("/task/")).json()] == ["a"]
        status = (await client.get("/status")).json()
        assert (status["in_flight"], status["peak"], status["refused"]) == (1, 1, 1)


async def test_an_invalid_request_takes_no_slot() -> None:
    app = app_with(max_in_flight=1)
    async with client_of(app) as client:
        for body in (b"{", b"{}", b'{"payload": 1}', b'{"payload": "\\ud800"}'):
            response = await client.post(
                "/compute", content=body, headers={"content-type": "application/json"}
            )
            assert assert_problem(response, 422)["detail"].startswith("body")
        response = await client.post("/compute", json={"payload": "x" * (MAX_PAYLOAD + 1)})
        assert_problem(response, 422)
        assert "xxx" not in response.text
    assert tasks_of(app).peak == 0


async def test_the_list_is_newest_first_and_bounded() -> None:
    async with client_of(app_with(history=2)) as client:
        first, *_ = [
            (await client.post("/compute", json={"payload": payload})).json() for payload in "abc"
        ]
        assert [task["payload"] for task in (await client.get("/task/")).json()] == ["c", "b"]
        response = await client.get(f"/task/{first['uuid']}/")
        assert "before the last 2" in assert_problem(response, 404)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/task/{UNKNOWN}/", 404),
        ("GET", "/task/7/", 422),
        ("GET", "/nowhere", 404),
        ("GET", "/compute", 405),
    ],
)
async def test_errors_are_problems(method: str, path: str, status: int) -> None:
    async with client_of(app_with()) as client:
        assert_problem(await client.request(method, path), status)


async def test_status_tells_the_counts() -> None:
    app = app_with(task_seconds=3600, max_in_flight=4, name="worker1")
    async with client_of(app) as client:
        idle = (await client.get("/status")).json()
        assert idle.pop("pid") > 0
        assert idle == {
            "status": "IDLE",
            "in_flight": 0,
            "peak": 0,
            "refused": 0,
            "completed": 0,
            "cancelled": 0,
            "max_in_flight": 4,
            "name": "worker1",
        }
        async with running_task(app):
            busy = (await client.get("/status")).json()
        assert (busy["status"], busy["in_flight"], busy["peak"]) == ("BUSY", 1, 1)


async def test_a_draining_worker_lives_and_is_not_ready() -> None:
    draining = asyncio.Event()
    async with client_of(app_with(draining)) as client:
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        draining.set()
        assert_problem(await client.get("/readyz"), 503)
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/ping")).json() == {"ping": "pong"}
        assert (await client.post("/compute", json={"payload": ""})).status_code == 200


async def test_the_docs_describe_every_answer() -> None:
    async with client_of(app_with()) as client:
        assert (await client.get("/docs")).status_code == 200
        openapi = (await client.get("/openapi.json")).json()
    assert openapi["paths"].keys() == {
        "/compute", "/task/", "/task/{uuid}/", "/status", "/ping", "/healthz", "/readyz",
    }  # fmt: skip
    answers = openapi["paths"]["/compute"]["post"]["responses"]
    assert answers.keys() == {"200", "422", "503"}
    assert answers["422"]["content"].keys() == {"application/problem+json"}
    assert answers["503"]["headers"].keys() == {"Retry-After"}
    assert openapi["components"]["schemas"].keys() == {
        "ComputeRequest", "Health", "Occupation", "Pong", "StatusView", "TaskStatus", "TaskView",
    }  # fmt: skip
