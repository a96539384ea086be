"""What the programs are told, read by the programs' own readers."""

from typing import Any

import pytest

from app.balancing.policy import OnClientGone
from app.cli import worker as worker_command
from app.config.addresses import AddressPort
from app.config.loading import parse_pool
from app.config.settings import PREFIX, Settings, load_settings
from app.config.workerpool import WorkerPool
from app.worker.settings import WorkerSettings
from tests.unit.chart.helm import (
    ALONE,
    DEFAULT,
    DOWNWARD,
    OPTIONS,
    OWN_SERVICE,
    container,
    environment,
    pod,
    pool_file,
    render,
)

every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def pool(options: tuple[str, ...] = DEFAULT) -> WorkerPool:
    """The pool as the balancer reads it."""
    return parse_pool(pool_file(options)["data"]["pool.yaml"].encode(), "pool.yaml")


def settings(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...] = DEFAULT) -> Settings:
    """The settings as the balancer reads them."""
    for name, value in environment(options).items():
        monkeypatch.setenv(name, value)
    return load_settings()


def worker(options: tuple[str, ...] = DEFAULT) -> WorkerSettings:
    """The settings of a worker as it reads them."""
    role, *arguments = container("worker", options)["args"]
    assert role == worker_command.name
    context = worker_command.make_context("worker", arguments, resilient_parsing=False)
    given: dict[str, Any] = {k: v for k, v in context.params.items() if v is not None}
    return WorkerSettings(**given)


def has_workers(options: tuple[str, ...]) -> bool:
    return any(obj["kind"] == "StatefulSet" for obj in render(options))


# --- the balancer


