"""The Lease and the pods, asked of a real HTTP server: what is fresh, conflicts, or hangs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.discovery.credentials import connect
from app.discovery.leases import LeaseApi
from app.discovery.source import Conflict, SourceError
from tests.unit.discovery.api import kubeconfig
from tests.unit.discovery.objects import Objects, serving_objects

LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
PODS = "/api/v1/namespaces/shop/pods"


@asynccontextmanager
async def asking(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Objects, LeaseApi]]:
    async with serving_objects() as server, asyncio.timeout(20):
        file = kubeconfig(tmp_path / "config", server.url, user={"token": "secret"})
        given: dict[str, Any] = {"namespace": None, "name": "lb", "timeout": 10.0}
        api = LeaseApi(partial(connect, file), **(given | options))
        try:
            yield server, api
        finally:
            await api.close()


def lease(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": {"a": "b"}}, "spec": spec}


async def test_no_lease(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        assert await api.read() is None
        # No parameter, so no cache: whatever a resourceVersion would allow.
        assert server.asked == [f"GET {LEASES}/lb"]
        assert server.requests[0].headers["Authorization"] == "Bearer secret"


async def test_a_lease_that_is_made_read_and_replaced(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        made = await api.create(lease(holderIdentity="x"))
        assert server.bodies == [
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": "lb", "annotations": {"a": "b"}},
                "spec": {"holderIdentity": "x"},
            }
        ]
        assert await api.read() == made
        made["spec"]["holderIdentity"] = "y"
        stored = await api.replace(made)
        assert stored["spec"] == {"holderIdentity": "y"}
        assert stored["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        assert await api.read() == stored
        assert server.asked == [
            f"POST {LEASES}",
            f"GET {LEASES}/lb",
            f"PUT {LEASES}/lb",
            f"GET {LEASES}/lb",
        ]


async def test_what_others_wrote_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        read = await api.create(lease())
        with pytest.raises(Conflict, match=r"cannot create Lease lb \(409: lb already exists\)"):
            await api.create(lease())
        server.put("leases", "lb", spec={"holderIdentity": "other"})
        with pytest.raises(Conflict, match=r"cannot update Lease lb \(409: lb was modified\)"):
            await api.replace(read)
        assert server.held["leases/lb"]["spec"] == {"holderIdentity": "other"}


async def test_a_lease_that_was_deleted_is_a_conflict_too(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        read = await api.create(lease())
        del server.held["leases/lb"]
        with pytest.raises(Conflict, match=r'cannot update Lease lb \(404: "lb" not found\)'):
            await api.replace(read)


async def test_nothing_is_replaced_blindly(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        server.put("leases", "lb")
        with pytest.raises(ValueError, match="without a resourceVersion"):
            await api.replace(lease())
        assert server.asked == []


async def test_pods(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        server.put("pods", "lb-0")
        assert await api.pod_uid("lb-0") == "uid-101"
        assert await api.pod_uid("lb-1") is None
        assert server.asked == [f"GET {PODS}/lb-0", f"GET {PODS}/lb-1"]


@pytest.mark.parametrize(("phase", "there"), [("Running", True), ("Failed", False)])
async def test_a_pod_that_has_ended_is_not_there(tmp_path: Path, phase: str, there: bool) -> None:
    """As one that was evicted: the object stays for long."""
    async with asking(tmp_path) as (server, api):
        server.put("pods", "lb-0", status={"phase": phase})
        assert await api.pod_uid("lb-0") == ("uid-101" if there else None)


async def test_a_namespace_of_its_own(tmp_path: Path) -> None:
    async with asking(tmp_path, namespace="other") as (server, api):
        await api.read()
        await api.pod_uid("lb-0")
        assert [request.match_info["namespace"] for request in server.requests] == ["other"] * 2


async def test_calls_of_both_kinds_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        server.put("pods", "lb-0")
        answers = await asyncio.gather(
            api.pod_uid("lb-0"), api.read(), api.pod_uid("lb-1"), api.pod_uid("lb-0")
        )
        assert tuple(answers) == ("uid-101", None, None, "uid-101")


# --- a 404 that proves nothing

ELSEWHERE: list[dict[str, Any]] = [
    {"reason": "NotFound", "message": "the server could not find the requested resource"},
    {"reason": "NotFound", "details": {}},
    {"reason": "NotFound", "details": {"name": "shop", "kind": "namespaces"}},
    {"details": {"name": "lb"}},
]


@pytest.mark.parametrize("said", ELSEWHERE)
async def test_a_404_about_something_else_is_no_proof(tmp_path: Path, said: Any) -> None:
    async with asking(tmp_path) as (server, api):
        read = await api.create(lease())
        server.refusal = (404, said)
        calls: list[Callable[[], Awaitable[Any]]] = [
            api.read,
            partial(api.pod_uid, "lb"),
            partial(api.replace, read),
        ]
        for call in calls:
            with pytest.raises(SourceError, match=r"this server has no (leases|pods) in API") as e:
                await call()
            assert not isinstance(e.value, Conflict)


async def test_a_404_of_another_server_is_no_proof(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, _):
        file = kubeconfig(tmp_path / "other", f"{server.url}/proxy")
        api = LeaseApi(partial(connect, file), namespace=None, name="lb")
        with pytest.raises(SourceError, match="404"):
            await api.pod_uid("lb-0")
        await api.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"metadata": null}',
        b'{"metadata": {"name": "lb", "uid": "u"}}',
        b'{"metadata": {"name": "lb", "uid": "", "resourceVersion": "1"}}',
        b'{"metadata": {"name": "other", "uid": "u", "resourceVersion": "1"}}',
    ],
)
async def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    async with asking(tmp_path) as (server, api):
        server.put("leases", "lb")
        server.put("pods", "lb")
        server.answer = answer
        with pytest.raises(SourceError, match="the answer about Lease lb is"):
            await api.read()
        with pytest.raises(SourceError, match="the answer about pod lb is"):
            await api.pod_uid("lb")


# --- refusals


async def test_a_missing_right_is_named(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        read = await api.create(lease())
        server.refusal = (403, {"message": "no"})
        leases = 'leases of API group "coordination.k8s.io"'
        wanted: list[tuple[Callable[[], Awaitable[Any]], str, str]] = [
            (api.read, "get Lease lb", f"get on {leases}, resource name lb,"),
            (partial(api.create, lease()), "create Lease lb", f"create on {leases}"),
            (
                partial(api.replace, read),
                "update Lease lb",
                f"update on {leases}, resource name lb,",
            ),
            (partial(api.pod_uid, "lb-0"), "get pod lb-0", 'get on pods of API group ""'),
        ]
        for call, what, right in wanted:
            with pytest.raises(SourceError) as caught:
                await call()
            assert str(caught.value) == (
                f"cannot {what} (403: no); bind a Role in namespace shop that allows {right} to "
                "this account"
            )


async def test_a_renewed_token_is_found_by_the_refusal_of_the_old(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        server.tokens = {"secret"}
        assert await api.read() is None  # that there is none is a good answer, too
        server.tokens = {"renewed"}
        kubeconfig(tmp_path / "config", server.url, user={"token": "renewed"})
        assert await api.read() is None
        assert len(server.requests) == 3


async def test_nobody_there(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    api = LeaseApi(partial(connect, file), namespace=None, name="lb")
    with pytest.raises(SourceError, match="cannot get Lease lb: ClientConnector"):
        await api.read()
    with pytest.raises(SourceError, match="cannot get pod lb-0: ClientConnector"):
        await api.pod_uid("lb-0")
    await api.close()


# --- time


async def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async with asking(tmp_path, timeout=0.05) as (server, api):
        server.put("leases", "lb", spec={})
        server.going.clear()
        for call in (api.read, partial(api.pod_uid, "lb-0")):
            with pytest.raises(SourceError, match=r"cannot get .*: no answer in 0.05 s"):
                await call()
        server.going.set()


async def test_after_that_it_goes_on_with_a_new_connection(tmp_path: Path) -> None:
    async with asking(tmp_path) as (server, api):
        server.put("leases", "lb", spec={})
        await api.read()
        server.going.clear()
        reading = asyncio.create_task(api.read())
        await server.hung.wait()
        reading.cancel()
        await asyncio.wait([reading])
        server.going.set()
        assert await api.read() == server.held["leases/lb"]
        first, _, last = (request.transport for request in server.requests)
        assert first is not last


async def test_who_waits_for_a_turn_gets_it_after_a_failure(tmp_path: Path) -> None:
    async with asking(tmp_path, timeout=0.2) as (server, api):
        server.put("pods", "lb-0")
        server.going.clear()
        first = asyncio.create_task(api.pod_uid("lb-0"))
        second = asyncio.create_task(api.pod_uid("lb-0"))
        await asyncio.wait([first])
        server.going.set()
        assert isinstance(first.exception(), SourceError)
        assert await second == "uid-101"
