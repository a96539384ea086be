"""The status of a WorkerPool, as the operator writes it and `kubectl` shows it.

Read by `crd`, which makes a schema of it: what is not named here, the API server would prune.
`app.operator.judging` makes it, and nobody else.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

MAX_MESSAGE = 1024
"""Characters of a condition's message, and of an Event's note."""

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in RFC 3339, UTC."""


class _Status(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, use_attribute_docstrings=True)


class PoolCondition(_Status):
    """One thing that is true of the pool, or is not, and why."""

    type: Annotated[str, StringConstraints(max_length=316)]
    """Accepted, ResolvedRefs, Ready, Available or Observed."""

    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Why, as one word for programs."""

    message: Annotated[str, StringConstraints(max_length=32768)]
    """Why, and what to do about it, for people."""

    last_transition_time: Time
    """Since when."""

    observed_generation: int
    """The generation of the spec that this is about."""


class EndpointCounts(_Status):
    """The workers. One that the balancers see differently counts as the worst of them says."""

    summary: str
    """Those in rotation, of all: 4/5."""

    total: int = 0
    """All that the Service has."""

    in_rotation: int = 0
    """Those that new requests may go to, in every balancer replica."""

    ready: int = 0
    """Well, and not full."""

    refusing: int = 0
    """Said "full" a moment ago."""

    suspect: int = 0
    """In doubt, being checked."""

    ejected: int = 0
    """Taken out of rotation for what their traffic or their probes showed."""

    unready: int = 0
    """Not ready, by Kubernetes."""

    draining: int = 0
    """Terminating."""


class BalancerCounts(_Status):
    """The replicas of the balancer."""

    total: int = 0
    """Those that run."""

    answering: int = 0
    """Those whose admin port was read."""

    current: int = 0
    """Those that obey this generation of the spec."""


class PoolStatus(_Status):
    """What became of the pool, by the operator's latest look at it."""

    observed_generation: int
    """The generation of the spec that all this is about."""

    observed_at: Time
    """When it was written: as old as this is what it says, if no operator runs."""

    conditions: Annotated[
        tuple[PoolCondition, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ]
    """Accepted: the spec is in order, and its routes are its own. ResolvedRefs: its Service is
    there, and fits. Ready: both, and the balancers obey this generation. Available: there are
    workers in rotation. Observed: an operator runs and keeps this true."""

    endpoints: EndpointCounts
    """The workers."""

    in_flight: int = 0
    """Requests that the workers have now, of all balancer replicas together."""

    queued: int = 0
    """Requests that wait for a slot, likewise."""

    ejected: int = 0
    """Ejected workers, likewise: one that two replicas ejected counts twice."""

    balancers: BalancerCounts
    """The replicas of the balancer."""
