"""The process's settings: where they come from, and what is wrong with them in which words."""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.config.addresses import AddressPort
from app.config.errors import ConfigError
from app.config.explain import allowed_at
from app.config.operator_settings import OperatorSettings, load_operator_settings
from app.config.settings import Settings, load_settings, variable

VARIABLES = [
    "LEASTWISE_CONFIG",
    "LEASTWISE_BALANCER",
    "LEASTWISE_LISTEN",
    "LEASTWISE_ADMIN_LISTEN",
    "LEASTWISE_ADMIN_TOKEN",
    "LEASTWISE_ADMIN_TOKEN_FILE",
    "LEASTWISE_DRAIN_DELAY",
    "LEASTWISE_DRAIN_TIMEOUT",
    "LEASTWISE_CLIENT_HEADER_TIMEOUT",
    "LEASTWISE_CLIENT_BODY_TIMEOUT",
    "LEASTWISE_CLIENT_IDLE_TIMEOUT",
    "LEASTWISE_MAX_HEADER_BYTES",
    "LEASTWISE_MAX_HEADERS",
    "LEASTWISE_MAX_TARGET_BYTES",
    "LEASTWISE_MAX_BODY_BYTES",
    "LEASTWISE_MAX_CONNECTIONS",
    "LEASTWISE_REPLAY_MEMORY_BYTES",
    "LEASTWISE_TRUSTED_NETWORKS",
    "LEASTWISE_NAMESPACE",
    "LEASTWISE_KUBECONFIG",
    "LEASTWISE_WATCH_TIMEOUT",
    "LEASTWISE_PREFERRED_FAMILY",
    "LEASTWISE_PEERS",
    "LEASTWISE_PEER_LISTEN",
    "LEASTWISE_PEER_SECRET_FILE",
    "LEASTWISE_POD_NAME",
    "LEASTWISE_POD_UID",
    "LEASTWISE_POD_IP",
    "LEASTWISE_LOG_LEVEL",
    "LEASTWISE_LOG_FORMAT",
    "LEASTWISE_ACCESS_LOG",
    "LEASTWISE_ACCESS_LOG_RATE",
    "LEASTWISE_ACCESS_LOG_QUERY",
    "LEASTWISE_METRICS",
    "LEASTWISE_TRACING",
    "LEASTWISE_TIMING_HEADERS",
]

LISTEN = "host:port, with a port from 0 to 65535 and an IPv6 address in brackets"
LEASE = "a Lease's name: up to 253 of a-z 0-9 - ., beginning and ending with a-z 0-9"
ADDRESS = "the pod's IP address, without brackets"
NETWORKS = "networks such as 10.0.0.0/8 or fd00::/8, with commas between, no host bits set"
DELAY = "a duration from 0s to 24h, in seconds or such as 500ms, 15s or 1m30s"
NAMESPACE = "a namespace's name: up to 63 of a-z 0-9 -, beginning and ending with a-z 0-9"
TIMEOUT = "a duration from 100ms to 24h, in seconds or such as 500ms, 15s or 1m30s"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names the pool's file, and nothing else of ours."""
    for name in list(os.environ):
        if name.upper().startswith("LEASTWISE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LEASTWISE_CONFIG", "/etc/leastwise/pool.yaml")
    return monkeypatch


