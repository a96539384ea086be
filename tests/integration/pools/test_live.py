"""WorkerPools that come, change and go while requests run."""

import asyncio
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.integration.pools.rig import NAMESPACE, Rig, running
from tests.integration.waiting import eventually


async def test_it_is_ready_when_the_pools_are_known_also_if_there_are_none(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.admin("/readyz"))["status"] == "ready"
        assert await rig.admin("/pools") == {"pools": []}
        answer = await rig.get("/anything")
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("No pool has a route for this host and path")
        assert answer.headers["proxy-status"] == "leastwise; error=destination_not_found"


async def test_a_request_that_no_route_fits_may_have_a_body(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        url = f"http://127.0.0.1:{rig.balancer.ports[0]}/"
        assert (await rig.client.post(url, content=b"x" * 10)).status_code == 404
        assert (await rig.client.post(url, content=b"x" * 1_000_000)).status_code == 404
        assert (await rig.client.head(url)).status_code == 404
        assert rig.balancer.totals()["answered_by_balancer"] == 3


async def test_pools_by_host_and_by_path(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        for name in ("rest", "embed", "hosted"):
            await rig.worker(name)
        await rig.apply("rest")
        await rig.apply("embed", routes=[{"pathPrefix": "/v1/embed"}])
        await rig.apply("hosted", routes=[{"host": "h.example"}])
        await rig.serves("embed", "hosted", "rest")
        assert (await rig.get("/")).text == "rest"
        assert (await rig.get("/v1/embed/x?y")).text == "embed"
        assert (await rig.get("/v1/embedded")).text == "rest"
        assert (await rig.get("/v1/embed", host="h.example:8000")).text == "hosted"
        shown = {pool["name"]: pool for pool in (await rig.admin("/pools"))["pools"]}
        assert shown["embed"]["routes"] == ["*/v1/embed"]
        assert [worker["requests"] for worker in shown["embed"]["workers"]] == [1]
        one = await rig.admin("/workers?pool=hosted")
        assert one["pool"] == "hosted"
        missing = await rig.admin("/workers")
        assert missing["detail"] == "add ?pool=NAME; the pools here: embed, hosted, rest"
        assert missing["pools"][0] == {
            "name": "embed", "in_flight": 0, "queued": 0, "rotation": 1, "workers": 1,
        }  # fmt: skip
        missing = await rig.admin("/stream?pool=other")
        assert missing["detail"].startswith("there is no pool other; add ?pool=NAME")


async def test_the_older_pool_has_the_route_until_it_goes(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.worker("a")
        await rig.worker("b")
        await rig.apply("b")
        await rig.serves("b")
        young = {"metadata": {"name": "a", "namespace": NAMESPACE, "generation": 1},
                 "spec": {"service": {"name": "a", "port": "http"}}}  # fmt: skip
        rig.api.store.create("workerpools", young)
        obj = rig.api.store._objects["workerpools", NAMESPACE, "a"]
        obj["metadata"]["creationTimestamp"] = "2999-01-01T00:00:00Z"
        await rig.serves("a", "b")
        rig.spoil("a", maxInFlight=9)  # so that it is heard of as it is now
        await eventually(lambda: rig.balancer.pools.served[0].generation == 2)
        assert (await rig.get("/")).text == "b"
        await rig.delete("b")
        await rig.serves("a")
        assert (await rig.get("/")).text == "a"


async def test_a_cap_that_is_lowered_or_raised_live(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        worker = await rig.worker("w")
        await rig.apply("w", maxInFlight=4)
        await rig.serves("w")
        held = [asyncio.create_task(rig.get("/hold")) for _ in range(8)]
        await eventually(lambda: worker.running == 4)
        pool = rig.balancer.pool
        await rig.apply("w", maxInFlight=2)
        await eventually(lambda: pool.policy.max_in_flight == 2)
        assert worker.running == 4  # what runs finishes
        worker.peak = 0
        worker.release.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200] * 8
        await rig.apply("w", maxInFlight=3)
        await eventually(lambda: pool.policy.max_in_flight == 3)
        worker.release.clear()
        held = [asyncio.create_task(rig.get("/hold")) for _ in range(5)]
        await eventually(lambda: worker.running == 3 and pool.queued == 2)
        worker.release.set()
        await asyncio.gather(*held)


async def test_a_spec_that_cannot_be_accepted_leaves_the_last_good_one(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.worker("w")
        assert (await rig.apply("w", maxInFlight=3)).status_code == 201
        await rig.serves("w")
        refused = await rig.apply("w", maxInFlight=0)
        assert refused.status_code == 422
        assert "spec.maxInFlight" in refused.json()["message"]
        rig.spoil("w", maxInFlight=0)
        served = rig.balancer.pools.served[0]
        await eventually(lambda: served.complaint)
        assert "spec.maxInFlight: found 0" in served.complaint
        assert (served.generation, served.pool.policy.max_in_flight) == (1, 3)
        assert (await rig.get("/")).text == "w"
        rig.spoil("w", maxInFlight=5)
        await eventually(lambda: served.generation == 3)
        assert (served.complaint, served.pool.policy.max_in_flight) == ("", 5)


async def test_a_pool_that_goes_finishes_what_it_has(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        worker = await rig.worker("w")
        await rig.apply("w", maxInFlight=1)
        await rig.serves("w")
        held = [asyncio.create_task(rig.get("/hold")) for _ in range(2)]
        pool = rig.balancer.pool
        await eventually(lambda: (pool.in_flight, pool.queued) == (1, 1))
        await rig.delete("w")
        await rig.serves()
        assert (await rig.get("/")).status_code == 404
        worker.release.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
        await eventually(lambda: not rig.balancer.pools.everyone(), "it is let go of")
        assert rig.balancer.proxy.backends == set()


async def test_a_pool_that_comes_back_while_it_finishes_keeps_its_cap(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        worker = await rig.worker("w")
        await rig.apply("w", maxInFlight=1)
        await rig.serves("w")
        pool = rig.balancer.pool
        first = asyncio.create_task(rig.get("/hold"))
        await eventually(lambda: worker.running == 1)
        await rig.delete("w")
        await rig.serves()
        await rig.apply("w", maxInFlight=1)
        await rig.serves("w")
        assert rig.balancer.pool is pool
        second = asyncio.create_task(rig.get("/hold"))
        await eventually(lambda: pool.queued == 1)
        worker.release.set()
        await asyncio.gather(first, second)
        assert worker.peak == 1


async def test_only_the_pools_of_this_balancer_are_served(tmp_path: Path) -> None:
    async with running(tmp_path, "team-a") as rig:
        for name in ("mine", "any", "theirs"):
            await rig.worker(name)
        await rig.apply("theirs", balancer="team-b", routes=[{"host": "b"}])
        await rig.apply("mine", balancer="team-a", routes=[{"host": "a"}])
        await rig.apply("any")
        await rig.serves("any", "mine")
        await rig.apply("mine", balancer="team-b")
        await rig.serves("any")


async def test_without_the_api_server_it_goes_on_and_finds_what_changed(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        for name in ("w", "x"):
            await rig.worker(name)
        await rig.apply("w")
        await rig.serves("w")
        rig.api.faults.set({"error_status": 500})
        await rig.api.obey()
        assert (await rig.get("/")).text == "w"
        rig.api.store.delete("workerpools", NAMESPACE, "w")
        rig.api.faults.set({})
        await rig.apply("x")
        await rig.serves("x")
        assert (await rig.get("/")).text == "x"


async def _load(rig: Rig, until: asyncio.Event, client: httpx.AsyncClient) -> list[str]:
    """Send requests one after the other; return what came."""
    came = []
    url = f"http://127.0.0.1:{rig.balancer.ports[0]}/api/x"
    while not until.is_set():
        answer = await client.get(url)
        came.append(f"{answer.status_code} {answer.text}")
    return came


def _cap_is(rig: Rig, cap: int) -> bool:
    return rig.balancer.pool.policy.max_in_flight == cap


async def test_changes_under_load_lose_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        for name in ("one", "two"):
            await rig.worker(name)
        await rig.apply("one", maxInFlight=2)
        await rig.serves("one")
        over = asyncio.Event()
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            clients = [asyncio.create_task(_load(rig, over, client)) for _ in range(8)]
            for cap in (1, 3, 2):
                await rig.apply("one", maxInFlight=cap)
                await eventually(partial(_cap_is, rig, cap))
            await rig.apply("two", routes=[{"pathPrefix": "/api"}])
            await rig.serves("one", "two")
            await rig.apply("two", routes=[{"pathPrefix": "/api"}], maxInFlight=1)
            await rig.delete("one")
            await rig.serves("two")
            await rig.apply("one")
            await rig.serves("one", "two")
            await rig.delete("two")
            await rig.serves("one")
            over.set()
            came = [line for lines in await asyncio.gather(*clients) for line in lines]
        assert set(came) == {"200 one", "200 two"}


async def test_an_ejection_has_a_number(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        service = "gone"
        worker = await rig.worker(service)
        await rig.apply(service, queue={"timeout": "100ms"})
        await rig.serves(service)
        before = (await rig.admin("/events"))["last"]
        await rig._stack.aclose()  # its port refuses from now on
        await rig.get("/")
        told = await rig.admin(f"/events?since={before}")
        assert told["lost"] == 0
        assert [event["number"] for event in told["events"]] == list(
            range(before + 1, told["last"] + 1)
        )
        (event,) = (event for event in told["events"] if event["kind"] == "ejected")
        assert event["pool"] == service
        assert (event["worker"], event["address"]) == ("gone-0", f"127.0.0.1:{worker.port}")
        assert event["after"] == 0.0
        shown = next(iter(rig.balancer.pools.served)).telemetry.events
        assert [each.number for each in shown][-len(told["events"]) :] == [
            each["number"] for each in told["events"]
        ]
        assert (await rig.admin(f"/events?since={told['last']}"))["events"] == []


async def test_all_pools_are_numbered_together_and_one_that_left_stays(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        for name in ("a", "b"):
            await rig.worker(name)
            await rig.apply(name, routes=[{"host": name}])
            await rig.serves(*"ab"[: "ab".index(name) + 1])
        told = await rig.admin("/events")
        assert [event["number"] for event in told["events"]] == list(range(1, told["last"] + 1))
        assert {event["pool"] for event in told["events"]} == {"a", "b"}
        await rig.delete("a")
        await eventually(lambda: len(rig.balancer.pools.everyone()) == 1)
        after = await rig.admin("/events")
        assert after["lost"] == 0
        assert after["events"][-1]["text"] == "WorkerPool a is no longer this balancer's"
        (left,) = rig.balancer.pools.served
        assert {event.pool for event in left.telemetry.events} == {"b"}


async def test_the_access_log_tells_what_it_left_out_though_all_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "leastwise.access")
    async with running(tmp_path, access_log=True, access_log_rate=1) as rig:
        await rig.worker("w")
        await rig.apply("w")
        await rig.serves("w")
        for _ in range(3):
            await rig.get("/")
        told = "2 requests left out: more than the access log's rate pool=w left_out=2"
        await eventually(lambda: caplog.messages[1:] == [told])
        caplog.clear()
        for _ in range(5):
            await rig.get("/")
    # At the end it tells at once what it had still to tell.
    fields = [record.__dict__["fields"] for record in caplog.records]
    written = sum("request_id" in each for each in fields)
    assert written + sum(each.get("left_out", 0) for each in fields) == 5
