"""The spec of a pool: the one schema behind the file, the custom resource and the chart's values.

Read by `loading` and `resource`, translated by `crd`; `WorkerPool.policy` makes the frozen limits
that `app.balancing` obeys, whose defaults are the defaults here. Keys are in camel case. Nothing is
coerced: "5" is no number and 1 is no boolean; only durations have two notations. What JSON schema
cannot say (one field bounded by another) is said by validators of the later field, so that a rule
is checked even while other fields are wrong. Beside each stands the same rule in CEL, for the API
server.
"""

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel

from app.balancing.policy import (
    HealthPolicy,
    OnClientGone,
    Policy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    TimeoutPolicy,
)
from app.config.addresses import MAX_PORT, AddressPort
from app.config.fields import (
    Allowed,
    Duration,
    HostPort,
    Limit,
    broken_rule,
    default_or,
    each_once,
)

MAX_ENDPOINTS = 1000
MAX_ROUTES = 32
MAX_STATUSES = 20

_POLICY = Policy()
_QUEUE, _TIMEOUTS, _RETRY, _HEALTH = _POLICY.queue, _POLICY.timeouts, _POLICY.retry, _POLICY.health
_PROBE = ProbePolicy(path="/")

_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")
_PORT_NAME_LENGTH = 15
_PORT_SCHEMA: dict[str, Any] = {
    "x-kubernetes-int-or-string": True,
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "minimum": 1,
    "maximum": MAX_PORT,
    "maxLength": _PORT_NAME_LENGTH,
    # As _PORT_NAME, without its lookahead, which RE2 does not have.
    "pattern": "^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$",
}


def _port(value: object) -> object:
    """Admit a number or a name as Kubernetes has them; raises ValueError."""
    match value:
        case bool():
            pass
        case int() if 1 <= value <= MAX_PORT:
            return value
        case str() if len(value) <= _PORT_NAME_LENGTH and _PORT_NAME.fullmatch(value):
            return value
    raise ValueError(value)


Wait = Annotated[float, Duration(0.001, 86_400)]
"""How long something may take, in seconds."""

LongestWait = Annotated[float | None, Limit(0.001, 86_400)]
"""How long something may take, in seconds; None for no limit."""

Pause = Annotated[float, Duration(0.01, 3600)]
"""How long between two tries, in seconds."""

Endpoint = Annotated[AddressPort, HostPort()]

FinalErrorStatus = Annotated[int, Ge(400), Le(599)]

Port = Annotated[
    int | str,
    BeforeValidator(_port),
    WithJsonSchema(_PORT_SCHEMA),
    Allowed(
        f"a port from 1 to {MAX_PORT}, or a port's name (up to {_PORT_NAME_LENGTH} of a-z 0-9 -)"
    ),
]


