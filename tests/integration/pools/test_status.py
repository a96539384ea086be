"""The operator's rounds, against a simulated API server and a balancer's admin port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from app.balancing.health import Sign
from app.config.resource import Identity
from app.discovery.credentials import connect
from app.discovery.source import SourceError
from app.operator.cache import POOLS, Cache
from app.operator.operating import Operating
from app.operator.writing import ApiWriter, WriteError
from tests.e2e.sim.store import Object
from tests.integration.pools.rig import NAMESPACE, Rig, running, slice_of


@asynccontextmanager
async def operating(rig: Rig, folder: Path) -> AsyncIterator[tuple[Operating, Cache]]:
    """An operator of balancer `lb` whose cache the test fills, by `begin`."""
    cache = Cache()
    reach = partial(connect, folder / "kubeconfig")
    async with httpx.AsyncClient(trust_env=False) as client:
        operator = Operating(
            cache, reach, NAMESPACE, balancer="lb", instance="operator-0", client=client
        )
        try:
            yield operator, cache
        finally:
            await operator.close()


def announce(rig: Rig, *services: str) -> None:
    """Make the balancer's admin Service, and headless ones of these names."""
    store = rig.api.store
    slices = slice_of("lb-admin", rig.balancer.ports[1])
    slices["ports"][0]["name"] = "admin"
    store.create("endpointslices", slices)
    for name, port, labels in (
        ("lb-admin", "admin", {"leastwise.io/balancer": "lb"}),
        *((name, "http", {}) for name in services),
    ):
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        spec = {"clusterIP": "None", "ports": [{"name": port, "port": 80}]}
        store.create("services", {"metadata": metadata, "spec": spec})


def stored(rig: Rig, name: str) -> Object:
    found = rig.api.store.get("workerpools", NAMESPACE, name)
    assert found is not None
    return found


def conditions(pool: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in pool["status"]["conditions"]}


def events(rig: Rig) -> list[Object]:
    return rig.api.store.list("events", NAMESPACE, {})


async def test_a_status_is_written_once_and_again_only_if_something_is_new(tmp_path: Path) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.worker("w")
        await rig.apply("w", maxInFlight=3)
        await rig.serves("w")
        announce(rig, "w")
        await operator.begin()
        await operator.round()
        pool = stored(rig, "w")
        assert conditions(pool)["Ready"] == ("True", "InForce")
        assert pool["status"]["endpoints"]["summary"] == "1/1"
        for _ in range(3):
            await operator.begin()
            await operator.round()
        assert stored(rig, "w") == pool
        assert rig.api.writes.count("patch workerpools/status") == 1
        # No trace of us on what is the user's.
        assert pool["metadata"].keys() == {
            "name", "namespace", "uid", "generation", "creationTimestamp", "resourceVersion",
        }  # fmt: skip
        await rig.apply("w", maxInFlight=4)
        served = rig.balancer.pools.served[0]
        while served.generation < 2:
            await rig.client.get(f"http://127.0.0.1:{rig.balancer.ports[1]}/ping")
        await operator.begin()
        await operator.round()
        assert stored(rig, "w")["status"]["observedGeneration"] == 2
        assert set(rig.api.writes) == {
            "create workerpools", "update workerpools", "patch workerpools/status",
        }  # fmt: skip


