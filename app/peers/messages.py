"""What the replicas say to each other; how it stands on the wire is in `wire`.

Times are in seconds and relative, since clocks differ: an age, or what is left. Pools and endpoints
are named once and then called by a number, of which each side gives its own.
"""

from typing import Final, NamedTuple

from app.balancing.errors import Refusal
from app.balancing.health import Sign
from app.balancing.lease import Outcome

MAX_NAMED: Final = 16_384
"""Most pools and endpoints that have a number; then they are named anew."""


class ProtocolError(Exception):
    """The peer sent what nobody can mean."""


class NamePool(NamedTuple):
    """Call the pool `number` from now on."""

    number: int
    name: str


class NameEndpoint(NamedTuple):
    """Call the endpoint `number` from now on."""

    number: int
    pool: int
    identity: str
    host: str
    port: int
    name: str


class ForgetNames(NamedTuple):
    """Forget all numbers of pools and endpoints."""


class Term(NamedTuple):
    """From the arbiter, first of all: it decides in this term, and asks what the other holds."""

    term: int


class Higher(NamedTuple):
    """The answer to a term below one that was promised already."""

    term: int


class Promise(NamedTuple):
    """The answer to a term: lower ones are void from now on. What is held follows, then the end."""

    term: int
    leaving: bool


class Held(NamedTuple):
    """A slot that is held, for a request that has to be over in `expires`."""

    ask: int
    endpoint: int
    expires: float


class Reported(NamedTuple):
    """All that is held has been said."""


class Acquire(NamedTuple):
    """A request wants a slot: it has waited for `age`, and waits for another `patience` at most."""

    ask: int
    pool: int
    retried: bool
    age: float
    patience: float
    expires: float
    tried: tuple[int, ...]


class Cancel(NamedTuple):
    """The request wants none any more."""

    ask: int


class Release(NamedTuple):
    """The slot is free, and how its use ended."""

    ask: int
    outcome: Outcome
    retry_after: float | None
    detail: str


class Unbound(NamedTuple):
    """The slot will be held without a limit."""

    ask: int


class Observed(NamedTuple):
    """A sign of an endpoint's health, apart from the ends of requests."""

    endpoint: int
    sign: Sign
    detail: str


class Grant(NamedTuple):
    """The request has a slot."""

    ask: int
    endpoint: int


class Refuse(NamedTuple):
    """The request gets none."""

    ask: int
    refusal: type[Refusal]


class Alive(NamedTuple):
    """Said twice a second by both. The arbiter says as what time it last wrote the Lease."""

    renewed: str


class Handover(NamedTuple):
    """The arbiter steps down, and the Lease says who decides now."""


class Leaving(NamedTuple):
    """This replica is about to stop: it is no successor."""


class Goodbye(NamedTuple):
    """This replica has stopped: what it may still hold at workers will be over in a moment."""


class View(NamedTuple):
    """How things are with all replicas, for people to see at each of them: JSON."""

    text: str


Message = (
    NamePool | NameEndpoint | ForgetNames | Term | Higher | Promise | Held | Reported | Acquire
    | Cancel | Release | Unbound | Observed | Grant | Refuse | Alive | Handover | Leaving | Goodbye
    | View
)  # fmt: skip