def _rule(rule: str, message: str, field: str) -> dict[str, Any]:
    """Return JSON schema's share of a model: a rule in CEL, which blames `field`."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message, "fieldPath": f".{field}"}]
    }


class _Spec(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )


class ServiceSpec(_Spec):
    """A Kubernetes Service, headless, in the balancer's own namespace."""

    name: Annotated[
        str, Allowed("a Service's name: up to 63 of a-z 0-9 -, the first one a letter")
    ] = Field(max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    """Name of the Service whose EndpointSlices are followed."""

    port: Port
    """The name of a port of the Service; or a number, which is the one that the pods listen on
    (`targetPort`). Of a Service with one port only, any number means that one: so also its own."""


class QueueSpec(_Spec):
    """The place where requests wait while every worker is at its cap or away."""

    size: int = Field(default=_QUEUE.size, ge=0, le=1_000_000)
    """Most requests that wait at once; 0 refuses what does not fit."""

    timeout: Wait = _QUEUE.timeout
    """Longest wait of one request, before it is answered 503 with Retry-After."""


class TimeoutsSpec(_Spec):
    """How long a worker may take."""

    connect: Wait = _TIMEOUTS.connect
    """To accept a TCP connection."""

    first_byte: LongestWait = _TIMEOUTS.first_byte
    """From the request's last byte to the first byte of the final response; none: no limit."""

    between_bytes: LongestWait = _TIMEOUTS.between_bytes
    """Between two reads from, or writes to, the worker while a body is under way; none: no
    limit."""

    request: LongestWait = _TIMEOUTS.request
    """The whole request, from admission to the response's last byte, its waits and retries too;
    none: no limit."""

    idle: Wait = _TIMEOUTS.idle
    """How long an unused worker connection is kept: less than the worker's own keep-alive."""


class RetrySpec(_Spec):
    """What may be sent again to another worker."""

    non_idempotent: bool = _RETRY.non_idempotent
    """Whether POST and PATCH may be sent again after their worker died without an answer."""

    on_timeout: bool = _RETRY.on_timeout
    """Whether a request whose answer did not come in time is sent again."""

    refused_statuses: Annotated[tuple[FinalErrorStatus, ...], AfterValidator(each_once)] = Field(
        default=tuple(sorted(_RETRY.refused_statuses)),
        max_length=MAX_STATUSES,
        strict=False,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    """Statuses by which a worker says "full, nothing done", such as 503."""

    replay_bytes: int = Field(default=_RETRY.replay_bytes, ge=0, le=16 * 1024 * 1024)
    """Request body kept for sending again, in bytes; what is longer cannot be sent again."""


class ProbeSpec(_Spec):
    """An HTTP probe of each worker, beside what its traffic tells."""

    model_config = ConfigDict(
        json_schema_extra=_rule(
            "duration(self.timeout) <= duration(self.interval)",
            "must be at most interval, so that probes do not overlap",
            "timeout",
        )
    )

    path: Annotated[str, Allowed("a path that begins with /, of up to 1024 ASCII characters")] = (
        Field(max_length=1024, pattern=r'^/[!"$-~]*$')
    )
    """Asked with GET; any status from 200 to 399 passes."""

    interval: Pause = _PROBE.interval
    """How often each worker is probed."""

    timeout: Pause = Field(default=_PROBE.timeout, validate_default=True)
    """How long the answer may take; not longer than the interval, so that probes do not overlap."""

    failures: int = Field(default=_PROBE.failures, ge=1, le=100)
    """Failures in a row that eject."""

    @field_validator("timeout")
    @classmethod
    def _within_interval(cls, timeout: float, info: ValidationInfo) -> float:
        interval = info.data.get("interval", timeout)
        if timeout > interval:
            found = default_or(timeout, _PROBE.timeout)
            allowed = f"at most interval, {default_or(interval, _PROBE.interval)}"
            raise broken_rule(found, allowed, key="timeout")
        return timeout


class HealthSpec(_Spec):
    """When a worker leaves the rotation, and how it comes back."""

    model_config = ConfigDict(
        json_schema_extra=_rule(
            # An API server also checks a rule against the CRD's own default of the whole part,
            # {}, in which nothing has been filled in yet; of an object, both are always there.
            "!has(self.recheck) || !has(self.recheckMax) "
            "|| duration(self.recheckMax) >= duration(self.recheck)",
            "must be at least recheck",
            "recheckMax",
        )
    )

    failures: int = Field(default=_HEALTH.failures, ge=1, le=100)
    """Resets and first-byte timeouts in a row that eject. A refused connect ejects at once."""

    recheck: Pause = _HEALTH.recheck
    """How often an ejected worker that refused a connect is tried again."""

    recheck_max: Pause = Field(default=_HEALTH.recheck_max, validate_default=True)
    """The longest pause between tries of an ejected worker that is silent; at least recheck."""

    probe: ProbeSpec | None = None
    """An HTTP probe of each worker; without it there is none."""

    @field_validator("recheck_max")
    @classmethod
    def _not_below_recheck(cls, recheck_max: float, info: ValidationInfo) -> float:
        recheck = info.data.get("recheck", recheck_max)
        if recheck_max < recheck:
            found = default_or(recheck_max, _HEALTH.recheck_max)
            allowed = f"at least recheck, {default_or(recheck, _HEALTH.recheck)}"
            raise broken_rule(found, allowed, key="recheckMax")
        return recheck_max


class RouteSpec(_Spec):
    """Requests that come to this pool: those that match both."""

    host: Annotated[
        str, Allowed("a host's name in lower case, without a port; empty for any host")
    ] = Field(default="", max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
    """The name that the request is sent to (Host, without its port); empty for any."""

    path_prefix: Annotated[
        str,
        Allowed(
            "a path that begins with / and does not end with one, of up to 1024 ASCII characters "
            "without ? and #; / for all paths"
        ),
    ] = Field(default="/", max_length=1024, pattern=r'^/([!"$->@-~]*[!"$-.0->@-~])?$')
    """The path, or the whole segments it begins with: /api means /api and /api/x, not /apis."""

    def __str__(self) -> str:
        """Write it as people do."""
        return f"{self.host or '*'}{self.path_prefix}"


class PoolSpec(_Spec):
    """One pool of workers: where they are, which requests they get, and under which limits."""

    balancer: (
        Annotated[
            str,
            Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
            Allowed("a balancer's name: up to 63 of a-z 0-9 -, beginning and ending with a-z 0-9"),
        ]
        | None
    ) = None
    """The balancer (of the chart: the release's full name) that serves this pool. Without it,
    every balancer that follows the namespace does: leave it out if there is one."""

    endpoints: Annotated[tuple[Endpoint, ...], AfterValidator(each_once)] | None = Field(
        default=None, min_length=1, max_length=MAX_ENDPOINTS, strict=False
    )
    """The workers as host:port; a name is resolved again and again. Either this or service."""

    service: ServiceSpec | None = Field(default=None, validate_default=True)
    """The headless Service whose pods are the workers; in a file, either this or endpoints."""

    routes: Annotated[tuple[RouteSpec, ...], AfterValidator(each_once)] = Field(
        default=(),
        max_length=MAX_ROUTES,
        strict=False,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["host", "pathPrefix"],
        },
    )
    """Which of the balancer's requests come here; none for all that no other pool's route takes.
    A route with a host goes before those without one, then the longest path prefix. Of two pools
    with the same route the older one has it, then the one whose name comes first."""

    max_in_flight: int | None = Field(default=_POLICY.max_in_flight, ge=1, le=1_000_000)
    """Most requests at once on one worker, a hard cap; without it there is none."""

    queue: QueueSpec = QueueSpec()
    """The place where requests wait while every worker is at its cap or away."""

    timeouts: TimeoutsSpec = TimeoutsSpec()
    """How long a worker may take."""

    retry: RetrySpec = RetrySpec()
    """What may be sent again to another worker."""

    health: HealthSpec = HealthSpec()
    """When a worker leaves the rotation, and how it comes back."""

    on_client_gone: OnClientGone = Field(default=_POLICY.on_client_gone, strict=False)
    """A running request whose client has gone: cancel closes the worker's connection, finish reads
    the response to its end with the slot held, for workers that go on."""

    @field_validator("service")
    @classmethod
    def _one_source(cls, service: ServiceSpec | None, info: ValidationInfo) -> ServiceSpec | None:
        # Missing in info.data: endpoints were given and are wrong, which is told already.
        endpoints = info.data.get("endpoints", ())
        if (endpoints is None) == (service is None):
            found = "neither endpoints nor service" if service is None else "both of them"
            raise broken_rule(found, "either endpoints or service", key="")
        return service

    def policy(self) -> Policy:
        """Make the limits that the balancer obeys."""
        probe = self.health.probe
        return Policy(
            max_in_flight=self.max_in_flight,
            on_client_gone=self.on_client_gone,
            queue=QueuePolicy(**dict(self.queue)),
            timeouts=TimeoutPolicy(**dict(self.timeouts)),
            retry=RetryPolicy(
                **dict(self.retry) | {"refused_statuses": frozenset(self.retry.refused_statuses)}
            ),
            health=HealthPolicy(
                **dict(self.health) | {"probe": ProbePolicy(**dict(probe)) if probe else None}
            ),
        )


class Metadata(_Spec):
    """What names the pool."""

    name: Annotated[
        str,
        Allowed("a resource's name: up to 253 of a-z 0-9 - ., beginning and ending with a-z 0-9"),
    ] = Field(
        default="default",
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    )
    """The pool's name in logs and metrics."""


class WorkerPool(_Spec):
    """A pool of workers as a file, or the Kubernetes API, holds it."""

    api_version: Literal["leastwise.io/v1alpha1"] = "leastwise.io/v1alpha1"
    """The version of this schema; may be left out of a file."""

    kind: Literal["WorkerPool"] = "WorkerPool"
    """What the document is; may be left out of a file."""

    metadata: Metadata = Metadata()
    """What names the pool."""

    spec: PoolSpec
    """The pool itself."""

    @property
    def name(self) -> str:
        """The pool's name in logs and metrics."""
        return self.metadata.name

    def policy(self) -> Policy:
        """Make the limits that the balancer obeys."""
        return self.spec.policy()