async def test_a_restarted_operator_writes_nothing_that_is_known(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.worker("w")
        await rig.apply("w")
        await rig.serves("w")
        announce(rig, "w")
        for _ in range(2):
            async with operating(rig, tmp_path) as (operator, _cache):
                await operator.begin()
                await operator.round()
        assert rig.api.writes.count("patch workerpools/status") == 1


async def test_another_pool_of_the_same_name_does_not_get_a_status_that_is_not_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.apply("w")
        announce(rig, "w")
        await operator.begin()
        await rig.delete("w")
        await rig.apply("w")
        await operator.round()  # which knows the former only
        assert "status" not in stored(rig, "w")
        assert not [record for record in caplog.records if record.name.startswith("app.operator")]
        await operator.begin()
        await operator.round()
        assert stored(rig, "w")["status"]["observedGeneration"] == 1


async def test_a_status_that_the_api_server_refuses_is_no_pool_that_has_gone(
    tmp_path: Path,
) -> None:
    writer = ApiWriter(partial(connect, tmp_path / "kubeconfig"), NAMESPACE, "operator-0")
    async with running(tmp_path) as rig:
        await rig.apply("w")
        uid = stored(rig, "w")["metadata"]["uid"]
        identity = Identity(NAMESPACE, "w", uid, 1, "")
        with pytest.raises(WriteError, match="is invalid: status"):
            await writer.status(identity, {"observedGeneration": "1"})
        await writer.close()


async def test_what_is_wrong_with_a_pool_is_an_event_once(tmp_path: Path) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.apply("w")
        announce(rig)
        await operator.begin()
        for _ in range(3):
            await operator.round()
        assert conditions(stored(rig, "w"))["ResolvedRefs"] == ("False", "ServiceNotFound")
        [event] = events(rig)
        assert (event["reason"], event["type"]) == ("ServiceNotFound", "Warning")
        assert event["note"] == f"There is no Service w in namespace {NAMESPACE}."
        assert event["regarding"]["uid"] == stored(rig, "w")["metadata"]["uid"]
        rig.spoil("w", maxInFlight=-1)
        await operator.begin()
        for _ in range(3):
            await operator.round()
        assert sorted(event["reason"] for event in events(rig)) == [
            "ServiceNotFound", "SpecRejected",
        ]  # fmt: skip


async def test_a_worker_that_flaps_makes_few_events(tmp_path: Path) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.worker("w")
        await rig.apply("w")
        await rig.serves("w")
        announce(rig, "w")
        await operator.begin()
        await operator.round()
        pool = rig.balancer.pool
        endpoint = next(iter(pool.endpoints.values()))
        for times in (1, 2, 100):
            for _ in range(times):
                pool.observe(endpoint, Sign.CONNECT_REFUSED, monotonic(), "refused")
                pool.observe(endpoint, Sign.CHECK_PASSED, monotonic())
            await operator.round()
        told = {event["reason"]: event for event in events(rig)}
        assert told.keys() == {"WorkerEjected", "WorkerReturned"}
        assert told["WorkerEjected"]["series"]["count"] == 3  # the rest within half a minute
        assert told["WorkerEjected"]["note"].startswith("Worker w-0 was taken out of rotation")
        writes = [write for write in rig.api.writes if "events" in write]
        assert writes.count("create events") == 2
        assert writes.count("patch events") == 2


async def test_an_operator_that_is_stopped_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.apply("w")
        announce(rig, "w")
        await operator.begin()
        await operator.round()
        before = stored(rig, "w")["status"]
        await operator.farewell()
        after = stored(rig, "w")["status"]
        said = next(each for each in after["conditions"] if each["type"] == "Observed")
        assert (said["status"], said["reason"]) == ("False", "OperatorStopped")
        assert said["message"].startswith("The operator was stopped at 20")
        same = [each for each in after["conditions"] if each["type"] != "Observed"]
        assert same == [each for each in before["conditions"] if each["type"] != "Observed"]


async def test_a_pool_made_anew_under_the_same_name_does_not_get_the_old_ones_status(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, cache):
        await rig.apply("w")
        announce(rig)
        await operator.begin()
        await rig.delete("w")
        await rig.apply("w")
        await operator.round()
        assert "status" not in stored(rig, "w")
        assert len(cache.of(POOLS)) == 1


@pytest.mark.parametrize(("status", "says"), [(403, "allows list and watch"), (404, "install")])
async def test_without_rights_or_the_crd_it_says_what_is_missing(
    tmp_path: Path, status: int, says: str
) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        faults: dict[str, Any] = {"error_status": status}
        rig.api.faults.set(faults)
        with pytest.raises(SourceError, match=says):
            await operator.begin()


async def test_trouble_with_writing_is_tried_again_at_the_next_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as rig, operating(rig, tmp_path) as (operator, _):
        await rig.apply("w")
        announce(rig)
        await operator.begin()
        rig.api.faults.set({"error_status": 500})
        await operator.round()
        await operator.round()
        assert sum("500" in record.message for record in caplog.records) == 1  # not each time
        rig.api.faults.set({})
        await operator.round()
        assert conditions(stored(rig, "w"))["Ready"][0] == "False"
