"""What comes, and what the workers are like: arrivals, service times, faults.

All draws depend on the workload's name and the seed alone, so every policy meets the same requests
at the same times with the same work in them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log
from random import Random

from app.balancing.lease import Outcome

MEAN = 15.0
"""Seconds of service of the mean request."""

Service = Callable[[Random], float]
"""Draws the seconds that one request takes on a worker of ordinary pace."""


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way. It ends once, well or not."""

    arrived: float
    work: float
    """Seconds that it takes on a worker of ordinary pace."""

    ended: float | None = None
    good: bool = False
    """Whether it ended with the answer that its client wanted."""

    waited: float = 0.0
    """Seconds in which it did not run: in a queue, or with attempts that failed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How a worker fails each request, always."""

    outcome: Outcome
    """`ANSWERED` is an error that the application answers."""

    seconds: float = 0.05
    """How soon it fails it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A load, and the workers that it falls on."""

    name: str
    told: str
    """In words, for the docs."""

    service: Service
    load: float = 0.85
    """Work that arrives over work that can be done, if every worker were well and there."""

    workers: int = 5
    slots: int = 4
    """Requests that a worker runs at once; what it has beyond waits in it, in order."""

    refuses: bool = False
    """Whether a worker refuses what it gets beyond its slots, instead of keeping it."""

    mean: float = MEAN
    """Seconds of service of the mean request, on which the rate is reckoned."""

    paced: bool = False
    """Whether arrivals are evenly spaced; else they are a Poisson process."""

    batch: int = 1
    """How many arrive at a time."""

    pace: Mapping[int, float] = field(default_factory=dict)
    """How many times as long a worker takes, 1 if it is not named."""

    faults: Mapping[int, Fault] = field(default_factory=dict)
    joins: Mapping[int, float] = field(default_factory=dict)
    """When a worker joins, 0 if it is not named."""

    dies: tuple[int, float, float] | None = None
    """A worker, when it dies, and for how many seconds it is away."""

    requests: int = 4_000
    warmup: float = 10 * MEAN
    """Requests that arrive earlier are not measured, since the pool is still filling."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load * self.workers * self.slots / self.mean

    def arrivals(self, seed: int) -> Iterator[Request]:
        """Yield the requests in order."""
        random = Random(f"{self.name} {seed}")
        gap, now = self.batch / self.rate, 0.0
        for number in range(self.requests):
            if number % self.batch == 0:
                now += gap if self.paced else gap * exponential(random)
            yield Request(now, self.service(random))


def exponential(random: Random) -> float:
    """Draw from the exponential distribution of mean 1."""
    return -log(1.0 - random.random())


# --- service times


def constant(random: Random) -> float:  # noqa: ARG001
    """Each takes the same."""
    return MEAN


def memoryless(random: Random) -> float:
    """Exponential."""
    return MEAN * exponential(random)


def memoryless_of(mean: float) -> Service:
    """Return exponential service of another mean, in seconds."""
    return lambda random: mean * exponential(random)


def bimodal(random: Random) -> float:
    """One in ten takes 105 s, the others 5 s."""
    return 105.0 if random.random() < 0.1 else 5.0


def heavy_tailed(
    random: Random, *, shape: float = 1.2, least: float = 3.82, ratio: float = 200
) -> float:
    """Pareto's, bounded: from 3.8 s to 764 s, of mean 15 s; half of all take less than 7 s."""
    share = random.random() * (1.0 - ratio**-shape)
    drawn: float = least * (1.0 - share) ** (-1.0 / shape)
    return drawn


# --- the workloads that are compared

ODD = 0
"""The worker that is slow, or fails, or dies, where one does."""

WORKLOADS = (
    Workload("paced", "constant 15 s, evenly spaced", constant, paced=True),
    Workload("constant", "constant 15 s, at random times", constant),
    Workload("exponential", "exponential, mean 15 s", memoryless),
    Workload("bimodal", "5 s, one in ten 105 s", bimodal),
    Workload("heavy", "heavy-tailed (Pareto), 4 s to 764 s, mean 15 s", heavy_tailed),
    Workload("bursts", "exponential, ten come at once", memoryless, batch=10),
    Workload("slow", "exponential, one worker takes twice as long", memoryless,
             pace={ODD: 2.0}),
    Workload("failing", "exponential, one worker fails each request after 50 ms", memoryless,
             load=0.7, faults={ODD: Fault(Outcome.ANSWERED)}),
    Workload("scale_up", "exponential, three workers for five minutes, then five", memoryless,
             joins={3: 300.0, 4: 300.0}, requests=1_000, warmup=0.0),
)  # fmt: skip
