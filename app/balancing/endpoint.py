"""An endpoint: one worker, as the pool knows it.

Two separate facts decide what an endpoint may get: membership (what discovery says of it) and
health (what its traffic and its probes showed). `Phase` is derived from both and never stored, so
that one fact cannot overwrite the other: a draining endpoint that was ejected is still ejected.
Only `Pool` writes to an `Endpoint`; everybody may read. From weak to strong:

| word        | means                                                                            |
|-------------|----------------------------------------------------------------------------------|
| usable      | a member that serves and is not ejected                                          |
| primary     | usable, and not terminating                                                      |
| in rotation | primary; or usable, if the pool has no primary one                               |
| withheld    | in rotation, but not to be chosen now: it said "full", or its request just died   |
"""

from dataclasses import dataclass
from enum import Enum

from app.balancing.health import Health, HealthRecord


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint as discovery sees it."""

    identity: str
    """What stays the same as long as it is the same worker: pod UID and port, or address:port."""

    host: str
    """IP address to connect to."""

    port: int

    name: str = ""
    """For people: the pod's name, or host:port as configured."""

    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone: str = ""


class Phase(Enum):
    """What an endpoint is doing in the pool, for people to read."""

    READY = "ready"
    SUSPECT = "suspect"
    """A sign of trouble is being checked; if the sign is strong, it gets nothing new meanwhile."""

    REFUSING = "refusing"
    """It said "full" itself, and gets nothing until the pause that it asked for is over."""

    EJECTED = "ejected"
    """Taken out of rotation by what we saw of it."""

    UNREADY = "unready"
    """Discovery says that it does not serve."""

    DRAINING = "draining"
    """Terminating: keeps what it has and gets nothing new."""

    GONE = "gone"
    """No longer discovered; kept until its last request has ended."""


class Endpoint:
    """One worker. Read by all, written by `Pool` alone."""

    __slots__ = (
        "connect_errors",
        "elsewhere",
        "failed",
        "granted",
        "health",
        "in_flight",
        "last_error",
        "last_error_at",
        "member",
        "refusals",
        "resume_at",
        "spec",
        "ticket",
    )

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self.member = True
        self.health = HealthRecord()
        self.in_flight = 0
        """Its slots that are taken, those of other replicas too where this one decides for all."""

        self.elsewhere = 0
        """How many of these are other replicas'."""

        self.ticket = 0
        """When it was last chosen, as a running number: the smaller, the longer ago."""

        self.resume_at: float | None = None
        """Until when it refuses by its own word; None when it does not."""

        self.granted = 0
        """Requests sent its way since it joined, retries counted each."""

        self.failed = 0
        """Requests that it let down: died, timed out, answered garbage."""

        self.refusals = 0
        self.connect_errors = 0
        self.last_error = ""
        self.last_error_at: float | None = None

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.phase.value} in_flight={self.in_flight}>"

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name or self.spec.identity

    @property
    def own(self) -> int:
        """How many requests of this replica it has."""
        return self.in_flight - self.elsewhere

    @property
    def primary(self) -> bool:
        """Whether new requests may go to it: a serving member, not ejected, not terminating."""
        return self.usable and not self.spec.terminating

    @property
    def usable(self) -> bool:
        """Whether it could take a request, if need be though it is terminating."""
        return self.member and self.spec.serving and self.health.state is not Health.EJECTED

    @property
    def withheld(self) -> bool:
        """Whether it gets nothing for the moment, though it is in rotation."""
        return self.resume_at is not None or self.health.withheld

    @property
    def phase(self) -> Phase:
        """Membership and health in one word, membership first."""
        if not self.member:
            return Phase.GONE
        if self.spec.terminating:
            return Phase.DRAINING
        if not self.spec.serving:
            return Phase.UNREADY
        if self.health.state is Health.EJECTED:
            return Phase.EJECTED
        if self.resume_at is not None:
            return Phase.REFUSING
        return Phase.SUSPECT if self.health.state is Health.SUSPECT else Phase.READY
