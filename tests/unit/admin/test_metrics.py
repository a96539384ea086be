"""What /metrics says, read back by prometheus-client's own parser."""

import re

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.admin import metrics
from app.balancing.endpoint import EndpointSpec, Phase
from app.balancing.health import _COUNTED, _FATAL, Sign
from app.balancing.lease import Lease, Outcome
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from tests.unit.admin.test_replicas import seen
from tests.unit.admin.views import Balancer, View
from tests.unit.telemetry.requests_made import Ended, refused
from tests.unit.telemetry.test_events import Nobody

Samples = dict[str, float]


OF_NO_POOL = {
    "build_info", "ready", "stopping", "downstream_connections", "rejected_requests_total",
    "rejected_requests_created", "workerpools", "workerpools_watch_up",
    "workerpools_watch_age_seconds", "workerpools_watch_restarts_total", "arbiter",
    "arbiter_term", "without_arbiter_seconds_total",
}  # fmt: skip


async def scrape(balancer: Balancer) -> str:
    app = FastAPI()
    app.include_router(metrics.router(balancer))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def read(text: str) -> Samples:
    """Return the samples by name and labels; the pool's label is left out, and only theirs."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            if not sample.name.startswith("leastwise_"):
                continue
            labels = dict(sample.labels)
            if sample.name.removeprefix("leastwise_") in OF_NO_POOL:
                assert "pool" not in labels
            else:
                assert labels.pop("pool") == "demo"
            told = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
            name = sample.name.removeprefix("leastwise_") + (f"{{{told}}}" if told else "")
            assert name not in found
            found[name] = sample.value
    return found


async def samples(view: View) -> Samples:
    return read(await scrape(Balancer(view)))


def acquire(view: View) -> Lease:
    lease = view.pool.acquire(Nobody(), 0.0)
    assert isinstance(lease, Lease)
    return lease


async def test_requests_by_class_ending_and_duration() -> None:
    view = View()
    ended = view.telemetry.requests.ended
    ended(Ended())
    ended(Ended(status=404))
    ended(refused())
    ended(refused(status=0, ending="CQ"))
    found = await samples(view)
    for code_class, count in (("2xx", 1), ("4xx", 1), ("5xx", 1), ("none", 1)):
        assert found[f"requests_total{{code_class={code_class}}}"] == count
    assert found["requests_incomplete_total{ending=sQ}"] == 1
    assert found["requests_incomplete_total{ending=CQ}"] == 1
    assert found["refusals_total{reason=queue_timeout}"] == 1
    assert found["refusals_total{reason=queue_full}"] == 0
    assert found["request_duration_seconds_count"] == 4
    assert found["request_duration_seconds_sum"] == 2 * 17.5 + 2 * 60
    assert found["request_duration_seconds_bucket{le=15.0}"] == 0
    assert found["request_duration_seconds_bucket{le=20.0}"] == 2
    assert found["request_duration_seconds_bucket{le=60.0}"] == 4
    assert found["request_duration_seconds_bucket{le=240.0}"] == 4
    assert found["request_duration_seconds_bucket{le=+Inf}"] == 4
    assert found["request_queue_seconds_sum"] == 2 * 2 + 2 * 60
    assert found["request_first_byte_seconds_count"] == 4


async def test_the_pool_and_its_endpoints() -> None:
    view = View(workers=2)
    lease = acquire(view)
    name = lease.endpoint.name
    view.telemetry.requests.ended(Ended(worker=name))
    view.retried[Outcome.DIED] = 3
    lost = acquire(view)
    lost.release(Outcome.CONNECT_REFUSED, 1.0)
    out = lost.endpoint.name
    found = await samples(view)
    assert found["requests_in_flight"] == 1
    assert found["queue_length"] == 0
    assert found["queue_limit"] == 1000
    assert found["slots"] == 4
    assert found["workers_in_rotation"] == 1
    assert found["retries_total{reason=died}"] == 3
    assert found["ejections_total{reason=connect_refused}"] == 1
    assert {phase: found[f"workers{{phase={phase.value}}}"] for phase in Phase} == {
        phase: int(phase in {Phase.READY, Phase.EJECTED}) for phase in Phase
    }
    assert found[f"worker_phase{{phase=ready,worker={name}}}"] == 1
    assert found[f"worker_phase{{phase=ejected,worker={out}}}"] == 1
    assert f"worker_phase{{phase=ready,worker={out}}}" not in found
    assert found[f"worker_in_flight{{worker={name}}}"] == 1
    assert found[f"worker_requests_total{{worker={name}}}"] == 1
    assert found[f"worker_connect_errors_total{{worker={out}}}"] == 1
    assert found[f"worker_answer_seconds{{worker={name}}}"] == 15
    assert f"worker_answer_seconds{{worker={out}}}" not in found


async def test_what_may_come_is_told_as_zero_before_it_comes() -> None:
    found = await samples(View())
    ejecting = _FATAL | _COUNTED | {Sign.PROBE_FAILED}
    for name, label, those in (
        ("retries_total", "reason", {"refused", "died", "timed_out", "connect_refused"}),
        ("ejections_total", "reason", {sign.name.lower() for sign in ejecting}),
        (
            "requests_incomplete_total",
            "ending",
            {"sQ", "PQ", "SQ", "SH", "sH", "CH", "CQ", "SC", "sC", "PH", "CD", "cR"},
        ),
    ):
        told = {key.split("=")[1][:-1] for key in found if key.startswith(f"{name}{{{label}=")}
        assert those <= told
        assert all(found[f"{name}{{{label}={one}}}"] == 0 for one in told)


async def test_endpoints_that_left_disappear() -> None:
    view = View(workers=3)
    view.discover("worker-2")
    found = await samples(view)
    assert {name for name in found if "worker-" in name and "worker-2" not in name} == set()
    assert found["workers{phase=gone}"] == 0


async def test_however_many_come_and_go_there_are_no_more_series() -> None:
    view = View(workers=5)
    for name in view.pool.endpoints:
        view.telemetry.requests.ended(Ended(worker=name))
    before = set(await samples(view))
    for life in range(200):
        names = [f"pod-{life}-{n}" for n in range(5)]
        view.discover(*names)
        for name in names:
            view.telemetry.requests.ended(Ended(worker=name, target=f"/{name}".encode()))
            view.pool.observe(view.pool.endpoints[name], Sign.CONNECT_REFUSED, 0.0, name)
    view.discover(*(f"worker-{n}" for n in range(1, 6)))
    view.telemetry.history.take()
    for n in range(1, 6):
        view.telemetry.requests.ended(Ended(worker=f"worker-{n}"))
    assert set(await samples(view)) == before
    assert len(view.telemetry.requests.latency) == 5


async def test_of_several_pools_each_family_is_told_once() -> None:
    one, two = View(workers=1), View(workers=2)
    two.pool.name = "other"
    families = list(text_string_to_metric_families(await scrape(Balancer(one, two))))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    (rotation,) = (f for f in families if f.name == "leastwise_workers_in_rotation")
    found = {sample.labels["pool"]: sample.value for sample in rotation.samples}
    assert found == {"demo": 1, "other": 2}


async def test_a_pod_that_is_back_under_its_old_name_is_told_once() -> None:
    """As of a StatefulSet, while its last life still has a request."""
    view = View(workers=0)
    pods = [EndpointSpec(uid, "10.0.0.1", 80, name="model-0") for uid in ("uid-1", "uid-2")]
    view.pool.apply_snapshot(pods[:1], 0.0)
    acquire(view)
    view.pool.apply_snapshot(pods[1:], 1.0)
    found = await samples(view)
    assert found["worker_phase{phase=ready,worker=model-0}"] == 1
    assert found["worker_in_flight{worker=model-0}"] == 0
    assert found["requests_in_flight"] == 1
    view.pool.apply_snapshot(pods, 2.0)  # both at once: then by what tells them apart
    found = await samples(view)
    names = {name for name in found if name.startswith("worker_in_flight")}
    assert len(names) == 2


async def test_without_a_cap_there_is_no_number_of_slots() -> None:
    assert "slots" not in await samples(View(cap=None))


async def test_the_surroundings() -> None:
    view = View()
    found = await samples(view)
    assert found["upstream_connections"] == 5
    assert (found["config_ok"], found["config_generation"]) == (1, 1)
    assert found["probe_ignored"] == 0
    assert not any(name.startswith("watch_") for name in found)
    view.telemetry.config_ok, view.probe_ignored = False, True
    view.telemetry.endpoint_updates = 5
    view.discovery = Condition("slices of demo")
    found = await samples(view)
    assert (found["config_ok"], found["probe_ignored"]) == (0, 1)
    assert found["endpoint_updates_total"] == 5
    assert (found["watch_up"], found["watch_restarts_total"]) == (0, 0)
    assert "watch_age_seconds" not in found  # nothing was heard yet
    view.discovery.last_contact, view.discovery.watching = 0.0, True
    found = await samples(view)
    assert found["watch_up"] == 1
    assert found["watch_age_seconds"] > 0


@pytest.mark.parametrize("pools", [0, 1, 2])
async def test_what_is_the_balancers_is_told_once_however_many_pools(pools: int) -> None:
    balancer = Balancer(*(View() for _ in range(pools)))
    families = list(text_string_to_metric_families(await scrape(balancer)))
    for name, value in (("ready", 1), ("stopping", 0), ("downstream_connections", 7)):
        (family,) = (found for found in families if found.name == f"leastwise_{name}")
        assert [(sample.labels, sample.value) for sample in family.samples] == [({}, value)]
    assert not any(family.name.startswith("leastwise_workerpools") for family in families)


async def test_whether_it_is_ready_or_being_stopped() -> None:
    balancer = Balancer()
    balancer.reasons, balancer.stopping = ["stopping"], True
    found = read(await scrape(balancer))
    assert (found["ready"], found["stopping"]) == (0, 1)


async def test_requests_that_reached_no_pool_by_status() -> None:
    balancer = Balancer()
    balancer.rejected.update({404: 3, 501: 1})
    found = read(await scrape(balancer))
    told = {name: value for name, value in found.items() if name.startswith("rejected_")}
    assert told == {
        "rejected_requests_total{status=400}": 0, "rejected_requests_total{status=404}": 3,
        "rejected_requests_total{status=408}": 0, "rejected_requests_total{status=414}": 0,
        "rejected_requests_total{status=431}": 0, "rejected_requests_total{status=501}": 1,
    }  # fmt: skip


async def test_the_watch_of_the_workerpools_and_what_is_refused() -> None:
    balancer = Balancer(View())
    balancer.pool_watch = Condition("WorkerPools", restarts=2)
    balancer.pools.refused = [object(), object()]
    found = read(await scrape(balancer))
    assert found["workerpools_watch_up"] == 0
    assert found["workerpools_watch_restarts_total"] == 2
    assert "workerpools_watch_age_seconds" not in found  # nothing was heard yet
    assert found["workerpools{state=served}"] == 1
    assert found["workerpools{state=refused}"] == 2
    balancer.pool_watch.last_contact, balancer.pool_watch.watching = 0.0, True
    found = read(await scrape(balancer))
    assert found["workerpools_watch_up"] == 1
    assert found["workerpools_watch_age_seconds"] > 0


async def test_each_metric_says_what_it_is_in_a_sentence_of_its_own() -> None:
    view = View()
    view.discovery = Condition("slices", last_contact=0.0)
    view.standing = Standing("a.1", "deciding", 7, 0.0, seen(view.pool))
    balancer = Balancer(view)
    balancer.pool_watch = Condition("WorkerPools", last_contact=0.0)
    for family in text_string_to_metric_families(await scrape(balancer)):
        if family.name.startswith("leastwise_"):
            text = family.documentation
            assert re.match(r"[A-Z1].*\.$", text), family.name
            assert not re.search(r"\b(these|here)\b|^Of |that it has", text), family.name


async def test_the_process_is_told() -> None:
    text = await scrape(Balancer())
    for name in ("process_resident_memory_bytes", "process_open_fds", "python_info"):
        assert f"\n{name}" in text


async def test_a_name_may_hold_anything() -> None:
    view = View(workers=0)
    view.discover('a"b\\c\nd')
    assert 'worker_in_flight{worker=a"b\\c\nd}' in await samples(view)


@pytest.mark.parametrize("sign", [Sign.CHECK_FAILED, Sign.CONNECT_REFUSED])
async def test_ejections_are_told_by_their_sign(sign: Sign) -> None:
    view = View(workers=1)
    view.pool.observe(view.pool.endpoints["worker-1"], sign, 1.0)
    assert (await samples(view))[f"ejections_total{{reason={sign.name.lower()}}}"] == 1