@every_option
def test_the_balancer_accepts_it(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    assert container("balancer", options)["args"] == ["serve"]
    assert all(name.startswith(PREFIX) for name in environment(options))
    read = settings(monkeypatch, options)
    mount = container("balancer", options)["volumeMounts"][0]
    assert str(read.config) == f"{mount['mountPath']}/pool.yaml"
    assert (read.listen.port, read.admin_listen.port) == (8000, 9000)
    host = "::" if options == OPTIONS["IPv6"] else "0.0.0.0"
    assert read.listen.host == read.admin_listen.host == host
    assert pool(options).name == pool_file(options)["metadata"]["name"]


def test_settings_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(monkeypatch, OPTIONS["all settings"])
    assert read.client_header_timeout == 5
    assert read.client_body_timeout == 20
    assert read.client_idle_timeout == 75
    assert read.max_header_bytes == 1_048_576
    assert read.max_body_bytes == 10_000_000_000
    assert read.max_connections == 1_000_000
    assert [str(network) for network in read.trusted_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert (read.log_level, read.log_format) == ("debug", "json")
    assert (read.watch_timeout, read.preferred_family) == (120, "ipv6")


def test_what_is_not_set_is_left_to_the_process() -> None:
    assert environment(ALONE).keys() == {
        "LEASTWISE_CONFIG",
        "LEASTWISE_LISTEN",
        "LEASTWISE_ADMIN_LISTEN",
        "LEASTWISE_DRAIN_DELAY",
        "LEASTWISE_DRAIN_TIMEOUT",
    }


def test_what_replicas_need_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment()
    assert variables.keys() - environment(ALONE).keys() == {
        "LEASTWISE_PEERS",
        "LEASTWISE_PEER_LISTEN",
        "LEASTWISE_PEER_SECRET_FILE",
        "LEASTWISE_POD_NAME",
        "LEASTWISE_POD_UID",
        "LEASTWISE_POD_IP",
    }
    read = settings(monkeypatch)
    assert read.peers == "lb"
    assert read.peer_listen == AddressPort("0.0.0.0", 9001)
    assert str(read.pod_ip) == DOWNWARD["status.podIP"]
    assert (read.pod_name, read.pod_uid) == (DOWNWARD["metadata.name"], DOWNWARD["metadata.uid"])
    assert settings(monkeypatch, OPTIONS["IPv6"]).peer_listen == AddressPort("::", 9001)
    assert settings(monkeypatch, OPTIONS["the whole name"]).peers == "front"


# --- the pool


def test_the_scenarios_pool() -> None:
    spec = pool().spec
    assert spec.service is not None
    assert (spec.service.name, spec.service.port) == ("worker", "http")
    assert spec.max_in_flight == 4
    assert spec.retry.non_idempotent is True
    assert spec.retry.refused_statuses == (503,)


def test_a_service_of_the_users_own_gets_the_safe_defaults() -> None:
    read = pool(OWN_SERVICE)
    assert read.spec.service is not None
    assert (read.spec.service.name, read.spec.service.port) == ("model", "http")
    plain = parse_pool(b"spec: {service: {name: model, port: http}}", "")
    assert read.spec == plain.spec
    assert read.policy() == plain.policy()


def test_own_service_beside_the_charts_workers() -> None:
    read = pool(OPTIONS["own Service beside the chart's workers"])
    assert read.spec == pool(OWN_SERVICE).spec
    assert pool(OPTIONS["the workers, named"]).spec == pool().spec


def test_port_by_number() -> None:
    service = pool(OPTIONS["its port by number"]).spec.service
    assert service is not None
    assert service.port == 9090


def test_null_is_no_limit() -> None:
    """Helm takes a key away that is set to null; what is left must not be the default."""
    timeouts = pool(OPTIONS["no limits"]).spec.timeouts
    assert (timeouts.first_byte, timeouts.between_bytes, timeouts.request) == (None, None, None)
    assert pool(OPTIONS["no cap"]).spec.max_in_flight is None


def test_every_field_is_passed_on() -> None:
    spec = pool(OPTIONS["all pool fields"]).spec
    assert spec.queue.size == 0
    assert spec.timeouts.connect == 2
    assert spec.retry.non_idempotent is False
    assert spec.retry.on_timeout is True
    assert spec.retry.refused_statuses == (429, 503)
    assert spec.retry.replay_bytes == 16 * 1024 * 1024
    assert (spec.health.failures, spec.health.recheck, spec.health.recheck_max) == (1, 0.05, 2)
    assert spec.on_client_gone is OnClientGone.FINISH
    probe = pool(OPTIONS["a probe"]).spec.health.probe
    assert probe is not None
    assert (probe.path, probe.interval, probe.timeout, probe.failures) == ("/readyz", 0.5, 0.2, 2)


# --- the workers


@every_option
def test_a_worker_accepts_it(options: tuple[str, ...]) -> None:
    if has_workers(options):
        read = worker(options)
        assert read.port == container("worker", options)["ports"][0]["containerPort"]
        assert read.keep_alive_seconds > pool(options).spec.timeouts.idle
        assert read.host == ("::" if options == OPTIONS["IPv6"] else "0.0.0.0")


def test_a_worker_of_the_scenario() -> None:
    read = worker()
    assert (read.task_seconds, read.max_in_flight, read.keep_alive_seconds) == (15, 4, 5)


@pytest.mark.parametrize(
    ("options", "at_the_worker", "at_the_balancer"),
    [
        (DEFAULT, 4, 4),
        (OPTIONS["other workers"], 9, 9),
        (OPTIONS["no cap"], None, None),
        (OPTIONS["another cap"], 4, 2),
    ],
)
def test_one_cap_for_both(
    options: tuple[str, ...], at_the_worker: int | None, at_the_balancer: int | None
) -> None:
    assert worker(options).max_in_flight == at_the_worker
    assert pool(options).spec.max_in_flight == at_the_balancer


# --- time


@every_option
def test_the_balancers_grace_period(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    read, spec = settings(monkeypatch, options), pool(options).spec
    grace = pod("balancer", options)["terminationGracePeriodSeconds"]
    assert grace >= read.drain_delay + read.drain_timeout + 10
    assert grace < read.drain_delay + read.drain_timeout + 11
    if "drain.timeout" not in str(options):
        assert spec.timeouts.request is not None
        assert read.drain_timeout >= spec.queue.timeout + spec.timeouts.request
        assert read.drain_timeout < spec.queue.timeout + spec.timeouts.request + 1


@pytest.mark.parametrize(
    ("options", "delay", "timeout", "grace"),
    [
        (DEFAULT, 10, 660, 680),
        (OPTIONS["other times"], 1.5, 7290, 7302),
        (OPTIONS["numbers as durations"], 2.5, 1, 14),
        (OPTIONS["no limits"], 10, 3600, 3620),
        (("--set=drain.delay=1h2m3s500ms,drain.timeout=0",), 3723.5, 0, 3734),
        (("--set=drain.delay=0.25s,drain.timeout=90",), 0.25, 90, 101),
        (("--set=drain.delay=24h,pool.timeouts.request=24h",), 86400, 86400, 172_810),
    ],
)
def test_drain(
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    delay: float,
    timeout: float,
    grace: int,
) -> None:
    read = settings(monkeypatch, options)
    assert (read.drain_delay, read.drain_timeout) == (delay, timeout)
    assert pod("balancer", options)["terminationGracePeriodSeconds"] == grace


@every_option
def test_a_workers_grace_period(options: tuple[str, ...]) -> None:
    if has_workers(options):
        sleep = container("worker", options).get("lifecycle", {}).get("preStop", {}).get("sleep")
        seconds = sleep["seconds"] if sleep else 0
        grace = pod("worker", options)["terminationGracePeriodSeconds"]
        assert grace >= seconds + worker(options).task_seconds + 10
        assert grace < seconds + worker(options).task_seconds + 11
        assert worker(options).drain_seconds == 0  # one delay only


def test_pre_stop() -> None:
    assert container("worker")["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert "lifecycle" not in container("worker", OPTIONS["no preStop"])  # 0 is no valid sleep
