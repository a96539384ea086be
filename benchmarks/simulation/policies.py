"""Policies that send each request at once: there is no cap, and the only queues are the workers'.

They count what they sent and got back, as any balancer can, and know nothing else of the workers.
What is random in them is drawn from their own generator, so the load stays the same.
"""

from collections.abc import Callable, Sequence
from random import Random

from app.balancing.lease import Outcome
from benchmarks.simulation.cluster import Attempt, Cluster
from benchmarks.simulation.workloads import Request


class Load:
    """What a balancer knows of one worker."""

    __slots__ = ("attempts", "chosen", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempts: dict[Attempt, float] = {}
        """Requests in flight and when each was sent, the oldest first."""

        self.chosen = -1
        """When it was last chosen, as a running number."""

    @property
    def in_flight(self) -> int:
        """How many requests it has."""
        return len(self.attempts)

    @property
    def oldest(self) -> float:
        """When its oldest request in flight was sent; infinite if there is none."""
        return next(iter(self.attempts.values()), float("inf"))


Choose = Callable[[Sequence[Load], Random], Load]
"""Chooses one of several."""


class AtOnce:
    """Sends each request at once to whom it chooses."""

    def __init__(self, choose: Choose, random: Random) -> None:
        self._choose = choose
        self._random = random
        self._loads: list[Load] = []
        self._choices = 0
        self._cluster: Cluster | None = None

    def join(self, cluster: Cluster, worker: int) -> None:
        """Take in a worker."""
        self._cluster = cluster
        self._loads.append(Load(worker))

    def offer(self, request: Request) -> None:
        """Send it."""
        assert self._cluster is not None
        load = self._choose(self._loads, self._random)
        load.chosen = self._choices
        self._choices += 1
        attempt = self._cluster.send(request, load.number)
        load.attempts[attempt] = self._cluster.events.now

    def ended(self, attempt: Attempt, outcome: Outcome, *, good: bool) -> None:  # noqa: ARG002
        """Finish its request, however it ended."""
        assert self._cluster is not None
        del self._loads[attempt.worker.number].attempts[attempt]
        self._cluster.finish(attempt.request, good=good)


# --- choices


def at_random(loads: Sequence[Load], random: Random) -> Load:
    """Any of them: as a Kubernetes Service does."""
    return random.choice(loads)


def round_robin(loads: Sequence[Load], random: Random) -> Load:  # noqa: ARG001
    """Each in turn: who was chosen the longest ago."""
    return min(loads, key=lambda load: load.chosen)


def power_of_two(loads: Sequence[Load], random: Random) -> Load:
    """The less loaded of two that are drawn at random."""
    one, other = random.sample(loads, 2) if len(loads) > 1 else (loads[0], loads[0])
    return one if one.in_flight <= other.in_flight else other


def least(tie: Choose) -> Choose:
    """Return the choice of the least loaded, with a rule for ties."""

    def choose(loads: Sequence[Load], random: Random) -> Load:
        fewest = min(load.in_flight for load in loads)
        return tie([load for load in loads if load.in_flight == fewest], random)

    return choose


# --- ties between the least loaded


def first(loads: Sequence[Load], random: Random) -> Load:  # noqa: ARG001
    """The first in the list: what `min` does."""
    return loads[0]


def in_a_ring() -> Choose:
    """Return the rule by which the next one in a fixed order is chosen, from the last one on."""
    last = -1

    def choose(loads: Sequence[Load], random: Random) -> Load:  # noqa: ARG001
        nonlocal last
        chosen = next((load for load in loads if load.number > last), loads[0])
        last = chosen.number
        return chosen

    return choose


def least_recent(loads: Sequence[Load], random: Random) -> Load:  # noqa: ARG001
    """The one chosen the longest ago."""
    return min(loads, key=lambda load: load.chosen)


def oldest_in_flight(loads: Sequence[Load], random: Random) -> Load:  # noqa: ARG001
    """The one whose oldest request was sent first: it may be the next to have a slot free."""
    return min(loads, key=lambda load: (load.oldest, load.chosen))