def complaint(**flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    return str(caught.value)


def test_the_defaults() -> None:
    settings = load_settings()
    assert settings.config == Path("/etc/leastwise/pool.yaml")
    assert settings.listen == AddressPort("0.0.0.0", 8000)
    assert settings.admin_listen == AddressPort("127.0.0.1", 9000)
    assert (settings.drain_delay, settings.drain_timeout) == (0, 660)
    assert settings.client_header_timeout == 10
    assert settings.client_body_timeout == 30
    assert settings.client_idle_timeout == 620
    assert (settings.admin_token, settings.admin_token_file) == (None, None)
    assert settings.max_header_bytes == 32_768
    assert (settings.max_headers, settings.max_target_bytes) == (128, 16_384)
    assert settings.replay_memory_bytes == 268_435_456
    assert settings.max_body_bytes is None
    assert settings.max_connections is None
    assert settings.trusted_networks == ()
    assert (settings.namespace, settings.kubeconfig) == (None, None)
    assert (settings.watch_timeout, settings.preferred_family) == (75, "ipv4")
    assert (settings.peers, settings.peer_secret_file) == (None, None)
    assert settings.peer_listen == AddressPort("0.0.0.0", 9001)
    assert (settings.pod_name, settings.pod_uid, settings.pod_ip) == (None, None, None)
    assert (settings.log_level, settings.log_format) == ("info", "text")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LISTEN", "127.0.0.1:0", AddressPort("127.0.0.1", 0)),
        ("ADMIN_LISTEN", "[::]:9000", AddressPort("::", 9000)),
        ("DRAIN_DELAY", "5", 5.0),
        ("DRAIN_DELAY", "0.5", 0.5),
        ("DRAIN_TIMEOUT", "10m", 600.0),
        ("CLIENT_HEADER_TIMEOUT", "500ms", 0.5),
        ("MAX_HEADER_BYTES", "65536", 65_536),
        ("MAX_HEADERS", "1", 1),
        ("MAX_TARGET_BYTES", "8192", 8192),
        ("REPLAY_MEMORY_BYTES", "0", 0),
        ("ADMIN_TOKEN", "0123456789abcdef=", SecretStr("0123456789abcdef=")),
        ("ADMIN_TOKEN", "", None),
        ("ADMIN_TOKEN_FILE", "/etc/token", Path("/etc/token")),
        ("MAX_BODY_BYTES", "0", 0),
        ("MAX_CONNECTIONS", "100", 100),
        ("MAX_CONNECTIONS", "", None),
        ("TRUSTED_NETWORKS", "10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
        (
            "TRUSTED_NETWORKS",
            " 10.0.0.1, fd00::/8 ,",
            (ip_network("10.0.0.1/32"), ip_network("fd00::/8")),
        ),
        ("NAMESPACE", "inference-7", "inference-7"),
        ("NAMESPACE", "", None),
        ("KUBECONFIG", "/etc/kube/config", Path("/etc/kube/config")),
        ("WATCH_TIMEOUT", "2m", 120.0),
        ("PREFERRED_FAMILY", "IPv6", "ipv6"),
        ("PEERS", "", None),
        ("PEER_LISTEN", "[::]:9001", AddressPort("::", 9001)),
        ("POD_IP", "10.0.0.7", ip_address("10.0.0.7")),
        ("POD_IP", "fd00:0::7", ip_address("fd00::7")),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("LOG_FORMAT", "json", "json"),
    ],
)
def test_a_variable(environment: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    environment.setenv(f"LEASTWISE_{name}", text)
    settings = load_settings()
    assert getattr(settings, name.lower()) == value


def test_a_flag_wins_over_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_DRAIN_DELAY", "5")
    environment.setenv("LEASTWISE_LOG_LEVEL", "debug")
    settings = load_settings({"drain_delay": 7.5, "listen": "[::1]:80", "log_level": None})
    assert settings.drain_delay == 7.5
    assert settings.listen == AddressPort("::1", 80)
    assert settings.log_level == "debug"


def test_values_of_their_types_are_taken_as_they_are() -> None:
    networks = (ip_network("10.0.0.0/8"),)
    settings = Settings(
        config=Path("x"), listen=AddressPort("h", 1), trusted_networks=networks, drain_delay=1
    )
    assert settings.listen == AddressPort("h", 1)
    assert settings.trusted_networks == networks


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().drain_delay = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("listen", "8000", LISTEN),
        ("admin_listen", "::1:9000", LISTEN),
        ("drain_delay", "-1", DELAY),
        ("drain_delay", "soon", DELAY),
        ("drain_timeout", "inf", DELAY),
        ("client_header_timeout", "0", TIMEOUT),
        ("client_body_timeout", "1 s", TIMEOUT),
        ("client_idle_timeout", "25h", TIMEOUT),
        ("max_header_bytes", "32k", "a whole number from 1024 to 1048576"),
        ("max_header_bytes", "100", "a whole number from 1024 to 1048576"),
        ("max_headers", "0", "a whole number from 1 to 10000"),
        ("max_target_bytes", "16k", "a whole number from 256 to 1048576"),
        ("max_target_bytes", "255", "a whole number from 256 to 1048576"),
        ("replay_memory_bytes", "-1", "a whole number from 0 up"),
        ("max_body_bytes", "-1", "a whole number from 0 up"),
        ("max_connections", "0", "a whole number from 1 up"),
        ("trusted_networks", "10.0.0.1/8", NETWORKS),
        ("namespace", "Inference", NAMESPACE),
        ("namespace", "a/b", NAMESPACE),
        ("namespace", "a" * 64, NAMESPACE),
        ("watch_timeout", "0", TIMEOUT),
        ("preferred_family", "ipv5", "ipv4 or ipv6"),
        ("peers", "LB", LEASE),
        ("peers", "lb-", LEASE),
        ("peers", "a..b", LEASE),
        ("peer_listen", "9001", LISTEN),
        ("pod_ip", "lb-0", ADDRESS),
        ("pod_ip", "[fd00::1]", ADDRESS),
        ("log_level", "loud", "debug, info, warning or error"),
        ("log_format", "xml", "text or json"),
    ],
)
def test_a_bad_value_is_told_with_its_variable_or_its_flag(
    environment: pytest.MonkeyPatch, name: str, text: str, allowed: str
) -> None:
    told = f'found "{text}", allowed: {allowed}'
    assert complaint(**{name: text}) == f"--{name.replace('_', '-')}: {told}"
    environment.setenv(f"LEASTWISE_{name.upper()}", text)
    assert complaint() == f"LEASTWISE_{name.upper()}: {told}"


