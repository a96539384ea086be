"""The settings of the process: flags over `LEASTWISE_*` variables over defaults.

`app.cli` calls `load_settings` once at the start, with the flags that were given. A variable that
begins with the prefix and is no setting is an error, since it is most likely a typo; those that
the kubelet injects for a Service called leastwise are not (so no setting may be named `port`).
All durations are in seconds.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.config.addresses import AddressPort
from app.config.errors import ConfigError, Problem
from app.config.explain import OR_NULL, Finding, findings, unknown
from app.config.fields import broken_rule
from app.config.notations import (
    AdminToken,
    BalancerName,
    Delay,
    Family,
    KubeconfigPath,
    LeaseName,
    Listen,
    LogFormat,
    LogLevel,
    Namespace,
    Networks,
    PodIp,
    PodName,
    PodUid,
    PoolPath,
    SecretPath,
    Switch,
    Timeout,
    TokenPath,
)

PREFIX = "LEASTWISE_"

WITHOUT_FLAG = frozenset({"admin_token"})
"""Settings by variable alone: everybody on the machine can read a process's flags."""

OF_OTHERS = frozenset({"LEASTWISE_ADMIN"})
"""Variables that are no settings and no typos either: `leastwise top` reads them."""

_SERVICE_LINK = re.compile(
    PREFIX + r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""Docker's link variables, as the kubelet makes them: LEASTWISE_PORT_8000_TCP_ADDR and others."""

_DOWNWARD = {"pod_name": "metadata.name", "pod_uid": "metadata.uid", "pod_ip": "status.podIP"}
"""What the settings of a replica are in its pod, for the downward API."""


def _one_source(balancer: str | None, info: ValidationInfo) -> str | None:
    """Refuse neither and both of a file and a name."""
    if "config" in info.data and (info.data["config"] is None) == (balancer is None):
        allowed = "either the path of a pool's YAML file or a balancer's name"
        raise broken_rule("neither" if balancer is None else "both of them", allowed)
    return balancer


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


class Settings(BaseSettings):
    """How the process runs. An empty variable is as good as none."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    config: PoolPath | None = None
    """The pool's YAML file, followed while the process runs. Either this or balancer."""

    balancer: Annotated[BalancerName | None, AfterValidator(_one_source)] = Field(
        default=None, validate_default=True
    )
    """This balancer's name: the WorkerPools of the namespace that name it, or none, are followed.
    Either this or config."""

    listen: Listen = AddressPort("0.0.0.0", 8000)  # noqa: S104 - a balancer is there for others
    """The data port; port 0 takes any free one."""

    admin_listen: Listen = AddressPort("127.0.0.1", 9000)
    """The admin port; port 0 takes any free one. By default this machine alone reaches it."""

    admin_token: AdminToken | None = None
    """What readers of the admin port have to bring as a bearer token; unset for nothing."""

    admin_token_file: TokenPath | None = None
    """The file that holds that token, such as a mounted Secret: read again at each use."""

    drain_delay: Delay = 0.0
    """How long new connections are still accepted after SIGTERM, while readiness is false already:
    as long as others need to stop sending."""

    drain_timeout: Delay = 660.0
    """How long running requests may take to end after that: the pool's request timeout, and a
    minute for slow clients. The pod's grace period must be longer than both together."""

    client_header_timeout: Timeout = 10.0
    """How long a client may take for a whole request head."""

    client_body_timeout: Timeout = 30.0
    """How long a client may pause within a request body."""

    client_idle_timeout: Timeout = 620.0
    """How long an idle client connection is kept: above the 600 s of cloud load balancers, so that
    they close first."""

    max_header_bytes: int = Field(default=32_768, ge=1024, le=1_048_576)
    """Longest request head, in bytes."""

    max_headers: int = Field(default=128, ge=1, le=10_000)
    """Most fields in a request head."""

    max_target_bytes: int = Field(default=16_384, ge=256, le=1_048_576)
    """Longest request target (path and query), in bytes."""

    max_body_bytes: int | None = Field(default=None, ge=0)
    """Longest request body, in bytes; unset for no limit."""

    max_connections: int | None = Field(default=None, ge=1)
    """Most client connections at once; unset for what the limit of open files allows."""

    replay_memory_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Most request bodies kept for sending again, in bytes, of all requests together. What does not
    fit is not sent again."""

    trusted_networks: Networks = ()
    """Clients whose X-Forwarded-* headers are kept: those of other proxies."""

    namespace: Namespace | None = None
    """Where the pool's Service is; unset for the pod's namespace, or that of the kubeconfig's
    context."""

    kubeconfig: KubeconfigPath | None = None
    """How to reach the Kubernetes API; unset for KUBECONFIG, then the pod's service account, then
    ~/.kube/config."""

    watch_timeout: Timeout = 75.0
    """How long the Kubernetes API may be silent before it is asked anew: above the minute that
    lies between its bookmarks."""

    preferred_family: Family = "ipv4"
    """Which address of a worker pod that has both is used."""

    peers: LeaseName | None = None
    """The Lease by which the replicas of this balancer find each other, in its namespace; unset:
    this one is alone."""

    peer_listen: Listen = AddressPort("0.0.0.0", 9001)  # noqa: S104 - the other replicas come here
    """The port where replicas talk to each other; only with peers."""

    peer_secret_file: SecretPath | None = Field(default=None, validate_default=True)
    """The file with the secret that replicas prove to each other, such as a mounted Secret: read
    again at each use. Required with peers, as the pod's name, UID and address are."""

    pod_name: PodName | None = Field(default=None, validate_default=True)
    """This pod's name, by the downward API."""

    pod_uid: PodUid | None = Field(default=None, validate_default=True)
    """This pod's UID, by the downward API."""

    pod_ip: PodIp | None = Field(default=None, validate_default=True)
    """This pod's address, by the downward API: where the other replicas reach it."""

    log_level: LogLevel = "info"
    """The least that is logged."""

    log_format: LogFormat = "text"
    """For people, or for machines."""

    access_log: Switch = False
    """Whether a line is logged for each request, within the rate."""

    access_log_rate: int = Field(default=100, ge=1, le=100_000)
    """Most lines of the access log a second, and as many again of requests that failed."""

    access_log_query: Switch = False
    """Whether paths are logged with their query, where secrets may stand."""

    metrics: Switch = True
    """Whether requests are counted as they end: for /metrics, the dashboard and `leastwise top`."""

    tracing: Switch = False
    """Whether spans are made of requests, by OpenTelemetry: see OTEL_EXPORTER_OTLP_ENDPOINT."""

    timing_headers: Switch = True
    """Whether answers say how they came about, by Server-Timing, X-Leastwise-Worker and
    X-Leastwise-Attempts."""

    @field_validator("admin_token_file")
    @classmethod
    def _one_token(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and info.data.get("admin_token") is not None:
            raise broken_rule(f"this and {variable('admin_token')}", "one of the two")
        return path

    @field_validator("peer_secret_file", "pod_name", "pod_uid", "pod_ip")
    @classmethod
    def _known_to_peers(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("peers") is not None:
            name = str(info.field_name)
            allowed = (
                f"its pod's {_DOWNWARD[name]}, by the downward API"
                if name in _DOWNWARD
                else "the path of a file with the secret that all replicas share"
            )
            raise broken_rule(
                f"nothing beside {variable('peers')}", f"{allowed}; the chart sets it"
            )
        return value


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Read the settings of this process.

    `flags`: values by the names of the fields; None stands for a flag that was not given.
    Raises ConfigError, naming for each problem its variable or its flag.
    """
    return load(Settings, flags)


def load(model: type[AnySettings], flags: Mapping[str, object] | None) -> AnySettings:
    """Read the settings of one role, as `load_settings` does."""
    given: dict[str, Any] = {k: v for k, v in (flags or {}).items() if v is not None}
    problems = _unknown_variables(model)
    try:
        settings = model(**given)
    except ValidationError as error:
        problems += [_problem(finding, given) for finding in findings(error, model)]
    else:
        if not problems:
            return settings
    raise ConfigError(problems)


def variable(name: str) -> str:
    """Name the variable of a field."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """Name the flag of a field."""
    return "--" + name.replace("_", "-")


def _unknown_variables(model: type[BaseSettings]) -> list[Problem]:
    known = [variable(name) for name in model.model_fields]
    return [
        Problem("", name, *unknown(name.upper(), known, "variable"))
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and name.upper() not in OF_OTHERS
        and not _SERVICE_LINK.fullmatch(name.upper())
    ]


def _problem(finding: Finding, given: Mapping[str, object]) -> Problem:
    name = str(finding.location[0])
    if name in given:
        place = flag(name)
    elif variable(name) in os.environ or finding.location != ("balancer",):
        place = variable(name)
    else:
        names = ("config", "balancer")
        place = ", ".join(f"{flag(name)} or {variable(name)}" for name in names)
    # There is no null in the environment: what may be null is left out.
    return Problem("", place, finding.found, finding.allowed.removesuffix(OR_NULL))
