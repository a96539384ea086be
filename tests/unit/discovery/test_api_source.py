"""The real source, asking a real HTTP server: pages, streams in pieces, refusals, credentials."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.discovery.api_requests import Resource
from app.discovery.api_source import ApiSource
from app.discovery.credentials import connect
from app.discovery.source import Gone, SourceError
from tests.unit.discovery.api import Api, kubeconfig, serving
from tests.unit.discovery.wire import entry, slice_of

SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")


@asynccontextmanager
async def asking(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Api, ApiSource]]:
    async with serving() as api, asyncio.timeout(20):
        file = kubeconfig(tmp_path / "config", api.url, user={"token": "secret"})
        given: dict[str, Any] = {"labels": "kubernetes.io/service-name=worker", "page_size": 2}
        source = ApiSource(SLICES, partial(connect, file), **(given | options))
        try:
            yield api, source
        finally:
            await source.close()


def names(objects: Any) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


async def test_a_list_in_pages(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        for number in range(3):
            api.put(slice_of(f"worker-{number}"))
        first = await source.list_page("")
        assert names(first.items) == ["worker-0", "worker-1"]
        assert (first.version, first.token) == ("103", "2+/=&")
        last = await source.list_page(first.token)
        assert (names(last.items), last.version, last.token) == (["worker-2"], "103", "")
        request, more = api.requests
        assert request.path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
        assert dict(request.query) == {
            "labelSelector": "kubernetes.io/service-name=worker",
            "limit": "2",
        }
        assert more.query["continue"] == "2+/=&"
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.headers["User-Agent"].startswith("leastwise/")


async def test_an_empty_list(tmp_path: Path) -> None:
    async with asking(tmp_path) as (_, source):
        page = await source.list_page("")
        assert (page.items, page.version, page.token) == ([], "100", "")


async def test_a_namespace_of_its_own(tmp_path: Path) -> None:
    async with asking(tmp_path, namespace="other", labels="") as (api, source):
        await source.list_page("")
        assert api.requests[0].path.split("/")[5] == "other"
        assert "labelSelector" not in api.requests[0].query


def test_the_path_of_the_core_group() -> None:
    assert Resource("", "v1", "pods").path("a") == "/api/v1/namespaces/a/pods"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"metadata": {}}',
        b'{"metadata": {"resourceVersion": ""}, "items": []}',
        b'{"metadata": {"resourceVersion": "1"}, "items": [{}]}',
        b'{"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"name": null}}]}',
    ],
)
async def test_an_answer_that_is_no_list(tmp_path: Path, answer: bytes) -> None:
    async with asking(tmp_path) as (api, source):
        api.answer = answer
        with pytest.raises(SourceError, match="the answer to a list"):
            await source.list_page("")


# --- watches


async def test_a_watch(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source), source.watch("100", 321) as events:
        api.put(slice_of("worker-0", entry("wörker", "10.0.0.1")))
        event = await anext(events)
        assert event == {"type": "ADDED", "object": api.objects["worker-0"]}
        api.write(None)
        assert [event async for event in events] == []
        assert dict(api.requests[0].query) == {
            "labelSelector": "kubernetes.io/service-name=worker",
            "watch": "true",
            "resourceVersion": "100",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "321",
        }


async def test_a_line_in_pieces_and_a_huge_one(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source), source.watch("100", 300) as events:
        wire = json.dumps({"type": "ADDED", "object": "ö" * 10}, ensure_ascii=False).encode()
        for place in range(len(wire)):
            api.write(wire[place : place + 1])
        api.write(b"\n")
        assert (await anext(events))["object"] == "ö" * 10
        huge = json.dumps({"type": "ADDED", "object": "x" * 5_000_000}).encode() + b"\n"
        api.write(huge + huge[:100])
        assert len((await anext(events))["object"]) == 5_000_000
        api.write(huge[100:])
        assert len((await anext(events))["object"]) == 5_000_000


async def test_an_error_event_is_passed_on(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source), source.watch("100", 300) as events:
        api.say({"type": "ERROR", "object": {"code": 410}})
        assert await anext(events) == {"type": "ERROR", "object": {"code": 410}}


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([b'{"type": "ADDED"', None], "the watch ended within a line"),
        ([b""], "cannot watch them: "),
        ([b'{"type": "ADDED"', b""], "cannot watch them: "),
        ([b"nonsense\n"], "cannot watch them: ValueError: a line that is not JSON"),
    ],
)
async def test_a_watch_that_breaks(tmp_path: Path, chunks: list[bytes | None], said: str) -> None:
    async with asking(tmp_path) as (api, source), source.watch("100", 300) as events:
        for chunk in chunks:
            api.write(chunk)
        with pytest.raises(SourceError, match=said):
            await anext(events)


async def test_after_a_break_it_goes_on_with_a_new_client(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        async with source.watch("100", 300) as events:
            api.write(b"")
            with pytest.raises(SourceError):
                await anext(events)
        assert (await source.list_page("")).version == "100"


async def test_a_watch_that_is_left_ends_at_the_server(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        async with source.watch("100", 300):
            assert api.watching.is_set()
        while api.watching.is_set():
            await asyncio.sleep(0)


async def test_a_silent_watch_can_be_given_up(tmp_path: Path) -> None:
    async with asking(tmp_path) as (_, source):
        with pytest.raises(TimeoutError):
            async with source.watch("100", 300) as events, asyncio.timeout(0.01):
                await anext(events)
        assert (await source.list_page("")).version == "100"


# --- refusals


async def test_gone_by_status(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.refusal = (410, "too old")
        with pytest.raises(Gone, match="too old"):
            await source.list_page("2+/=&")
        with pytest.raises(Gone, match="too old"):
            async with source.watch("1", 300):
                pass


async def test_forbidden(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.refusal = (403, 'User "x" cannot list resource "endpointslices"')
        with pytest.raises(SourceError) as caught:
            await source.list_page("")
        assert str(caught.value) == (
            'cannot list them (403: User "x" cannot list resource "endpointslices"); bind a Role '
            "in namespace shop that allows list and watch on endpointslices of API group "
            '"discovery.k8s.io" to this account'
        )
        with pytest.raises(SourceError, match="cannot watch them"):
            async with source.watch("1", 300):
                pass


async def test_not_found(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.refusal = (404, "the server could not find the requested resource")
        with pytest.raises(SourceError, match=r"no endpointslices in API discovery.k8s.io/v1: in"):
            await source.list_page("")


async def test_a_server_that_is_busy(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.refusal, api.heads = (429, "slow down"), {"Retry-After": "7"}
        with pytest.raises(SourceError, match=r"cannot list them \(429: slow down\)") as caught:
            await source.list_page("")
        assert caught.value.retry_after == 7
        api.heads = {"Retry-After": "Fri, 01 Jan 2027 00:00:00 GMT"}
        with pytest.raises(SourceError) as caught:
            await source.list_page("")
        assert caught.value.retry_after == 0


@pytest.mark.parametrize("status", [200, 403])
async def test_an_answer_that_breaks_off(tmp_path: Path, status: int) -> None:
    async with asking(tmp_path) as (api, source):
        api.cut_status = status
        with pytest.raises(SourceError, match="cannot list them: ClientPayloadError"):
            await source.list_page("")
        api.cut_status = 0
        await source.list_page("")


async def test_something_that_is_no_api_server(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, _):
        file = kubeconfig(tmp_path / "other", f"{api.url}/proxy")
        source = ApiSource(SLICES, partial(connect, file))
        with pytest.raises(SourceError, match=r"cannot list them \(404: Not Found\); this server"):
            await source.list_page("")
        await source.close()


async def test_nobody_there(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, _):
        file = kubeconfig(tmp_path / "other", "http://127.0.0.1:1")
        source = ApiSource(SLICES, partial(connect, file))
        with pytest.raises(SourceError, match=r"cannot list them: ClientConnector.*127.0.0.1:1"):
            await source.list_page("")
        assert api.requests == []


# --- credentials that change


async def test_a_renewed_token_is_found_by_the_refusal_of_the_old(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.tokens = {"secret"}
        await source.list_page("")
        api.tokens = {"renewed"}
        kubeconfig(tmp_path / "config", api.url, user={"token": "renewed"})
        assert (await source.list_page("")).version == "100"
        assert [r.headers["Authorization"][7:] for r in api.requests] == [
            "secret",
            "secret",
            "renewed",
        ]


async def test_a_token_that_is_wrong_is_read_again_at_the_next_try(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        api.tokens = {"renewed"}
        with pytest.raises(SourceError, match=r"\(401: Unauthorized\); see the service account's"):
            await source.list_page("")
        assert len(api.requests) == 1
        kubeconfig(tmp_path / "config", api.url, user={"token": "renewed"})
        await source.list_page("")


async def test_a_watch_is_opened_with_the_renewed_token_too(tmp_path: Path) -> None:
    async with asking(tmp_path) as (api, source):
        await source.list_page("")
        api.tokens = {"renewed"}
        kubeconfig(tmp_path / "config", api.url, user={"token": "renewed"})
        async with source.watch("100", 300) as events:
            api.put(slice_of("worker-0"))
            assert (await anext(events))["type"] == "ADDED"
