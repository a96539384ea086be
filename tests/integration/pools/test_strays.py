"""Requests that never reach a pool, and WorkerPools that are never served: both are told of."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.integration.pools.rig import NAMESPACE, Rig, running
from tests.integration.waiting import eventually


async def raw(rig: Rig, sent: bytes) -> httpx.Response:
    """Send bytes and read until the balancer has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.balancer.ports[0])
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


async def metric(rig: Rig, name: str) -> float | None:
    url = f"http://127.0.0.1:{rig.balancer.ports[1]}/metrics"
    lines = (await rig.client.get(url)).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), None)


STRAYS = {
    "no route": (
        b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        404,
        "GET /a 404 PR",
    ),
    "no HTTP": (b"nonsense\r\n\r\n", 400, "- - 400 PR"),
    "slow": (b"GET / HTT", 408, "- - 408 cR"),
    "long target": (b"GET /" + b"x" * 40_000, 414, "- - 414 PR"),
    "long head": (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000, 431, "- - 431 PR"),
}


@pytest.mark.parametrize("name", STRAYS)
async def test_they_are_counted_and_logged_under_the_id_that_the_client_gets(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "leastwise.access")
    sent, status, said = STRAYS[name]
    async with running(tmp_path, access_log=True, client_header_timeout=0.2) as rig:
        counted = f'leastwise_rejected_requests_total{{status="{status}"}}'
        assert await metric(rig, counted) == 0
        answer = await raw(rig, sent)
        assert answer.status_code == status
        assert await metric(rig, counted) == 1
    (record,) = (r for r in caplog.records if r.name == "leastwise.access")
    assert record.getMessage().startswith(f"{said} pool=- worker=- attempts=0 ")
    assert record.__dict__["fields"]["request_id"] == answer.headers["x-request-id"]


async def test_more_than_the_logs_rate_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "leastwise.access")
    left_out = "2 failed requests left out: more than the access log's rate pool=- left_out=2"
    async with running(tmp_path, access_log=True, access_log_rate=1) as rig:
        for _ in range(3):
            await rig.get("/")
        await eventually(lambda: caplog.messages[1:] == [left_out])
        caplog.clear()
        await rig.get("/")
        await rig.get("/")
    fields = [r.__dict__["fields"] for r in caplog.records if r.name == "leastwise.access"]
    assert sum("request_id" in each for each in fields) + fields[-1].get("left_out", 0) == 2


async def test_a_workerpool_that_was_never_accepted_is_told_of(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert await metric(rig, 'leastwise_workerpools{state="refused"}') == 0
        bad = {"metadata": {"name": "bad", "namespace": NAMESPACE, "generation": 1},
               "spec": {"service": {"name": "w", "port": "http"}, "maxInFlight": 0}}  # fmt: skip
        rig.api.store.create("workerpools", bad)
        await rig.worker("good")
        await rig.apply("good")
        await rig.serves("good")
        assert await metric(rig, 'leastwise_workerpools{state="refused"}') == 1
        assert await metric(rig, 'leastwise_workerpools{state="served"}') == 1
        assert await metric(rig, "leastwise_workerpools_watch_up") == 1
        assert await metric(rig, "leastwise_ready") == 1


async def test_readyz_shows_each_watch(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.worker("w")
        await rig.apply("w")
        await rig.serves("w")
        watches = (await rig.admin("/readyz?verbose"))["discovery"]
        assert [watch["name"] for watch in watches] == [
            f"WorkerPools in namespace {NAMESPACE}",
            f"EndpointSlices of Service w in namespace {NAMESPACE}",
        ]