@pytest.mark.parametrize(
    ("token", "found"),
    [
        ("hunter2", "a token of 7 characters"),
        ("hunter2" * 1000, "a token of 7000 characters"),
        ("hunter2 with spaces in it", "a token with other characters"),
    ],
)
def test_a_bad_token_is_told_and_not_shown(
    environment: pytest.MonkeyPatch, token: str, found: str
) -> None:
    allowed = "a token of 16 to 4096 of a-z A-Z 0-9 - . _ ~ + /, with = at the end only"
    environment.setenv("LEASTWISE_ADMIN_TOKEN", token)
    assert complaint() == f"LEASTWISE_ADMIN_TOKEN: found {found}, allowed: {allowed}"


def test_a_token_and_a_file_of_one_are_one_too_many(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_ADMIN_TOKEN", "0123456789abcdef")
    environment.setenv("LEASTWISE_ADMIN_TOKEN_FILE", "/etc/token")
    told = "found this and LEASTWISE_ADMIN_TOKEN, allowed: one of the two"
    assert complaint() == f"LEASTWISE_ADMIN_TOKEN_FILE: {told}"


def test_a_token_does_not_show_where_the_settings_do(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_ADMIN_TOKEN", "0123456789abcdef")
    settings = load_settings()
    assert "0123456789abcdef" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_of_a_list_the_part_that_is_wrong_is_told(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_TRUSTED_NETWORKS", "10.0.0.0/8,lan")
    assert complaint() == f'LEASTWISE_TRUSTED_NETWORKS: found "lan", allowed: {NETWORKS}'
    assert complaint(trusted_networks=5) == f"--trusted-networks: found 5, allowed: {NETWORKS}"


def test_a_missing_setting_is_told_with_both_its_names(environment: pytest.MonkeyPatch) -> None:
    allowed = "allowed: either the path of a pool's YAML file or a balancer's name"
    places = "--config or LEASTWISE_CONFIG, --balancer or LEASTWISE_BALANCER"
    environment.delenv("LEASTWISE_CONFIG")
    assert complaint() == f"{places}: found neither, {allowed}"
    environment.setenv("LEASTWISE_CONFIG", "")
    assert complaint() == f"{places}: found neither, {allowed}"
    environment.setenv("LEASTWISE_CONFIG", "pool.yaml")
    assert complaint(balancer="lb") == f"--balancer: found both of them, {allowed}"
    environment.setenv("LEASTWISE_BALANCER", "lb")
    assert complaint() == f"LEASTWISE_BALANCER: found both of them, {allowed}"
    environment.delenv("LEASTWISE_CONFIG")
    assert load_settings().balancer == "lb"


PEER = {
    "LEASTWISE_PEER_SECRET_FILE": "/etc/leastwise-peers/token",
    "LEASTWISE_POD_NAME": "lb-5d9c-x7",
    "LEASTWISE_POD_UID": "5f3b7b8a-0000-4000-8000-000000000000",
    "LEASTWISE_POD_IP": "10.0.0.7",
}


def test_what_a_replica_has_to_know(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_PEERS", "lb.shop-1")
    for name, value in PEER.items():
        environment.setenv(name, value)
    settings = load_settings()
    assert settings.peers == "lb.shop-1"
    assert settings.peer_secret_file == Path("/etc/leastwise-peers/token")
    assert (settings.pod_name, settings.pod_uid) == (
        PEER["LEASTWISE_POD_NAME"],
        PEER["LEASTWISE_POD_UID"],
    )


@pytest.mark.parametrize(
    ("missing", "allowed"),
    [
        (
            "LEASTWISE_PEER_SECRET_FILE",
            "the path of a file with the secret that all replicas share",
        ),
        ("LEASTWISE_POD_NAME", "its pod's metadata.name, by the downward API"),
        ("LEASTWISE_POD_UID", "its pod's metadata.uid, by the downward API"),
        ("LEASTWISE_POD_IP", "its pod's status.podIP, by the downward API"),
    ],
)
@pytest.mark.parametrize("empty", [True, False])
def test_what_a_replica_misses_is_told(
    environment: pytest.MonkeyPatch, missing: str, allowed: str, empty: bool
) -> None:
    for name, value in PEER.items():
        environment.setenv(name, value)
    if empty:
        environment.setenv(missing, "")
    else:
        environment.delenv(missing)
    assert load_settings().peers is None
    told = f"found nothing beside LEASTWISE_PEERS, allowed: {allowed}; the chart sets it"
    assert complaint(peers="lb") == f"{missing}: {told}"


def test_a_bad_name_of_the_lease_is_told_alone() -> None:
    assert len(complaint(peers="L").splitlines()) == 1
    assert len(complaint(peers="l").splitlines()) == len(PEER)


def test_an_unknown_variable_is_told_with_the_nearest(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_LOGLEVEL", "debug")
    assert complaint() == (
        'LEASTWISE_LOGLEVEL: found an unknown variable (did you mean "LEASTWISE_LOG_LEVEL"?),'
        f" allowed: {', '.join(VARIABLES)}"
    )


def test_the_variable_of_top_may_be_there(environment: pytest.MonkeyPatch) -> None:
    """It is set in a shell from which `leastwise serve` is started, too."""
    environment.setenv("LEASTWISE_ADMIN", "http://127.0.0.1:9000")
    assert load_settings() == load_settings({"config": "/etc/leastwise/pool.yaml"})
    environment.delenv("LEASTWISE_CONFIG")
    assert load_operator_settings() == OperatorSettings()


def test_every_problem_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISE_NONSENSE", "1")
    environment.setenv("LEASTWISE_LOG_LEVEL", "loud")
    told = complaint(drain_delay="soon", unheard=1).splitlines()
    assert [line.partition(": ")[0] for line in told] == [
        "LEASTWISE_NONSENSE",
        "--drain-delay",
        "LEASTWISE_LOG_LEVEL",
        "--unheard",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP_ADMIN",
        "PORT",
        "PORT_8000_TCP",
        "PORT_8000_TCP_PROTO",
        "PORT_8000_TCP_PORT",
        "PORT_8000_UDP_ADDR",
        "ADMIN_SERVICE_HOST",
        "ADMIN_PORT_9000_TCP_ADDR",
        "ADMIN_PORT",
    ],
)
def test_what_the_kubelet_injects_is_ignored(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(f"LEASTWISE_{name}", "tcp://10.0.0.1:8000")
    assert load_settings() == load_settings({"config": "/etc/leastwise/pool.yaml"})
    assert f"LEASTWISE_{name}" not in VARIABLES


@pytest.mark.parametrize("name", ["PORTS", "PORT_X", "LISTEN_PORT_8000", "SERVICE_PORTS"])
def test_what_only_looks_like_it_is_not(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(f"LEASTWISE_{name}", "1")
    assert complaint().startswith(f"LEASTWISE_{name}: found an unknown variable")


def test_every_setting_has_a_description_and_words_for_what_it_admits() -> None:
    assert [variable(name) for name in Settings.model_fields] == VARIABLES
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert allowed_at(Settings, (name,)), name


def test_others_variables_are_none_of_our_business(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASTWISELY", "1")
    environment.setenv("OTHER_LEASTWISE_THING", "1")
    flags: dict[str, Any] = {}
    assert load_settings(flags) == load_settings()
