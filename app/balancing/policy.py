"""The limits of one pool, frozen: what the balancer obeys, whoever wrote it down.

`app.config.workerpool` makes a `Policy` from a file or, on Kubernetes, from a WorkerPool
resource. A change of configuration is a new `Policy` given to `Pool.apply_policy`; nothing
mutates one. All durations are in seconds.
"""

from dataclasses import dataclass, field
from enum import Enum


class OnClientGone(Enum):
    """What happens to a running request whose client has gone away."""

    CANCEL = "cancel"
    """Close the worker's connection: for workers that stop when their client leaves."""

    FINISH = "finish"
    """Read the response to its end and drop it, the slot held: for workers that go on."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """The place where requests wait while every worker is at its cap or away."""

    size: int = 1000
    """Most requests that wait at once; 0 refuses what does not fit. A retried request is exempt."""

    timeout: float = 60.0
    """Longest wait of one request, before it is answered 503 with Retry-After."""


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """How long a worker may take. None means no limit."""

    connect: float = 1.0
    """To accept a TCP connection."""

    first_byte: float | None = 120.0
    """From the request's last byte to the first byte of the final response."""

    between_bytes: float | None = 60.0
    """Between two reads from, or writes to, the worker while a body is under way."""

    request: float | None = 600.0
    """The whole request, from admission to the response's last byte, its waits and retries too."""

    idle: float = 4.0
    """How long an unused worker connection is kept: less than the worker's own keep-alive (5 s in
    uvicorn), so that we close it first."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What may be sent again to another worker. The table is in `app.balancing.retry`."""

    non_idempotent: bool = False
    """Whether POST and PATCH may be sent again after their worker died without an answer."""

    on_timeout: bool = False
    """Whether a request whose first byte did not come in time is sent again."""

    refused_statuses: frozenset[int] = frozenset()
    """Statuses by which a worker says "full, nothing done", such as 503."""

    replay_bytes: int = 64 * 1024
    """Request body kept for sending again, in bytes; what is longer cannot be sent again."""


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """An HTTP probe of each worker, beside what its traffic tells."""

    path: str
    """Asked with GET; any status from 200 to 399 passes."""

    interval: float = 1.0
    timeout: float = 1.0

    failures: int = 3
    """Failures in a row that eject."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a worker leaves the rotation, and how it comes back."""

    failures: int = 3
    """Resets and first-byte timeouts in a row that eject. A refused connect ejects at once."""

    recheck: float = 0.1
    """How often an ejected worker that refused a connect is tried again."""

    recheck_max: float = 1.0
    """The longest pause between tries of an ejected worker that is silent."""

    probe: ProbePolicy | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All limits of one pool."""

    max_in_flight: int | None = None
    """Most requests at once on one worker, a hard cap; None means no cap."""

    on_client_gone: OnClientGone = OnClientGone.CANCEL
    queue: QueuePolicy = field(default_factory=QueuePolicy)
    timeouts: TimeoutPolicy = field(default_factory=TimeoutPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    health: HealthPolicy = field(default_factory=HealthPolicy)
